"""The tutorials' generated data sets, with torch's random numbers.

Each function draws from a `jaxdnn.torch_compat.Generator` exactly what the document's listing draws
from torch's. Later draws, such as initial parameters or a permutation, therefore also agree.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from jaxdnn.torch_compat.rng import Generator

__all__ = ["Line", "Noise", "Split", "Sums", "line", "noise", "split", "sums"]

TRUE_W, TRUE_B = (2.0, -3.4), 4.2
"""The coefficients and the intercept of the tutorials' linear function."""


class Line(NamedTuple):
    """Samples of a linear function of the features, with Gaussian noise."""

    features: Float32[np.ndarray, "samples features"]
    labels: Float32[np.ndarray, "samples 1"]


class Noise(NamedTuple):
    """Samples whose classes are independent of their features."""

    inputs: Float32[np.ndarray, "samples features"]
    labels: Int32[np.ndarray, " samples"]


class Sums(NamedTuple):
    """Samples with one of three classes, given by the sum of the features."""

    features: Float32[np.ndarray, "samples 3"]
    one_hot: Float32[np.ndarray, "samples 3"]


class Split(NamedTuple):
    """A data set, split into a training and a test part."""

    train_features: Float32[np.ndarray, "train features"]
    train_labels: Float32[np.ndarray, "train labels"]
    test_features: Float32[np.ndarray, "test features"]
    test_labels: Float32[np.ndarray, "test labels"]


def line(
    generator: Generator,
    samples: int,
    *,
    w: tuple[float, ...] = TRUE_W,
    b: float = TRUE_B,
    noise: float = 0.01,
) -> Line:
    r"""Samples of a linear function with Gaussian noise.

    .. math:: y = X w + b + \varepsilon, \quad X \sim \mathcal{N}(0, 1), \quad
              \varepsilon \sim \mathcal{N}(0, \sigma^2)

    Args:
      generator: torch's generator; advanced.
      samples: the number of samples.
      w: the coefficients, one for each feature.
      b: the intercept.
      noise: the standard deviation :math:`\sigma` of the noise.

    Returns:
      Features of shape ``(samples, len(w))`` and labels of shape ``(samples, 1)``, float32.

    Example:
      >>> line(Generator(0), 1000).labels.shape
      (1000, 1)
    """
    features = generator.normal(samples, len(w))
    labels = features @ np.asarray(w, np.float32) + np.float32(b)
    labels += generator.normal(samples, std=noise)
    return Line(features, labels[:, None])


def noise(generator: Generator, samples: int, features: int, classes: int) -> Noise:
    """Features uniform in [0, 100), and random classes.

    Args:
      generator: torch's generator; advanced.
      samples: the number of samples.
      features: the number of features.
      classes: the number of classes.

    Returns:
      The features and the classes from 0 to ``classes - 1``.

    Example:
      >>> noise(Generator(0), 500, 20, 3).inputs.shape
      (500, 20)
    """
    inputs = generator.rand(samples, features) * np.float32(100)
    return Noise(inputs, generator.randint(0, classes, (samples,)).astype(np.int32))


def sums(generator: Generator, samples: int) -> Sums:
    """Three uniform features, and their sum's class: below 1, between 1 and 2, or above 2.

    As in the document, a sum of exactly 1 or 2 has no class, and a row of zeros.

    Args:
      generator: torch's generator; advanced.
      samples: the number of samples.

    Returns:
      Features and one-hot classes, both float32 of shape ``(samples, 3)``.

    Example:
      >>> sums(Generator(0), 10).one_hot.sum()
      np.float32(10.0)
    """
    # Column by column, in the document's order of draws.
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
    """Split a data set at random into a training and a test part.

    Args:
      generator: torch's generator; advanced as by ``torch.utils.data.random_split``.
      features: the features, shape ``(samples, features)``.
      labels: the labels, shape ``(samples, labels)``.
      train_share: the fraction of the samples for training; their number is rounded down.

    Returns:
      The two parts.

    Example:
      >>> samples = sums(Generator(0), 10)
      >>> len(split(Generator(0), *samples).test_labels)
      3
    """
    count = int(len(features) * train_share)
    train, test = generator.random_split(len(features), [count, len(features) - count])
    return Split(features[train], labels[train], features[test], labels[test])
