"""momentum buffers: they appear inside the optimiser at its first step.

`b = 0.9 b + g`, `w = w - lr b`.
"""

import torch

w = torch.tensor(1.0, requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
for _step in range(3):
    optimizer.zero_grad()
    w.pow(2).backward()
    optimizer.step()
    buffer = optimizer.state[w]["momentum_buffer"]
    print(f"weight {w.item():.4f}, buffer {buffer.item():.4f}")
