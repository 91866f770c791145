"""`.to('cuda')`: the module and each batch are moved by hand.

A module moves in place, a tensor is copied.
"""

import torch
from torch import nn

device = "cuda" if torch.cuda.is_available() else "cpu"
net = nn.Linear(3, 2).to(device)
x = torch.ones(4, 3).to(device)
print(net(x).device)
