"""`requires_grad`: a mark on the tensor says that it will be differentiated.

Every operation on a marked tensor is recorded.
"""

import torch

x = torch.tensor(1.0)
y = torch.tensor(2.0, requires_grad=True)
z = x**2 * y
z.backward()
print("z requires a gradient:", z.requires_grad)
print("y.grad:", y.grad)
print("x.grad:", x.grad)
