"""The tutorials' generated data sets, with torch's global random generator."""

from typing import NamedTuple

import torch
from torch.utils.data import TensorDataset, random_split

__all__ = ["Line", "Noise", "Split", "Sums", "line", "noise", "split", "sums"]


class Line(NamedTuple):
    """Samples of a linear function of the features, with Gaussian noise."""

    features: torch.Tensor
    labels: torch.Tensor


class Noise(NamedTuple):
    """Samples whose classes are independent of their features."""

    inputs: torch.Tensor
    labels: torch.Tensor


class Sums(NamedTuple):
    """Samples with one of three classes, given by the sum of the features."""

    features: torch.Tensor
    one_hot: torch.Tensor


class Split(NamedTuple):
    """A data set, split into a training and a test part."""

    train_features: torch.Tensor
    train_labels: torch.Tensor
    test_features: torch.Tensor
    test_labels: torch.Tensor


def line(
    samples: int, *, w: tuple[float, ...] = (2.0, -3.4), b: float = 4.2, noise: float = 0.01
) -> Line:
    """Samples of a linear function with Gaussian noise: ``y = X w + b + ε``."""
    features = torch.normal(0.0, 1.0, (samples, len(w)))
    labels = features @ torch.tensor(w) + b
    labels += torch.normal(0.0, noise, labels.shape)
    return Line(features, labels.reshape(-1, 1))


def noise(samples: int, features: int, classes: int) -> Noise:
    """Features uniform in [0, 100), and random classes."""
    return Noise(torch.rand(samples, features) * 100, torch.randint(0, classes, (samples,)))


def sums(samples: int) -> Sums:
    """Three uniform features, and their sum's class: below 1, between 1 and 2, or above 2."""
    x1, x2, x3 = torch.rand(samples, 1), torch.rand(samples, 1), torch.rand(samples, 1)
    total = x1 + x2 + x3
    classes = torch.cat([total < 1, (total > 1) & (total < 2), total > 2], dim=1)
    return Sums(torch.cat([x1, x2, x3], dim=1), classes.float())


def split(features: torch.Tensor, labels: torch.Tensor, *, train_share: float = 0.7) -> Split:
    """Split a data set at random into a training and a test part."""
    count = int(len(features) * train_share)
    samples = TensorDataset(features, labels)
    train, test = random_split(samples, [count, len(features) - count])
    return Split(*samples[train.indices], *samples[test.indices])
