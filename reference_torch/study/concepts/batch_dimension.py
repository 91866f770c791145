"""the batch dimension: every operation is written for a whole batch, and carries it along.

What is wanted for each example, such as its gradient, needs a loop.
"""

import torch

w = torch.tensor([1.0, 2.0], requires_grad=True)
x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
losses = (x * w).sum(dim=1) ** 2
print("losses:", losses.detach())
for loss in losses:
    print("gradient:", *torch.autograd.grad(loss, w, retain_graph=True))
