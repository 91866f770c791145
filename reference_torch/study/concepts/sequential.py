"""`nn.Sequential`: layers and activations are objects in a list.

Each has a number, which becomes part of its parameters' names.
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
for name, parameter in net.named_parameters():
    print(name, tuple(parameter.shape))
print(net(torch.ones(4, 3)).shape)
