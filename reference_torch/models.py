"""The networks as modules."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

__all__ = ["MLP", "mlp"]


class MLP(nn.Module):
    """A multilayer perceptron, written as the tutorials do: one ``nn.Sequential`` named ``net``.

    Args:
      sizes: widths from the input to the output.
      activation: makes the module between two affine maps.
      flatten: begin with ``nn.Flatten``, which shifts the layers' numbers by one.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        flatten: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()] if flatten else []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of shape ``(batch, sizes[-1])``."""
        return self.net(inputs)


def mlp(
    sizes: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    flatten: bool = False,
) -> MLP:
    """A multilayer perceptron with torch's default start.

    Example:
      >>> module = mlp((784, 32, 10), flatten=True)
      >>> {name: tuple(tensor.shape) for name, tensor in module.named_parameters()}
      {'net.1.weight': (32, 784), 'net.1.bias': (32,),
       'net.3.weight': (10, 32), 'net.3.bias': (10,)}
    """
    return MLP(sizes, activation=activation, flatten=flatten)
