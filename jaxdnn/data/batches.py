"""Data sets, batches and splits, and the order in which samples are used.

`TensorDataset`, `DataLoader` and `random_split` are torch's, for NumPy arrays, with torch's
permutations; inside a compiled run an epoch is an array of indices instead, which `shuffle` makes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from jaxdnn.errors import ConfigError, DataError
from jaxdnn.torch_compat.rng import Generator

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "random_split", "shuffle"]


@runtime_checkable
class Dataset(Protocol):
    """Samples by number, each a tuple."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """One of them."""
        ...


class TensorDataset:
    """Several arrays whose first axis counts the same samples.

    Args:
      arrays: the fields of a sample, at least one.

    Raises:
      DataError: the arrays differ in length, or one has no first axis.

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
                f"A data set needs arrays with one first axis; got shapes {shapes}. Cut them to "
                "the same number of samples."
            )
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)


class Subset:
    """Some samples of a data set, by number.

    Attributes:
      dataset: the whole.
      indices: which of its samples, in this order.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self.dataset[int(self.indices[index])]


class DataLoader:
    """A data set in batches, each a tuple of stacked fields; every pass may shuffle anew.

    Args:
      dataset: the samples.
      batch_size: samples a batch.
      shuffle: whether each pass takes them in another order, drawn from ``generator``.
      drop_last: whether to leave out a last batch that is smaller.
      generator: torch's generator, which every pass draws from, whether it shuffles or not.

    Raises:
      ConfigError: the batch size is below 1, or there is nothing to shuffle with.

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
        if self.generator is not None:
            order = self.generator.loader_order(samples, shuffle=self.shuffle)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            batch = order[start : start + self.batch_size]
            yield _collate([self.dataset[int(i)] for i in batch])


def _collate(samples: Sequence[Any]) -> Any:
    """Samples field by field: numbers and arrays stacked, words in a list, as torch does it."""
    first = samples[0]
    if isinstance(first, tuple):
        return tuple(_collate(values) for values in zip(*samples, strict=True))
    if isinstance(first, Mapping):
        return {key: _collate([sample[key] for sample in samples]) for key in first}
    return list(samples) if isinstance(first, str) else np.stack(samples)


def random_split(
    dataset: Dataset, lengths: Sequence[int] | Sequence[float], generator: Generator
) -> list[Subset]:
    """A data set cut at random into parts, as torch cuts it.

    Args:
      dataset: the samples.
      lengths: of each part, which add up to all; or fractions that add up to 1, where the samples
        that rounding down leaves over go to the parts in turn.
      generator: torch's generator.

    Returns:
      The parts.

    Raises:
      ConfigError: the lengths do not add up.

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


def shuffle(key: Key[Array, ""], samples: int) -> Int[Array, " samples"]:
    """A random permutation of ``0 … samples - 1``: the order of as many random 32-bit numbers.

    One sort, where `jax.random.permutation` makes two for sets of this size; on a CPU a sort of
    60,000 takes about 2% of an epoch of the MNIST DNN. Where two of the numbers are equal, for a
    fraction of about ``samples / 2**32`` of the samples, their order is not random.

    Args:
      key: decides the permutation.
      samples: how many there are.

    Returns:
      Each index once.

    Example:
      >>> sorted(shuffle(jax.random.key(0), 5).tolist())
      [0, 1, 2, 3, 4]
    """
    return jnp.argsort(jax.random.bits(key, (samples,), jnp.uint32))
