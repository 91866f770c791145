"""Mistakes in normalisations.

A wrong value shows in the output. Scales are 1 and shifts 0 at first, so one that is missing shows
in its own gradient; the running statistics of a batch normalisation do not show in its output.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
from torch import nn
from torch.nn import functional

from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.layer_ports import batch_norm, between, layer_norm, through
from tests.parity.mutations.ports import dense, linear, named, normalise, numbers


def _scaled(params: Any, x: jax.Array) -> jax.Array:
    return x * params["scale"] + params["bias"]


def _standard(x: jax.Array, axes: Any, *, epsilon: float = 1e-5, ddof: int = 0) -> jax.Array:
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    return (x - mean) / jnp.sqrt(variance + epsilon)


def _groups(
    params: Any, x: jax.Array, *, count: int = 2, interleaved: bool = False, **settings: Any
) -> jax.Array:
    if interleaved:
        grouped = _standard(x.reshape(len(x), -1, count), 1, **settings)
    else:
        grouped = _standard(x.reshape(len(x), count, -1), 2, **settings)
    return _scaled(params, grouped.reshape(x.shape))


def _flax_group_norm(params: Any, x: jax.Array) -> Any:
    return flax.linen.GroupNorm(2, use_fast_variance=False).apply({"params": params}, x)


def _rms(params: Any, x: jax.Array, *, epsilon: float | None = None) -> jax.Array:
    epsilon = float(jnp.finfo(x.dtype).eps) if epsilon is None else epsilon
    return x * jax.lax.rsqrt(jnp.mean(x**2, 1, keepdims=True) + epsilon) * params["scale"]


def _instances(axes: tuple[int, ...], **settings: Any) -> Callable[[jax.Array], jax.Array]:
    """Of two channels of three features."""
    return lambda x: _standard(x.reshape(-1, 2, 3), axes, **settings).reshape(x.shape)


_GROUP_NORM = partial(between, lambda: nn.GroupNorm(2, 6), _groups)
_RMS_NORM = partial(between, lambda: nn.RMSNorm(6), _rms)
_INSTANCE_NORM = partial(
    between,
    lambda: lambda x: functional.instance_norm(x.reshape(-1, 2, 3)).reshape(x.shape),
    _instances((2,)),
)
_UNIT = partial(
    between,
    lambda: partial(functional.normalize, dim=1),
    lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=1, keepdims=True), 1e-12),
)


class _Spread(nn.Module):
    """Maps of six features at four places, normalised over the features alone."""

    def __init__(self) -> None:
        super().__init__()
        self.function, self.out = nn.LayerNorm(6), nn.Linear(6, 1)

    def forward(self, x: Any) -> Any:
        return self.out(self.function(x))


def _over(axes: Any) -> Callable[..., jax.Array]:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        own = {"scale": params["function.weight"], "bias": params["function.bias"]}
        return linear(params, "out", _scaled(own, _standard(x, axes)))

    return apply


def spread() -> Case:
    """A normalisation of sequences."""
    return named(_Spread, _over(-1), numbers(8, 4, 4, 6), numbers(8, 4, 4, 1, seed=1))


def _weight_normed() -> nn.Module:
    hidden = nn.utils.parametrizations.weight_norm(nn.Linear(5, 6))
    return nn.Sequential(hidden, nn.Tanh(), nn.Linear(6, 1))


def _direction(
    params: Any,
    x: jax.Array,
    *,
    axis: int | None = 1,
    constant: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    size, weight = (params[f"0.parametrizations.weight.original{i}"] for i in (0, 1))
    norm = constant(jnp.sqrt(jnp.sum(weight**2, axis, keepdims=True)))
    hidden = x @ (size * weight / norm).T + params["0.bias"]
    return linear(params, "2", jnp.tanh(hidden))


def weight_norm() -> Case:
    """A layer whose rows have a direction and a length."""
    return named(_weight_normed, _direction, numbers(8, 8, 5), numbers(8, 8, 1, seed=1))


def _batch(
    *,
    epsilon: float = 1e-5,
    updated: bool = True,
    evaluated: bool = False,
    before: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> Callable[..., Any]:
    """Torch's BatchNorm1d between two layers."""

    def apply(params: Any, buffers: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        hidden, size = x @ params["0"]["kernel"], len(x)
        old = buffers["1.running_mean"], buffers["1.running_var"]
        new = hidden.mean(0), hidden.var(0)
        mean, variance = old if evaluated else map(before, new)
        if updated:
            running = [
                0.9 * a + 0.1 * b
                for a, b in zip(old, (new[0], new[1] * size / (size - 1)), strict=True)
            ]
            buffers = dict(zip(("1.running_mean", "1.running_var"), running, strict=True))
        hidden = (hidden - mean) / jnp.sqrt(variance + epsilon)
        return dense(params["2"], _scaled(params["1"], hidden)), buffers

    return apply


def evaluated() -> Case:
    """A batch normalisation in evaluation mode, whose statistics are constants."""
    case = batch_norm()
    return case.but(module=case.run.module.eval(), apply=_batch(updated=False, evaluated=True))


# fmt: off

NORMALISATION = of_kind("normalisation", (
    row("group-norm-epsilon", "0 output", None, _GROUP_NORM,
        apply=through(_flax_group_norm)),
    row("group-norm-size-for-number", "0 output", None, _GROUP_NORM,
        apply=through(partial(_groups, count=3))),
    row("group-norm-interleaved", "0 output", None, _GROUP_NORM,
        apply=through(partial(_groups, interleaved=True))),
    row("group-norm-unbiased", "0 output", None, _GROUP_NORM,
        apply=through(partial(_groups, ddof=1))),
    row("layer-norm-epsilon-1e-12", "0 output", None, layer_norm,
        apply=through(lambda params, x: _scaled(params, _standard(x, 1, epsilon=1e-12)))),
    row("layer-norm-over-batch", "0 output", None, layer_norm,
        apply=through(lambda params, x: _scaled(params, _standard(x, 0)))),
    row("layer-norm-over-places-too", "0 output", None, spread, apply=_over((1, 2))),
    row("layer-norm-no-scale", "0 grad function.weight", None, layer_norm,
        apply=through(lambda params, x: normalise(params | {"scale": 1.0}, x))),
    row("layer-norm-no-shift", "0 grad function.bias", None, layer_norm,
        apply=through(lambda params, x: normalise(params | {"bias": 0.0}, x))),
    row("layer-norm-scale-plus-one", "0 output", None, layer_norm,
        apply=through(lambda params, x: normalise(params | {"scale": 1 + params["scale"]}, x))),
    # Torch's epsilon is by default that of the type.
    row("rms-norm-epsilon-1e-6", "0 output", None, _RMS_NORM,
        apply=through(partial(_rms, epsilon=1e-6))),
    row("rms-norm-centered", "0 output", None, _RMS_NORM,
        apply=through(lambda params, x: _rms(params, x - x.mean(1, keepdims=True)))),
    row("instance-norm-over-batch", "0 output", None, _INSTANCE_NORM,
        apply=through(_instances((0, 2)))),
    row("instance-norm-epsilon", "0 output", None, _INSTANCE_NORM,
        apply=through(_instances((2,), epsilon=1e-6))),
    row("unit-norm-squared", "0 output", None, _UNIT,
        apply=through(lambda x: x / jnp.sum(x**2, axis=1, keepdims=True))),
    row("weight-norm-of-all", "0 output", None, weight_norm,
        apply=partial(_direction, axis=None)),
    # The derivative by the length comes first, and is right.
    row("weight-norm-constant", "0 grad 0.parametrizations.weight.original1", None, weight_norm,
        apply=partial(_direction, constant=jax.lax.stop_gradient)),
    row("batch-norm-epsilon", "0 output", None, batch_norm, apply=_batch(epsilon=1e-3)),
    row("batch-norm-not-updated", "0 buffer 1.running_mean", None, batch_norm,
        apply=_batch(updated=False)),
    row("batch-norm-evaluated", "0 output", None, batch_norm, apply=_batch(evaluated=True)),
    row("batch-norm-trained", "0 output", None, evaluated, apply=_batch()),
    row("batch-norm-statistics-constant", "0 grad 0.weight", None, batch_norm,
        apply=_batch(before=jax.lax.stop_gradient)),
))
