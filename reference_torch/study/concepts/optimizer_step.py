"""`optimizer.step()`: the optimiser changes the parameters it was given, in place.

It reads the gradients from the tensors, where `backward` has left them.
"""

import torch

w = torch.tensor([1.0, -2.0], requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1)
w.pow(2).sum().backward()
print("before:", w.detach())
optimizer.step()
print("after:", w.detach())
