"""`no_grad`: suspend the recording, for an update in place or a constant.

Without it torch refuses to change a leaf of the graph in place.
"""

import torch

w = torch.tensor(3.0, requires_grad=True)
with torch.no_grad():
    constant = w**2
(w**2 + constant).backward()
print("gradient:", w.grad)
with torch.no_grad():
    w -= 0.1 * w.grad
print("weight:", w)
