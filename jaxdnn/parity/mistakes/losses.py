"""Losses as a port might write them, beside those that torch computes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from jaxdnn import losses

__all__ = ["NAMES", "candidates", "faithful"]

Loss = Callable[[Array, Array], Array]
Settings = Mapping[str, Any]

NAMES = tuple(name for name in losses.__all__ if name != "Reduction")
"""The losses whose mistakes are known."""


def faithful(name: str, settings: Settings) -> Loss:
    """The loss that torch computes.

    Args:
      name: one of `NAMES`.
      settings: of the function in ``torch.nn.functional``; None where a setting is left out.

    Returns:
      ``(output, target) -> loss``.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    for key in ("weight", "pos_weight"):
        if key in given:
            given[key] = jnp.asarray(given[key], float)
    function = getattr(losses, name)
    return lambda output, target: function(output, _like(output, target, name), **given)


def _like(output: Array, target: Array, name: str) -> Array:
    """Targets that are numbers in the output's type, and in its shape where only a 1 is missing."""
    if name in ("cross_entropy", "nll"):
        return target if target.dtype.kind in "iu" else target.astype(output.dtype)
    return target.astype(output.dtype).reshape(output.shape)


def candidates(name: str, settings: Settings) -> Iterator[tuple[str, Loss]]:
    """The losses that a port of one of torch's may have instead.

    Args:
      name: one of `NAMES`.
      settings: of the function in ``torch.nn.functional``.

    Yields:
      The name of the mistake in `jaxdnn.parity.TRAPS`, and a loss that makes it.
    """
    right = faithful(name, settings)
    reduction = settings.get("reduction", "mean")
    each = faithful(name, {**settings, "reduction": "none"})
    match name:
        case "mse":
            yield "mse-half", lambda x, y: right(x, y) / 2
            yield "mse-broadcast", lambda x, y: _reduce((x - y.squeeze()) ** 2, reduction)
        case "l1":
            yield "abs-derivative", lambda x, y: _reduce(_abs(x - y), reduction)
            yield "abs-derivative", lambda x, y: _reduce(_abs(y - x), reduction)
        case "smooth_l1":
            beta = settings.get("beta", 1.0)
            yield "smooth-l1-huber", lambda x, y: right(x, y) * beta
            yield "smooth-l1-huber", lambda x, y: _reduce(optax.huber_loss(x, y), reduction)
        case "huber":
            delta = settings.get("delta", 1.0)
            yield "smooth-l1-huber", lambda x, y: right(x, y) / delta
            yield "smooth-l1-huber", lambda x, y: _reduce(optax.huber_loss(x, y), reduction)
        case "bce":
            yield from _bce(settings, reduction)
        case "bce_with_logits":
            yield from _bce_with_logits(settings, reduction)
        case "cross_entropy" | "nll":
            yield from _classes(name, settings, reduction)
        case "kl_div":
            yield "kl-div-mean", lambda x, y: each(x, y).mean()
            yield "kl-div-mean", lambda x, y: each(x, y).sum() / len(x)
    if reduction == "mean":
        yield "reduction-sum", lambda x, y: each(x, y).sum()
    if reduction == "sum":
        yield "reduction-mean", lambda x, y: each(x, y).mean()
    if reduction in ("mean", "sum"):
        yield "reduction-per-example", lambda x, y: each(x, y).sum() / len(x)


def _bce(settings: Settings, reduction: str) -> Iterator[tuple[str, Loss]]:
    weight = _weight(settings.get("weight"))

    def of_logarithms(positive: Array, negative: Array, y: Array) -> Array:
        return _reduce(-weight * (y * positive + (1 - y) * negative), reduction)

    def plain(x: Array, y: Array) -> Array:
        return of_logarithms(jnp.log(x), jnp.log(1 - x), y)

    def shifted(x: Array, y: Array, epsilon: float) -> Array:
        return of_logarithms(jnp.log(x + epsilon), jnp.log(1 - x + epsilon), y)

    def bounded(x: Array, y: Array) -> Array:
        positive, negative = jnp.log(x), jnp.log1p(-x)
        return of_logarithms(jnp.maximum(positive, -100), jnp.maximum(negative, -100), y)

    yield "bce-clamp", plain
    yield "bce-clamp", lambda x, y: of_logarithms(jnp.log(x), jnp.log1p(-x), y)
    # The bounds that tutorials and other libraries use.
    for bound in (1e-12, 1e-8, 1e-7, 1e-6, float(jnp.finfo(jnp.float32).eps)):
        yield "bce-clamp", lambda x, y, e=bound: plain(jnp.clip(x, e, 1 - e), y)
        yield "bce-clamp", lambda x, y, e=bound: shifted(x, y, e)
    # The right value, with the derivative of automatic differentiation, which is not torch's.
    yield "bce-clamp", bounded
    yield (
        "bce-of-logits",
        lambda x, y: _reduce(weight * optax.sigmoid_binary_cross_entropy(x, y), reduction),
    )


def _bce_with_logits(settings: Settings, reduction: str) -> Iterator[tuple[str, Loss]]:
    weight = _weight(settings.get("weight"))
    if settings.get("pos_weight") is not None:
        pos = _weight(settings["pos_weight"])

        def without(x: Array, y: Array) -> Array:
            return _reduce(weight * optax.sigmoid_binary_cross_entropy(x, y), reduction)

        def on_all(x: Array, y: Array) -> Array:
            return _reduce(weight * pos * optax.sigmoid_binary_cross_entropy(x, y), reduction)

        def averaged(x: Array, y: Array) -> Array:
            factors = jnp.where(y > 0, pos, 1.0)
            return jnp.sum(factors * optax.sigmoid_binary_cross_entropy(x, y)) / jnp.sum(factors)

        yield "pos-weight", without
        yield "pos-weight", on_all
        yield "pos-weight", averaged


def _classes(name: str, settings: Settings, reduction: str) -> Iterator[tuple[str, Loss]]:
    ignored = settings.get("ignore_index", -100)
    smoothing = settings.get("label_smoothing") or 0.0
    right = faithful(name, settings)

    def class_axis(x: Array) -> int:
        return 1 if x.ndim > 1 else 0

    def scores(x: Array) -> Array:
        return jax.nn.log_softmax(x, axis=class_axis(x)) if name == "cross_entropy" else x

    def of_labels(x: Array, y: Array) -> Array:
        """As by indexing, where a negative label counts from the end."""
        axis = class_axis(x)
        return -jnp.take_along_axis(scores(x), jnp.expand_dims(y, axis), axis).squeeze(axis)

    if name == "cross_entropy":
        yield "softmax-twice", lambda x, y: right(jax.nn.softmax(x, axis=class_axis(x)), y)

    if settings.get("weight") is not None:
        weight = jnp.asarray(settings["weight"], float)
        summed = faithful(name, {**settings, "reduction": "sum"})
        yield "cross-entropy-weights", lambda x, y: summed(x, y) / y.size
        yield "cross-entropy-weights", faithful(name, {**settings, "weight": None})
        yield (
            "cross-entropy-weights",
            lambda x, y: jnp.sum(weight[y] * of_labels(x, y)) / jnp.sum(weight),
        )

    if smoothing:
        yield "label-smoothing", faithful(name, {**settings, "label_smoothing": 0.0})

        def others_only(x: Array, y: Array) -> Array:
            classes = x.shape[-1]
            each = smoothing / (classes - 1)
            target = jax.nn.one_hot(y, classes, dtype=x.dtype)
            target = target * (1 - smoothing) + (1 - target) * each
            return _reduce(-jnp.sum(target * scores(x), -1), reduction)

        def not_taken_away(x: Array, y: Array) -> Array:
            target = jax.nn.one_hot(y, x.shape[-1], dtype=x.dtype) + smoothing / x.shape[-1]
            return _reduce(-jnp.sum(target * scores(x), -1), reduction)

        yield "label-smoothing", others_only
        yield "label-smoothing", not_taken_away
        return

    counted = lambda x, y: jnp.where(y == ignored, 0.0, of_labels(x, y))  # noqa: E731
    yield "ignore-index", lambda x, y: _reduce(counted(x, y), reduction)
    yield "ignore-index", lambda x, y: _reduce(of_labels(x, y), reduction)
    if name == "cross_entropy":
        yield (
            "ignore-index",
            lambda x, y: _reduce(optax.softmax_cross_entropy_with_integer_labels(x, y), reduction),
        )


def _weight(values: Any) -> Any:
    return 1.0 if values is None else np.asarray(values, float)


@jax.custom_jvp
def _abs(x: Array) -> Array:
    """With a derivative of 1 at 0, as jax.numpy's is."""
    return jnp.where(x >= 0, x, -x)


@_abs.defjvp
def _abs_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _abs(x), jnp.where(x >= 0, dx, -dx)


def _reduce(values: Array, reduction: str) -> Array:
    return values.sum() if reduction == "sum" else values.mean()
