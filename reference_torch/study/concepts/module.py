"""`nn.Module`: one object holds the architecture and its parameters.

Its constructor draws them, and calling it applies them.
"""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return torch.relu(self.linear(x))


net = Net()
print(net)
print(net(torch.ones(4, 3)).shape)
