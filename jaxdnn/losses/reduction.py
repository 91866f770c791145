"""What the losses share: shapes that must agree, weights, and the way to one number."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["Reduction", "fill", "reduce", "require_same_shape"]

Reduction = Literal["mean", "sum", "none"]


def reduce(losses: Array, reduction: str, *, weights: Array | None = None) -> Array:
    """Mean, sum, or the losses as they are.

    Args:
      losses: one loss for each element or example, of any shape.
      reduction: ``"mean"``, ``"sum"`` or ``"none"``.
      weights: of the shape of ``losses``, which they already contain: the mean is divided by
        their sum. By default, by the number of losses.

    Returns:
      A scalar, or ``losses`` for ``"none"``.

    Raises:
      ValueError: the reduction is unknown.

    Example:
      >>> reduce(jnp.array([2.0, 3.0]), "mean", weights=jnp.array([2.0, 0.5]))
      Array(2., dtype=float32)
    """
    match reduction:
        case "mean":
            return losses.mean() if weights is None else losses.sum() / weights.sum()
        case "sum":
            return losses.sum()
        case "none":
            return losses
        case _:
            raise ValueError(
                "reduction must be 'mean', 'sum' or 'none', or in kl_div 'batchmean'; "
                f"got {reduction!r}."
            )


def require_same_shape(outputs: Array, targets: Array) -> None:
    """Refuse what torch and JAX would broadcast: (N, 1) against (N,) is N x N differences.

    Args:
      outputs: what the model gives.
      targets: what it should give.

    Raises:
      ValueError: the shapes differ.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs {outputs.shape} and targets {targets.shape} differ in shape; "
            "reshape one to the other's."
        )


def fill(weight: float | Array, like: Array, name: str = "weight") -> Array:
    """The weight of each element: one array broadcast to another's shape, never beyond it.

    Args:
      weight: a number or an array.
      like: what is weighted; gives shape and dtype.
      name: of the argument, for the error.

    Returns:
      The shape and dtype of ``like``.

    Raises:
      ValueError: the shapes do not fit.
    """
    weight = jnp.asarray(weight, like.dtype)
    try:
        return jnp.broadcast_to(weight, like.shape)
    except ValueError:
        raise ValueError(
            f"{name} of shape {weight.shape} does not broadcast to {like.shape}."
        ) from None
