"""Data sets, batches, splits and permutations.

`TensorDataset`, `DataLoader` and `random_split` follow torch's, with NumPy arrays for tensors, and
draw torch's permutations. A compiled run has no loader: an epoch is an array of batch indices,
which comes from `shuffle`.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jaxdnn.errors import ConfigError, DataError
from jaxdnn.torch_compat.rng import Generator

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "permutations", "random_split"]
__all__ += ["shuffle"]


@runtime_checkable
class Dataset(Protocol):
    """An indexable collection of samples, each a tuple of fields."""

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The sample at an index."""
        ...


class TensorDataset:
    """A data set of arrays with a common first axis, which indexes the samples.

    Args:
      *arrays: one array for each field, at least one, each of shape ``(samples, ...)``.

    Raises:
      DataError: the arrays differ in length, or one is a scalar.

    Example:
      >>> samples = TensorDataset(np.zeros((5, 2)), np.arange(5))
      >>> len(samples), samples[3]
      (5, (array([0., 0.]), np.int64(3)))

    Reference:
      `torch.utils.data.TensorDataset
      <https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.TensorDataset>`_
    """

    def __init__(self, *arrays: np.ndarray) -> None:
        shapes = [np.shape(array) for array in arrays]
        if not arrays or not all(shapes) or len({shape[0] for shape in shapes}) > 1:
            raise DataError(
                f"A data set needs arrays with a common first axis; got shapes {shapes}. Give "
                "every array the same number of samples."
            )
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)


class Subset:
    """The samples of a data set at chosen indices.

    Attributes:
      dataset: the data set to select from.
      indices: the indices of the selected samples, in the subset's order.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.dataset[int(self.indices[index])]


class DataLoader:
    """An iterable over the batches of a data set; a batch is a tuple of stacked fields.

    Args:
      dataset: the samples.
      batch_size: the number of samples per batch.
      shuffle: whether to draw a new permutation from ``generator`` at every pass.
      drop_last: whether to drop the last batch if it is smaller than ``batch_size``.
      generator: torch's generator. As in torch, every pass advances it, even without ``shuffle``.

    Raises:
      ConfigError: ``batch_size`` is below 1, or ``shuffle`` is set without a ``generator``.

    Example:
      >>> loader = DataLoader(TensorDataset(np.arange(500)), batch_size=120)
      >>> len(loader), [len(batch[0]) for batch in loader]
      (5, [120, 120, 120, 120, 20])

    Reference:
      `torch.utils.data.DataLoader
      <https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.DataLoader>`_
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        generator: Generator | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1; got {batch_size}.")
        if shuffle and generator is None:
            raise ConfigError(
                "shuffle=True needs a generator: jaxdnn.torch_compat.Generator(seed)."
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        samples = len(self.dataset)
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        samples = len(self.dataset)
        order = np.arange(samples)
        # Called without shuffle too: torch's loader draws a seed for its workers at every pass.
        if self.generator is not None:
            order = self.generator.loader_order(samples, shuffle=self.shuffle)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield _collate([self.dataset[int(i)] for i in batch])


def _collate(samples: Sequence[Any]) -> Any:
    """One batch from several samples: torch's ``default_collate``, with strings kept in a list."""
    first = samples[0]
    if isinstance(first, tuple):
        return tuple(_collate(values) for values in zip(*samples, strict=True))
    if isinstance(first, Mapping):
        return {key: _collate([sample[key] for sample in samples]) for key in first}
    return list(samples) if isinstance(first, str) else np.stack(samples)


def random_split(
    dataset: Dataset, lengths: Sequence[int] | Sequence[float], generator: Generator
) -> list[Subset]:
    """Split a data set at random into parts, with torch's permutation.

    Args:
      dataset: the samples.
      lengths: the number of samples in each part, with sum ``len(dataset)``; or fractions with sum
        1. Fractions are rounded down, and the first parts get one of the remaining samples each.
      generator: torch's generator.

    Returns:
      The parts, one for each length.

    Raises:
      ConfigError: a length is negative or not whole, or the lengths have the wrong sum.

    Example:
      >>> parts = random_split(TensorDataset(np.arange(10)), [0.7, 0.3], Generator(0))
      >>> [len(part) for part in parts]
      [7, 3]

    Reference:
      `torch.utils.data.random_split
      <https://docs.pytorch.org/docs/stable/data.html#torch.utils.data.random_split>`_
    """
    parts = generator.random_split(len(dataset), lengths)
    return [Subset(dataset, indices) for indices in parts]


def permutations(seed: int, epochs: int, samples: int) -> Int[np.ndarray, "epochs samples"]:
    """A permutation for each epoch, by Python's ``random.shuffle`` after a seed.

    Example:
      >>> permutations(0, 2, 5).tolist()
      [[2, 1, 0, 4, 3], [0, 2, 1, 3, 4]]
    """
    generator = random.Random(seed)
    shuffled = [list(range(samples)) for _ in range(epochs)]
    for indices in shuffled:
        generator.shuffle(indices)
    return np.array(shuffled)


def shuffle(key: Key[Array, ""], samples: int) -> Int[Array, " samples"]:
    """A random permutation of ``0 … samples - 1``, as the argsort of random 32-bit numbers.

    This sorts once, where `jax.random.permutation` sorts twice for arrays of this size; on a CPU
    one sort of 60,000 numbers takes about 2% of an epoch of the MNIST DNN. Equal numbers keep their
    original order; this affects a fraction of about ``samples / 2**32`` of the samples.

    Args:
      key: a typed PRNG key.
      samples: the number of samples, static under jit.

    Returns:
      The permutation, in JAX's default integer type.

    Example:
      >>> sorted(shuffle(jax.random.key(0), 5).tolist())
      [0, 1, 2, 3, 4]
    """
    return jnp.argsort(jax.random.bits(key, (samples,), jnp.uint32))
