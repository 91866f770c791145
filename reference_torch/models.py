"""Modules: a multilayer perceptron and a single linear layer."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

__all__ = [
    "MLP",
    "Linear",
    "linear",
    "load_params",
    "mlp",
    "scale_params",
]

M = TypeVar("M", bound=nn.Module)


class Linear(nn.Module):
    """One linear layer, with or without a bias, as the submodule ``linear``."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of shape ``(batch, out_features)``."""
        return self.linear(inputs)


class MLP(nn.Module):
    """A multilayer perceptron as one ``nn.Sequential`` named ``net``, as in the tutorials.

    Args:
      sizes: the widths of the layers, from the input to the output.
      activation: a constructor of the modules between two linear layers.
      final_activation: a constructor of the module after the last linear layer.
      flatten: whether to begin with ``nn.Flatten``, which shifts the numbers of the layers by one.
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


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Linear:
    """One linear layer with torch's default initialisation."""
    return Linear(in_features, out_features, bias=bias)


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    final_activation: Callable[[], nn.Module] = nn.Identity,
    flatten: bool = False,
) -> MLP:
    """A multilayer perceptron with torch's default initialisation; see `MLP`.

    Example:
      >>> module = mlp((784, 32, 10), flatten=True)
      >>> {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
      {'net.1.weight': (32, 784), 'net.1.bias': (32,),
       'net.3.weight': (10, 32), 'net.3.bias': (10,)}
    """
    return MLP(sizes, activation=activation, final_activation=final_activation, flatten=flatten)


def scale_params(model: M, factor: float) -> M:
    """Multiply all parameters of a module by a factor, in place; returns the module."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(factor)
    return model


def load_params(model: M, params: Mapping[str, np.ndarray]) -> M:
    """Load a ``state_dict`` of NumPy arrays into a module.

    Args:
      model: the module; changed in place, and converted to the dtype of the arrays.
      params: the arrays by name, one for each parameter of the module.

    Returns:
      The module.
    """
    tensors = {name: torch.tensor(array) for name, array in params.items()}
    model.to(next(iter(tensors.values())).dtype).load_state_dict(tensors, strict=True)
    return model
