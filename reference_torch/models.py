"""The networks as modules."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = [
    "MLP",
    "Conv2d",
    "LeNet",
    "Linear",
    "ThreeLayer",
    "conv2d",
    "lenet",
    "linear",
    "load_start",
    "mlp",
    "three_layer",
]

M = TypeVar("M", bound=nn.Module)


class Linear(nn.Module):
    """One affine map, or a linear one, called ``linear``."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of shape ``(batch, out_features)``."""
        return self.linear(inputs)


class MLP(nn.Module):
    """A multilayer perceptron, written as the tutorials do: one ``nn.Sequential`` named ``net``.

    Args:
      sizes: widths from the input to the output.
      activation: makes the module between two affine maps.
      final_activation: makes the module after the last one.
      flatten: begin with ``nn.Flatten``, which shifts the layers' numbers by one.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        final_activation: Callable[[], nn.Module] = nn.Identity,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()] if flatten else []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        layers[-1] = final_activation()
        self.net = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of shape ``(batch, sizes[-1])``."""
        return self.net(inputs)


class ThreeLayer(nn.Module):
    """The classifier of the momentum tutorial: only its output layer has a bias."""

    def __init__(self, sizes: tuple[int, int, int, int] = (20, 13, 8, 3)) -> None:
        super().__init__()
        self.linear1 = nn.Linear(sizes[0], sizes[1], bias=False)
        self.linear2 = nn.Linear(sizes[1], sizes[2], bias=False)
        self.output = nn.Linear(sizes[2], sizes[3])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The score of each class, shape ``(batch, sizes[-1])``."""
        hidden = torch.relu(self.linear1(inputs))
        hidden = torch.sigmoid(self.linear2(hidden))
        return self.output(hidden)


class Conv2d(nn.Module):
    """One convolution without padding, called ``conv1``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps of shape ``(batch, out_channels, height - kernel_size + 1, ...)``."""
        return self.conv1(images)


class LeNet(nn.Module):
    """LeNet for images of 32 by 32 pixels and ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The score of each class, shape ``(batch, 10)``, of images ``(batch, 1, 32, 32)``."""
        maps = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        maps = functional.max_pool2d(functional.relu(self.conv2(maps)), 2)
        hidden = functional.relu(self.fc1(maps.flatten(1)))
        hidden = functional.relu(self.fc2(hidden))
        return self.fc3(hidden)


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Linear:
    """One affine map with torch's default start."""
    return Linear(in_features, out_features, bias=bias)


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    final_activation: Callable[[], nn.Module] = nn.Identity,
    flatten: bool = False,
) -> MLP:
    """A multilayer perceptron with torch's default start.

    Example:
      >>> module = mlp((784, 32, 10), flatten=True)
      >>> {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
      {'net.1.weight': (32, 784), 'net.1.bias': (32,),
       'net.3.weight': (10, 32), 'net.3.bias': (10,)}
    """
    return MLP(sizes, activation=activation, final_activation=final_activation, flatten=flatten)


def three_layer(sizes: tuple[int, int, int, int] = (20, 13, 8, 3)) -> ThreeLayer:
    """The classifier of the momentum tutorial with torch's default start."""
    return ThreeLayer(sizes)


def conv2d(in_channels: int, out_channels: int, kernel_size: int) -> Conv2d:
    """One convolution with torch's default start."""
    return Conv2d(in_channels, out_channels, kernel_size)


def lenet() -> LeNet:
    """LeNet with torch's default start."""
    return LeNet()


def load_start(model: M, start: Mapping[str, np.ndarray] | None) -> M:
    """Give a module the parameters with which another run starts.

    Args:
      model: changed in place.
      start: its parameters by name, all of them, which decide its dtype too; None for no change.

    Returns:
      The module.
    """
    if start is not None:
        tensors = {name: torch.tensor(array) for name, array in start.items()}
        model.to(next(iter(tensors.values())).dtype).load_state_dict(tensors, strict=True)
    return model
