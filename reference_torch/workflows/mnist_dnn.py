"""Handwritten digits with a deep network: the MNIST DNN.

The mirror of `jaxdnn.workflows.mnist_dnn`: read the two side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from reference_torch import models, training
from reference_torch.losses import cross_entropy
from reference_torch.training import History

__all__ = [
    "Config",
    "fit",
    "init",
    "loss",
    "normalise",
    "optimizer",
    "predict",
    "train",
]

MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 5
    """Passes over the 60,000 training images."""

    lr: float = 0.01
    """Learning rate of SGD."""

    momentum: float = 0.5
    """Share of the last step's velocity that the next one keeps."""

    weight_decay: float = 0.0
    """L2 penalty: the share of each parameter that is added to its gradient."""

    initial_scale: float = 1.0
    """Factor of the fresh parameters, which otherwise start as torch's do."""

    batch_size: int = 64
    """Images a step; the last step of an epoch takes what is left."""


def normalise(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Bytes to mean 0 and standard deviation 1 over the training set."""
    return (images.to(dtype) / 255 - MEAN) / STD


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The ten scores of each image."""
    return model(normalise(images, next(model.parameters()).dtype))


def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a batch."""
    return cross_entropy(predict(model, images), labels.long())


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum and an L2 penalty: v ← momentum·v + g + decay·θ, θ ← θ − lr·v."""
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def init(start: Mapping[str, np.ndarray] | None = None, *, scale: float = 1.0) -> models.MLP:
    """The network before the first step.

    Args:
      start: its parameters by name, for a run that begins where another one does; they decide the
        dtype too. Without them, torch's default start from its global generator.
      scale: factor of all parameters.

    Returns:
      784-512-256-128-64-10, with relu between the affine maps.
    """
    model = models.mlp((784, 512, 256, 128, 64, 10), flatten=True)
    model = models.load_start(model, start)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def train(
    model: nn.Module, orders: Iterable[torch.Tensor], config: Config, data: Sequence[np.ndarray]
) -> History:
    """Train a network in place; each epoch has its order, then is evaluated on the test set.

    Args:
      model: from `init`.
      orders: for each epoch, the training samples' indices in the order of use.
      config: how fast.
      data: training images and labels, test images and labels, as bytes.

    Returns:
      The history.
    """
    train_images, train_labels, test_images, test_labels = (torch.tensor(a) for a in data)
    return training.train_classifier(
        loss,
        optimizer(model, config),
        predict,
        model,
        (train_images, train_labels),
        (test_images, test_labels),
        orders,
        batch_size=config.batch_size,
    )


def fit(seed: int, config: Config, data: Sequence[np.ndarray]) -> tuple[nn.Module, History]:
    """A whole run: start, every epoch, every evaluation.

    Args:
      seed: decides everything that is random.
      config: how long, and how fast.
      data: training images and labels, test images and labels, as bytes.

    Returns:
      The trained network, and the history.

    Example:
      >>> generator = np.random.default_rng(0)
      >>> images = generator.integers(0, 256, (640, 28, 28), dtype=np.uint8)
      >>> labels = generator.integers(0, 10, 640, dtype=np.uint8)
      >>> model, history = fit(0, Config(epochs=2), (images, labels, images, labels))
      >>> tuple(history.losses.shape), tuple(history.test_accuracy.shape)
      ((2, 10), (2,))
    """
    torch.manual_seed(seed)
    model = init(scale=config.initial_scale)
    orders = (torch.randperm(len(data[1])) for _ in range(config.epochs))
    return model, train(model, orders, config, data)
