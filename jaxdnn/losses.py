"""Losses with torch's reductions."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Integer

__all__ = ["Reduction", "bce", "cross_entropy", "mse"]

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    *,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of the labels under the softmax of the logits.

    .. math:: \ell_i = \log \sum_k e^{z_{ik}} - z_{i y_i}

    Args:
      logits: unnormalised scores :math:`z`, shape ``(batch, classes)``.
      labels: class indices :math:`y` in ``[0, classes)``, any integer dtype. As everywhere under
        jit, an index outside that range cannot raise: the loss is NaN.
      reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for one loss per example.

    Returns:
      A scalar, or shape ``(batch,)`` for ``"none"``; the dtype of ``logits``.

    Raises:
      ValueError: the shapes do not fit, the labels are not integers, or the reduction is unknown.

    Example:
      >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
      Array(1.3862944, dtype=float32)

    Reference:
      `torch.nn.CrossEntropyLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>`_
    """
    if labels.shape != logits.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"labels must be one integer for each row of logits {logits.shape}; "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    # Without this, an index of -1 would mean the last class.
    inside = (labels >= 0) & (labels < logits.shape[-1])
    indices = labels.astype(jnp.int32)
    scores = jnp.take_along_axis(jax.nn.log_softmax(logits), indices[:, None], axis=-1)[:, 0]
    return _reduce(jnp.where(inside, -scores, jnp.nan), reduction)


def mse(
    outputs: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error, of each element.

    .. math:: \ell_i = (x_i - y_i)^2

    Args:
      outputs: :math:`x`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast.
      reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
      A scalar, or the shape of ``outputs`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, or the reduction is unknown.

    Example:
      >>> mse(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0]))
      Array(2.5, dtype=float32)

    Reference:
      `torch.nn.MSELoss <https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html>`_
    """
    _require_same_shape(outputs, targets)
    return _reduce((outputs - targets) ** 2, reduction)


def bce(
    probabilities: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross-entropy of probabilities, with torch's limits at 0 and 1.

    .. math:: \ell_i = -y_i \max(\log x_i, -100) - (1 - y_i) \max(\log(1 - x_i), -100), \quad
              \frac{\partial \ell_i}{\partial x_i} = \frac{x_i - y_i}{\max(x_i (1 - x_i), 10^{-12})}

    Args:
      probabilities: :math:`x` between 0 and 1, of any shape; outside, the loss is NaN.
      targets: :math:`y` between 0 and 1, of the same shape; nothing is broadcast.
      reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
      A scalar, or the shape of ``probabilities`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, or the reduction is unknown.

    Example:
      >>> bce(jnp.array([0.5, 0.0]), jnp.array([1.0, 1.0]), reduction="none")
      Array([  0.6931472, 100.       ], dtype=float32)

    Reference:
      `torch.nn.BCELoss <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html>`_
    """
    _require_same_shape(probabilities, targets)
    return _reduce(_bce(probabilities, targets), reduction)


@jax.custom_jvp
def _bce(x: Array, y: Array) -> Array:
    return (y - 1) * jnp.maximum(jnp.log1p(-x), -100) - y * jnp.maximum(jnp.log(x), -100)


@partial(_bce.defjvp, symbolic_zeros=True)
def _bce_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    slope = jnp.zeros_like(x)
    if not isinstance(dx, SymbolicZero):
        slope += dx * (x - y) / jnp.maximum(x * (1 - x), _SMALLEST_VARIANCE)
    if not isinstance(dy, SymbolicZero):
        slope += dy * (jnp.log1p(-x) - jnp.log(x))  # torch does not bound this one
    return _bce(x, y), slope


_SMALLEST_VARIANCE = float(np.float32(1e-12))
"""What torch divides by at least: a constant of single precision in any precision."""


def _require_same_shape(outputs: Array, targets: Array) -> None:
    if outputs.shape != targets.shape:
        raise ValueError(f"outputs {outputs.shape} and targets {targets.shape} differ in shape.")


def _reduce(losses: Array, reduction: str) -> Array:
    match reduction:
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
        case "none":
            return losses
        case _:
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}.")
