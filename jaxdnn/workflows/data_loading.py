"""Data sets of several arrays, in shuffled batches, and split in two.

The mirror of `reference_torch.workflows.data_loading`. These are torch's data sets and loaders with
NumPy arrays. torch shuffles with a hidden global generator; here the generator is an argument.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdnn.data.batches import DataLoader, Dataset, Subset, random_split
from jaxdnn.errors import ConfigError
from jaxdnn.torch_compat import Generator
from jaxdnn.workflows import momentum_sgd
from jaxdnn.workflows.config import require_count

__all__ = ["Config", "Normals", "loader", "normals", "shuffled_batch", "split"]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    batch_size: int = 120
    """Samples per batch."""

    drop_last: bool = False
    """Leave out the last batch where it is smaller."""

    train_share: float = 0.7
    """Fraction of the samples in the first part of the split."""

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)
        if not 0 <= self.train_share <= 1:
            raise ConfigError(f"train_share must be from 0 to 1; got {self.train_share!r}.")


class Normals(NamedTuple):
    """500 samples of three fields, standard normal."""

    a: Float32[np.ndarray, "500 2 3"]
    b: Float32[np.ndarray, "500 3 4 5"]
    c: Float32[np.ndarray, "500 1"]


def normals(generator: Generator) -> Normals:
    """The document's arrays. It builds the network of `momentum_sgd` before it draws them."""
    momentum_sgd.init(generator)
    return Normals(
        generator.randn(500, 2, 3), generator.randn(500, 3, 4, 5), generator.randn(500, 1)
    )


def loader(samples: Dataset, config: Config, generator: Generator) -> DataLoader:
    """The samples in batches; every pass draws another permutation."""
    return DataLoader(
        samples,
        config.batch_size,
        shuffle=True,
        drop_last=config.drop_last,
        generator=generator,
    )


def shuffled_batch(
    normals: Normals, config: Config, generator: Generator
) -> tuple[Float32[np.ndarray, "batch 3 4 5"], Float32[np.ndarray, "batch 1"]]:
    """The shuffled batch that the document prints, from a generator that has drawn ``normals``.

    By then its notebook had passed over the samples 7 times in their order and 4 times shuffled,
    and every pass advances torch's global generator.
    """
    samples = len(normals.b)
    for _ in range(7):
        generator.loader_order(samples, shuffle=False)
    for _ in range(4):
        generator.loader_order(samples, shuffle=True, explicit_generator=True)
    order = generator.loader_order(samples, shuffle=True, explicit_generator=True)
    batch = order[: config.batch_size]
    return normals.b[batch], normals.c[batch]


def split(samples: Dataset, config: Config, generator: Generator) -> list[Subset]:
    """The samples in two parts, for training and for the test.

    Example:
      >>> samples = range(500)
      >>> train, test = split(samples, Config(), Generator(0))
      >>> len(train), len(test)
      (350, 150)
    """
    return random_split(samples, [config.train_share, 1 - config.train_share], generator)
