"""`DataLoader`: an iterator of shuffled batches; each pass draws a new permutation.

Samples are fetched one by one and stacked, if need be by worker processes.
"""

import torch
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
data = TensorDataset(torch.arange(10))
loader = DataLoader(data, batch_size=4, shuffle=True)
for epoch in range(2):
    print("epoch", epoch, [batch.tolist() for (batch,) in loader])
