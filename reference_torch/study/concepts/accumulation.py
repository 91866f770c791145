"""accumulation: a second `backward` adds to the gradient that is there.

Two losses, or two halves of a batch, can share one step.
"""

import torch

w = torch.tensor(1.0, requires_grad=True)
for x in (2.0, 3.0):
    (w * x).backward()
    print("after x =", x, "the gradient is", w.grad.item())
