"""The multilayer perceptron and the single layer of the lessons, as modules."""

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


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Linear:
    """One affine map with torch's default initialisation."""
    return Linear(in_features, out_features, bias=bias)


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    final_activation: Callable[[], nn.Module] = nn.Identity,
    flatten: bool = False,
) -> MLP:
    """A multilayer perceptron with torch's default initialisation.

    Example:
      >>> module = mlp((784, 32, 10), flatten=True)
      >>> {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
      {'net.1.weight': (32, 784), 'net.1.bias': (32,),
       'net.3.weight': (10, 32), 'net.3.bias': (10,)}
    """
    return MLP(sizes, activation=activation, final_activation=final_activation, flatten=flatten)


def load_params(model: M, params: Mapping[str, np.ndarray]) -> M:
    """Give a module the parameters of another one, a state_dict of NumPy arrays.

    Args:
      model: changed in place; it takes the arrays' dtype too.
      params: arrays by name, as many as the module has parameters.

    Returns:
      The module.
    """
    tensors = {name: torch.tensor(array) for name, array in params.items()}
    model.to(next(iter(tensors.values())).dtype).load_state_dict(tensors, strict=True)
    return model
