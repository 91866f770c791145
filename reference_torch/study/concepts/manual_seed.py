"""`manual_seed`: one generator for the whole process; every draw advances it.

What a line draws depends on all that ran before it.
"""

import torch

torch.manual_seed(0)
first, second = torch.rand(2), torch.rand(2)
print("first: ", first)
print("second:", second)
torch.manual_seed(0)
print("again: ", torch.rand(2))
