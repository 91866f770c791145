"""Mistakes in the distribution of the initial parameters.

The two differ in the phase ``start``, in the first parameter of another distribution.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen
import jax
import jax.numpy as jnp
from torch import nn

from jaxdnn import parity
from tests.parity.mutations.case import of_kind, row


class Draw(NamedTuple):
    """The initial parameters of both sides: what `parity.check_initialisation` takes.

    Attributes:
      torch_init: makes the network.
      init: ``key -> params``.
    """

    torch_init: Callable[[], nn.Module]
    init: Callable[[jax.Array], Any]

    def but(self, **changes: Any) -> "Draw":
        """The same with other fields."""
        return self._replace(**changes)

    def check(self, **settings: Any) -> parity.Report:
        """Compare the initial parameters."""
        return parity.check_initialisation(*self)


_TORCH_INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_SIZES = (20, 30, 40)


def _init(
    kernel_init: Callable[..., Any],
    bias_init: Callable[..., Any] | None = None,
    *,
    reused: bool = False,
) -> Callable[[jax.Array], Any]:
    """Two layers as torch would draw them, with other initialisers."""

    def init(key: jax.Array) -> Any:
        keys = jnp.stack([key] * 4) if reused else jax.random.split(key, 4)
        params = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(_SIZES)):
            bound = fan_in**-0.5
            params[str(2 * i)] = {
                "kernel": kernel_init(keys[2 * i], (fan_in, fan_out)),
                "bias": bias_init(keys[2 * i + 1], (fan_out,))
                if bias_init
                else jax.random.uniform(keys[2 * i + 1], (fan_out,), minval=-bound, maxval=bound),
            }
        return params

    return init


def _flax_init(key: jax.Array) -> Any:
    x = jnp.zeros((1, _SIZES[0]))
    params = {}
    for i, size in enumerate(_SIZES[1:]):
        layer = flax.linen.Dense(size)
        x, variables = layer.init_with_output(jax.random.fold_in(key, i), x)
        params[str(2 * i)] = variables["params"]
    return params


def draw() -> Draw:
    """Two layers."""
    first, hidden, last = _SIZES
    return Draw(
        lambda: nn.Sequential(nn.Linear(first, hidden), nn.Tanh(), nn.Linear(hidden, last)),
        _init(_TORCH_INIT),
    )


def normal_draw() -> Draw:
    """Weights from nn.init.normal_."""

    def torch_init() -> nn.Module:
        network = draw().torch_init()
        for layer in (network[0], network[2]):  # type: ignore[index]
            nn.init.normal_(layer.weight)
        return network

    return Draw(torch_init, _init(jax.nn.initializers.normal(1.0)))


# fmt: off

INITIALISATION = of_kind("initialisation", (
    row("flax-default", "0 start", "init-lecun-normal", draw, init=_flax_init),
    row("kaiming-uniform", "0 start", "init-kaiming-uniform", draw,
        init=_init(jax.nn.initializers.kaiming_uniform())),
    row("glorot-uniform", "0 start", "init-glorot", draw,
        init=_init(jax.nn.initializers.glorot_uniform())),
    row("fan-out", "0 start", "init-fan-out", draw,
        init=_init(jax.nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"))),
    row("normal-0.01", "0 start", "init-normal-std", normal_draw,
        init=_init(jax.nn.initializers.normal())),
    row("zero-bias", "0 start 0.bias", "init-zero-bias", draw,
        init=_init(_TORCH_INIT, jax.nn.initializers.zeros)),
    # Each distribution is right, and the second weight is a function of the first.
    row("key-reused", "0 start", "init-key-reuse", draw, init=_init(_TORCH_INIT, reused=True)),
    row("bound-5-percent-larger", "0 start", None, draw,
        init=_init(jax.nn.initializers.variance_scaling(1.05**2 / 3, "fan_in", "uniform"))),
))
