"""LeNet on handwritten digits.

The mirror of `jaxdnn.workflows.lenet`: read the two side by side. Only the network differs from
`reference_torch.workflows.mnist_dnn`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from reference_torch import models, training
from reference_torch.training import Device, History
from reference_torch.workflows import mnist_dnn
from reference_torch.workflows.mnist_dnn import normalise

__all__ = ["Config", "LeNet", "convolve", "criterion", "fit", "init", "optimizer", "pad", "predict"]


@dataclass(frozen=True)
class Config(mnist_dnn.Config):
    """Hyperparameters: the document's, except ``epochs``, which it does not state."""

    epochs: int = 1
    """Passes over the 60,000 training images."""

    momentum: float = 0.9
    """Fraction of the velocity that the next step keeps."""


class LeNet(nn.Module):
    """Two convolutions with max-pooling, then linear layers 400-120-84-10, with relu.

    Images are NCHW, so ``flatten`` orders the 400 features by channel; in JAX they are NHWC.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The scores of ten classes for images of shape ``(batch, 1, 32, 32)``."""
        maps = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        maps = functional.max_pool2d(functional.relu(self.conv2(maps)), 2)
        hidden = functional.relu(self.fc1(maps.flatten(1)))
        hidden = functional.relu(self.fc2(hidden))
        return self.fc3(hidden)


def init(config: Config = Config()) -> LeNet:
    """The network, with initial parameters from torch's global generator."""
    return models.scale_params(LeNet(), config.initial_scale)


def pad(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normalised images, padded by two pixels on every side, with a channel axis."""
    return normalise(functional.pad(images, (2, 2, 2, 2)), dtype).unsqueeze(1)


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The scores of ten classes for images as bytes, shape ``(batch, 28, 28)``."""
    return model(pad(images, next(model.parameters()).dtype))


def convolve(convolution: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """The feature maps of the first convolution, the document's first module."""
    return convolution(pad(images, convolution.weight.dtype))


criterion = nn.CrossEntropyLoss()
"""Mean cross-entropy of scores and class labels."""


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum and an L2 penalty, as for the MNIST DNN."""
    return mnist_dnn.optimizer(model, config)


def fit(
    seed: int, config: Config, data: Sequence[np.ndarray], *, device: Device = "cpu"
) -> tuple[nn.Module, History]:
    """A complete run; see `reference_torch.workflows.mnist_dnn.fit`."""
    torch.manual_seed(seed)
    model = init(config).to(device)
    loaders = mnist_dnn.batches(data, config, transform=pad)
    history = training.train_classifier(
        model, criterion, optimizer(model, config), loaders, epochs=config.epochs, device=device
    )
    return model, history
