"""Data sets of several tensors, shuffled batches, and a split into two parts.

The mirror of `jaxdnn.workflows.data_loading`: read the two side by side.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, random_split

from reference_torch.workflows.momentum_sgd import ThreeLayer

__all__ = ["Config", "Normals", "loader", "normals", "shuffled_batch", "split"]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    batch_size: int = 120
    """Samples per batch."""

    drop_last: bool = False
    """Drop the last batch if it is smaller."""

    train_share: float = 0.7
    """Fraction of the samples in the first part of the split."""


class Normals(NamedTuple):
    """500 samples of three fields, standard normal."""

    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor


def normals(seed: int) -> Normals:
    """The document's tensors, drawn after the initial parameters of `momentum_sgd`'s network.

    Both come from torch's global generator, which ``seed`` initialises.
    """
    torch.manual_seed(seed)
    ThreeLayer()
    return Normals(torch.randn(500, 2, 3), torch.randn(500, 3, 4, 5), torch.randn(500, 1))


def loader(samples: Dataset[Any], config: Config) -> DataLoader[Any]:
    """A loader of shuffled batches; every pass over it draws a new permutation."""
    return DataLoader(samples, config.batch_size, shuffle=True, drop_last=config.drop_last)


def shuffled_batch(normals: Normals, config: Config) -> list[torch.Tensor]:
    """The shuffled batch that the document prints, right after ``normals`` have been drawn.

    By then its notebook had passed over the samples 7 times in their order and 4 times shuffled.
    A loader that is given a generator draws its permutations from it, as old versions of torch
    always drew them from the global one.
    """
    samples, generator = TensorDataset(normals.b, normals.c), torch.default_generator
    plain = DataLoader(samples, generator=generator)
    # A batch of more than all samples would exhaust the sampler, which then draws once more.
    batch_size = min(config.batch_size, len(samples))
    shuffled = DataLoader(samples, batch_size, shuffle=True, generator=generator)
    for loader in [plain] * 7 + [shuffled] * 4:
        next(iter(loader))
    return next(iter(shuffled))


def split(samples: Dataset[Any], config: Config) -> list[Subset[Any]]:
    """The samples, split at random into a training and a test part."""
    return random_split(samples, [config.train_share, 1 - config.train_share])
