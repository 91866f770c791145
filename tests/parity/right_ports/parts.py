"""What a right port is made of, and the simplest layers in torch's own layout."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from torch import nn

__all__ = [
    "Body",
    "Layer",
    "Params",
    "below",
    "linear",
    "mean_of_tokens",
    "normal",
    "of_function",
]

Params = Mapping[str, Any]
"""Arrays by torch name, in torch's layout."""


class Layer(NamedTuple):
    """A layer on both sides.

    Attributes:
      module: torch's.
      apply: ``(params, x) -> output``; if stateful, ``(params, buffers, x) -> (output, buffers)``.
      stateful: whether it has buffers that change.
    """

    module: nn.Module
    apply: Callable[..., Any]
    stateful: bool = False


class Body(NamedTuple):
    """A network without its last layer.

    Attributes:
      layers: in their order.
      inputs: ``(rng, rows) -> x``.
      features: of the output, at its last axis.
      kind: ``"vector"`` for an output of shape (rows, features), ``"tokens"`` for (rows, positions,
        features), ``"image"`` for one like the input, which is then the target, and ``"classes"``
        for one that is already (rows, classes).
      head: ``"plain"``, or ``"zero"`` for a last layer that begins at 0.
      frozen: prefixes of the names of parameters that are not trained.
      least_rows: of a batch.
    """

    layers: list[Layer]
    inputs: Callable[[np.random.Generator, int], np.ndarray]
    features: int
    kind: str = "vector"
    head: str = "plain"
    frozen: tuple[str, ...] = ()
    least_rows: int = 1


def normal(*shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Inputs of normal numbers."""
    return lambda rng, rows: rng.normal(size=(rows, *shape)).astype(np.float32)


def below(prefix: str, arrays: Params) -> dict[str, Any]:
    """The arrays of a submodule."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def linear(params: Params, x: jax.Array) -> jax.Array:
    """Torch's Linear."""
    y = x @ params["weight"].T
    return y + params["bias"] if "bias" in params else y


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def of_function(torch_function: Callable[..., Any], function: Callable[..., Any]) -> Layer:
    """A layer without parameters."""
    return Layer(_Function(torch_function), lambda params, x: function(x))


def mean_of_tokens() -> Layer:
    """The mean over the positions of (rows, positions, features)."""
    return of_function(lambda x: x.mean(1), lambda x: jnp.mean(x, 1))
