"""`backward`: walk back through the recorded graph, and store each gradient on its tensor.

It returns nothing. The graph is freed on the way.
"""

import torch

w = torch.tensor([1.0, 2.0], requires_grad=True)
x = torch.tensor([3.0, -1.0])
loss = (w * x - 1).pow(2).mean()
print(loss)
print("before:", w.grad)
returned = loss.backward()
print("returned:", returned)
print("after:", w.grad)
