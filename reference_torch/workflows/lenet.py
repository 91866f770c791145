"""LeNet on handwritten digits.

The mirror of `jaxdnn.workflows.lenet`: read the two side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from reference_torch import models, training
from reference_torch.losses import cross_entropy
from reference_torch.training import History
from reference_torch.workflows.mnist_dnn import normalise

__all__ = [
    "Config",
    "convolve",
    "fit",
    "init",
    "loss",
    "optimizer",
    "pad",
    "predict",
    "train",
]


@dataclass(frozen=True)
class Config:
    """The document's optimiser; how long to train is not in it."""

    epochs: int = 1
    """Passes over the 60,000 training images."""

    lr: float = 0.01
    """Learning rate of SGD."""

    momentum: float = 0.9
    """Share of the last step's velocity that the next one keeps."""

    weight_decay: float = 0.0
    """L2 penalty: the share of each parameter that is added to its gradient."""

    initial_scale: float = 1.0
    """Factor of the fresh parameters, which otherwise start as torch's do."""

    batch_size: int = 64
    """Images a step; the last step of an epoch takes what is left."""


def pad(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Bytes to normalised images with two more pixels of paper on every side, and one channel."""
    return normalise(functional.pad(images, (2, 2, 2, 2)), dtype).unsqueeze(1)


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The ten scores of each image."""
    return model(pad(images, next(model.parameters()).dtype))


def convolve(convolution: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The maps of the first layer alone, a module of `reference_torch.models.conv2d`."""
    return convolution(pad(images, next(convolution.parameters()).dtype))


def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of a batch."""
    return cross_entropy(predict(model, images), labels.long())


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum and an L2 penalty."""
    return torch.optim.SGD(
        model.parameters(),
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )


def init(start: Mapping[str, np.ndarray] | None = None, *, scale: float = 1.0) -> models.LeNet:
    """The network before the first step.

    Args:
      start: its parameters by name, which decide the dtype too; by default torch's own start.
      scale: factor of all parameters.

    Returns:
      LeNet.
    """
    model = models.load_start(models.lenet(), start)
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
    """
    torch.manual_seed(seed)
    model = init(scale=config.initial_scale)
    orders = (torch.randperm(len(data[1])) for _ in range(config.epochs))
    return model, train(model, orders, config, data)
