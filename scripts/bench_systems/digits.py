"""MNIST for all systems, with the same images and the same float32 values."""

import itertools
from typing import NamedTuple

import numpy as np

from bench_systems.settings import Settings
from jaxdnn.data import mnist

__all__ = ["BATCH_SIZE", "LR", "MOMENTUM", "SIZES", "Digits", "epoch_gflop", "load", "normalised"]

SIZES = (784, 512, 256, 128, 64, 10)
LR, MOMENTUM, BATCH_SIZE = 0.01, 0.5, 64


class Digits(NamedTuple):
    """Images as rows of 784 normalised float32 numbers, and labels as int32."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load(settings: Settings) -> mnist.MNIST:
    """MNIST as bytes, or its first images if the settings ask for fewer."""
    data = mnist.load(settings.data_dir)[0]
    if settings.samples == len(data.train_labels):
        return data
    test = max(1, settings.samples // 6)
    train = (array[: settings.samples] for array in data[:2])
    return mnist.MNIST(*train, *(array[:test] for array in data[2:]))


def normalised(data: mnist.MNIST) -> Digits:
    """Normalised images for loops that feed batches from the host; not part of the timing."""

    def rows(images: np.ndarray) -> np.ndarray:
        scaled = (images.astype(np.float32) / 255 - mnist.MEAN) / mnist.STD
        return scaled.reshape(len(images), -1).astype(np.float32)

    return Digits(
        rows(data.train_images),
        data.train_labels.astype(np.int32),
        rows(data.test_images),
        data.test_labels.astype(np.int32),
    )


def epoch_gflop(samples: int) -> float:
    """Billions of multiplications and additions in an epoch's matrix products.

    For each weight and sample, a layer needs two operations for its output, two for the gradient of
    its weights and, except in the first layer, two for the gradient of its input.
    """
    products = [a * b for a, b in itertools.pairwise(SIZES)]
    return samples * (6 * sum(products) - 2 * products[0]) / 1e9
