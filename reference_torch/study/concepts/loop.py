"""`for`: Python drives every step, and each operation is dispatched anew.

The list collects what a step reports.
"""

import torch

w = torch.tensor(1.0)
losses = []
for _step in range(5):
    losses.append(w**2)
    w = w - 0.1 * 2 * w
print("weight:", w)
print("losses:", torch.stack(losses))
