"""`zero_grad`: every step has to begin by clearing what the last one left.

The tutorials' loops are built around it.
"""

import torch

w = torch.tensor(1.0, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1)
for step in range(3):
    optimizer.zero_grad()
    loss = w**2
    loss.backward()
    optimizer.step()
    print("step", step, "gradient", round(w.grad.item(), 3), "weight", round(w.item(), 3))
