"""`parameters()`: an iterator over the tensors that a module holds.

They are the tensors themselves: whoever has them can change the module.
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
print("numbers:", sum(p.numel() for p in net.parameters()))
with torch.no_grad():
    for parameter in net.parameters():
        parameter *= 0.5
print("largest:", max(p.abs().max().item() for p in net.parameters()) < 0.5)
