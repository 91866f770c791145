"""`random_split`: two views of a data set, cut by a permutation of the global generator."""

import torch
from torch.utils.data import random_split

torch.manual_seed(0)
train, test = random_split(range(10), [0.7, 0.3])
print("train:", list(train))
print("test: ", list(test))
