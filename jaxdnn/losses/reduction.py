"""Helpers of the losses: shape checks, weights, and reductions."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

__all__ = ["Reduction", "fill", "reduce", "require_same_shape"]

Reduction = Literal["mean", "sum", "none"]


def reduce(losses: Array, reduction: str, *, weights: Array | None = None) -> Array:
    """Reduce losses to their mean or their sum, or return them unreduced.

    Args:
      losses: the loss of each element or example, of any shape, already weighted.
      reduction: ``"mean"``, ``"sum"`` or ``"none"``.
      weights: the weight of each loss, of the same shape. The mean divides the sum of the losses
        by the sum of the weights; without them, by the number of losses.

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
    """Raise unless outputs and targets have the same shape.

    Broadcasting would turn shapes (N, 1) and (N,) into N x N losses without an error.

    Args:
      outputs: the outputs of the model.
      targets: the targets.

    Raises:
      ValueError: the shapes differ.
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs {outputs.shape} and targets {targets.shape} differ in shape; "
            "reshape one to the other's."
        )


def fill(weight: float | Array, like: Array, name: str = "weight") -> Array:
    """Broadcast a weight to the shape of the losses that it multiplies.

    Args:
      weight: a number or an array.
      like: an array of the wanted shape and dtype.
      name: the name of the argument, for the error message.

    Returns:
      The weight of each element, with the shape and dtype of ``like``.

    Raises:
      ValueError: ``weight`` does not broadcast to the shape of ``like``.
    """
    weight = jnp.asarray(weight, like.dtype)
    try:
        return jnp.broadcast_to(weight, like.shape)
    except ValueError:
        raise ValueError(
            f"{name} of shape {weight.shape} does not broadcast to {like.shape}."
        ) from None
