"""`state_dict`: the parameters by name, apart from the code.

Loading it needs a module of the same architecture; saving a whole module pickles its class.
"""

import io

import torch
from torch import nn

net, other = nn.Linear(3, 2), nn.Linear(3, 2)
file = io.BytesIO()
torch.save(net.state_dict(), file)
file.seek(0)
other.load_state_dict(torch.load(file, weights_only=True))
x = torch.ones(1, 3)
print({name: tuple(tensor.shape) for name, tensor in net.state_dict().items()})
print("same outputs:", torch.equal(net(x), other(x)))
