"""`item()`: a Python number, once the device has computed it.

On a GPU it waits; called at every step, it makes the loop as slow as the waiting.
"""

import torch

losses = []
w = torch.tensor(1.0)
for _step in range(3):
    loss = w**2
    losses.append(loss.item())
    w = w - 0.2 * w
print(losses)
