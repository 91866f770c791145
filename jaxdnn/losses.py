"""Losses with torch's reductions."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

__all__ = ["Reduction", "cross_entropy"]

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
    losses = jnp.where(inside, -scores, jnp.nan)
    match reduction:
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
        case "none":
            return losses
        case _:
            raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; got {reduction!r}.")
