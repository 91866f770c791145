"""Handwritten digits with a deep network: the MNIST DNN.

The mirror of `jaxdnn.workflows.mnist_dnn`: read the two side by side. Here a run is a sequence of
calls that change the model, the optimiser and the global random generator; there it is one
function.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reference_torch import models, training
from reference_torch.training import Device, History

__all__ = ["DNN", "MEAN", "STD", "Config", "batches", "criterion", "fit", "init", "normalise"]
__all__ += ["optimizer", "predict"]

MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 5
    """Passes over the 60,000 training images."""

    lr: float = 0.01
    """Learning rate of SGD."""

    momentum: float = 0.5
    """Fraction of the velocity that the next step keeps."""

    weight_decay: float = 0.0
    """L2 penalty: this multiple of each parameter is added to its gradient."""

    initial_scale: float = 1.0
    """Factor on torch's default initial parameters."""

    batch_size: int = 64
    """Images per step; the last batch of an epoch may be smaller."""


class DNN(nn.Module):
    """784-512-256-128-64-10 with relu between the layers. The module owns its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(784, 512), nn.ReLU()),
            *(nn.Linear(512, 256), nn.ReLU()),
            *(nn.Linear(256, 128), nn.ReLU()),
            *(nn.Linear(128, 64), nn.ReLU()),
            nn.Linear(64, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The scores of ten classes for each image."""
        return self.net(images)


def init(config: Config = Config()) -> DNN:
    """The network, with initial parameters from torch's global generator."""
    return models.scale_params(DNN(), config.initial_scale)


def normalise(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """``(images / 255 - 0.1307) / 0.3081``: mean 0, standard deviation 1 over the training set."""
    return (images.to(dtype) / 255 - MEAN) / STD


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The scores of ten classes for images as bytes, shape ``(batch, 28, 28)``."""
    return model(normalise(images, next(model.parameters()).dtype))


criterion = nn.CrossEntropyLoss()
"""Mean cross-entropy of scores and class labels."""


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum and an L2 penalty: ``v ← μ v + g + λ θ``, ``θ ← θ - lr · v``."""
    return torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay
    )


def batches(
    data: Sequence[np.ndarray],
    config: Config,
    *,
    transform: Callable[[torch.Tensor], torch.Tensor] = normalise,
    sampler: Iterable[int] | None = None,
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of the training and the test set; in JAX the program indexes the arrays itself.

    ``data`` are images and labels for training and for the test, as bytes. ``transform`` makes the
    network's inputs, and ``sampler`` the training indices of each epoch, by default shuffled.
    """
    images, labels, test_images, test_labels = map(torch.tensor, data)
    train = TensorDataset(transform(images), labels.long())
    test = TensorDataset(transform(test_images), test_labels.long())
    loader = DataLoader(train, config.batch_size, shuffle=sampler is None, sampler=sampler)
    return loader, DataLoader(test, batch_size=1000)


def fit(
    seed: int, config: Config, data: Sequence[np.ndarray], *, device: Device = "cpu"
) -> tuple[nn.Module, History]:
    """A complete run: initialise, then train and evaluate in every epoch.

    Example:
      >>> generator = np.random.default_rng(0)
      >>> images = generator.integers(0, 256, (640, 28, 28), dtype=np.uint8)
      >>> labels = generator.integers(0, 10, 640, dtype=np.uint8)
      >>> model, history = fit(0, Config(epochs=2), (images, labels, images, labels))
      >>> tuple(history.losses.shape), tuple(history.test_accuracy.shape)
      ((2, 10), (2,))
    """
    torch.manual_seed(seed)
    model = init(config).to(device)
    loaders = batches(data, config)
    history = training.train_classifier(
        model, criterion, optimizer(model, config), loaders, epochs=config.epochs, device=device
    )
    return model, history
