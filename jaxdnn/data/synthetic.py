"""The tutorials' generated data sets, as torch draws them after a seed.

Each function takes a `jaxdnn.torch_compat.Generator` and leaves it where the document's listing
leaves torch's, so that what is drawn next, initial parameters or a shuffle, follows as it does
there.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdnn.torch_compat.rng import Generator

__all__ = ["Line", "Split", "Sums", "line", "split", "sums"]


class Line(NamedTuple):
    """Samples of a plane with noise."""

    features: Float32[np.ndarray, "samples features"]
    labels: Float32[np.ndarray, "samples 1"]


class Sums(NamedTuple):
    """Samples in classes by the sum of their features."""

    features: Float32[np.ndarray, "samples 3"]
    one_hot: Float32[np.ndarray, "samples 3"]


class Split(NamedTuple):
    """A data set in two parts."""

    train_features: Float32[np.ndarray, "train features"]
    train_labels: Float32[np.ndarray, "train labels"]
    test_features: Float32[np.ndarray, "test features"]
    test_labels: Float32[np.ndarray, "test labels"]


def line(
    generator: Generator,
    samples: int,
    *,
    w: tuple[float, ...] = (2.0, -3.4),
    b: float = 4.2,
    noise: float = 0.01,
) -> Line:
    r"""A plane with noise.

    .. math:: y = X w + b + \varepsilon, \quad X \sim \mathcal{N}(0, 1), \quad
              \varepsilon \sim \mathcal{N}(0, \sigma^2)

    Args:
      generator: what is drawn from.
      samples: how many.
      w: a slope for each feature.
      b: the intercept.
      noise: the standard deviation :math:`\sigma`.

    Returns:
      Features and labels, float32.

    Example:
      >>> line(Generator(0), 1000).labels.shape
      (1000, 1)
    """
    features = generator.normal(samples, len(w))
    labels = features @ np.asarray(w, np.float32) + np.float32(b)
    labels += generator.normal(samples, std=noise)
    return Line(features, labels[:, None])


def sums(generator: Generator, samples: int) -> Sums:
    """Three uniform features, and a class: a sum below 1, between 1 and 2, or above 2.

    A sum of exactly 1 or 2 is in no class, as in the document.

    Args:
      generator: what is drawn from.
      samples: how many.

    Returns:
      Features and one-hot classes, float32.

    Example:
      >>> sums(Generator(0), 10).one_hot.sum()
      np.float32(10.0)
    """
    columns = [generator.rand(samples, 1) for _ in range(3)]
    total = columns[0] + columns[1] + columns[2]
    classes = [total < 1, (total > 1) & (total < 2), total > 2]
    return Sums(np.hstack(columns), np.hstack(classes).astype(np.float32))


def split(
    generator: Generator,
    features: Float32[np.ndarray, "samples features"],
    labels: Float32[np.ndarray, "samples labels"],
    *,
    train_share: float = 0.7,
) -> Split:
    """Permute the samples, then cut them in two.

    Args:
      generator: what the permutation is drawn from; ``torch.utils.data.random_split`` draws alike.
      features: the samples along the first axis.
      labels: likewise.
      train_share: fraction of the samples, rounded down.

    Returns:
      The first part for training, the rest for the test.

    Example:
      >>> samples = sums(Generator(0), 10)
      >>> len(split(Generator(0), *samples).test_labels)
      3
    """
    count = int(len(features) * train_share)
    train, test = generator.random_split(len(features), [count, len(features) - count])
    return Split(features[train], labels[train], features[test], labels[test])
