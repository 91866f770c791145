"""`train()` and `eval()`: a switch inside the module, which layers such as dropout read.

Whoever calls the network has to know how it is set.
"""

import torch
from torch import nn

torch.manual_seed(0)
net = nn.Dropout(0.5)
x = torch.ones(6)
net.train()
print("train:", net(x))
net.eval()
print("eval: ", net(x))
