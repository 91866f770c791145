"""torch's data sets, loaders and splits, under the names of `jaxdnn.data.batches`."""

import random

import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "permutations", "random_split"]


def permutations(seed: int, epochs: int, samples: int) -> list[torch.Tensor]:
    """A permutation for each epoch, by Python's ``random.shuffle`` after a seed.

    Example:
      >>> permutations(0, 2, 5)
      [tensor([2, 1, 0, 4, 3]), tensor([0, 2, 1, 3, 4])]
    """
    generator = random.Random(seed)
    shuffled = [list(range(samples)) for _ in range(epochs)]
    for indices in shuffled:
        generator.shuffle(indices)
    return [torch.tensor(indices) for indices in shuffled]
