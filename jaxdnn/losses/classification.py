"""Classification losses, of logits, log-probabilities or probabilities."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Integer

from jaxdnn.losses.reduction import Reduction, fill, reduce, require_same_shape

__all__ = ["bce", "bce_with_logits", "cross_entropy", "kl_div", "nll"]


def cross_entropy(
    logits: Float[Array, "*shape"],
    targets: Integer[Array, "..."] | Float[Array, "*shape"],
    *,
    weight: Float[Array, " classes"] | None = None,
    ignore_index: int = -100,
    label_smoothing: float | Float[Array, ""] = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Cross-entropy between the targets and the softmax of the logits.

    .. math:: \ell_i = -\sum_k w_k \tilde y_{ik} \log \frac{e^{z_{ik}}}{\sum_j e^{z_{ij}}}, \quad
              \tilde y_{ik} = (1 - s) y_{ik} + \frac{s}{K}

    Args:
      logits: unnormalised scores :math:`z`, shape ``(classes,)``, ``(batch, classes)`` or
        ``(batch, classes, ...)``.
      targets: class indices in ``[0, classes)``, of any integer dtype and of the shape of
        ``logits`` without the class axis; or class probabilities :math:`y`, of the shape of
        ``logits``. An index outside its range makes the loss NaN.
      weight: :math:`w`, the weight of each class, shape ``(classes,)``; by default 1.
      ignore_index: a class index; examples with this target do not contribute to the loss.
      label_smoothing: :math:`s` between 0 and 1, the fraction of the probability that is spread
        over all :math:`K` classes. May be an array, which is not checked; an array of 0 gives NaN
        for an infinite logit.
      reduction: ``"mean"``, ``"sum"``, or ``"none"`` for one loss per example. The mean divides
        by the sum of the target classes' weights over all examples that are not ignored, and is NaN
        if that sum is 0. With class probabilities it divides by the number of examples.

    Returns:
      A scalar, or for ``"none"`` the shape of ``logits`` without the class axis.

    Raises:
      ValueError: a shape or a dtype does not fit, ``label_smoothing`` is outside [0, 1], the
        reduction is unknown, or ``ignore_index`` is not negative although ``targets`` are class
        probabilities.

    Example:
      >>> cross_entropy(jnp.zeros((2, 4)), jnp.array([0, 3]))
      Array(1.3862944, dtype=float32)

    Reference:
      `torch.nn.CrossEntropyLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>`_
    """
    if isinstance(label_smoothing, float | int) and not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1; got {label_smoothing}.")
    log_probabilities = jax.nn.log_softmax(_classes_last(logits, weight))
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        return _nll(log_probabilities, targets, weight, ignore_index, label_smoothing, reduction)
    if targets.shape != logits.shape:
        raise ValueError(
            f"targets must be class indices, which are integers, or class probabilities of shape "
            f"{logits.shape}; got {targets.dtype} of shape {targets.shape}."
        )
    if ignore_index >= 0:
        raise ValueError(f"ignore_index={ignore_index} requires class indices as targets.")
    targets = _classes_last(targets, weight)
    if not _is_zero(label_smoothing):
        smoothing = jnp.asarray(label_smoothing, targets.dtype)
        targets = targets * (1 - smoothing) + smoothing / targets.shape[-1]
    losses = log_probabilities * targets
    if weight is not None:
        losses *= fill(weight, losses)
    return reduce(-losses.sum(-1), reduction)


def nll(
    log_probabilities: Float[Array, "*shape"],
    labels: Integer[Array, "..."],
    *,
    weight: Float[Array, " classes"] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Negative log-likelihood of the labels, given log-probabilities.

    .. math:: \ell_i = -w_{y_i} x_{i y_i}

    Args:
      log_probabilities: :math:`x`, shape ``(classes,)``, ``(batch, classes)`` or
        ``(batch, classes, ...)``.
      labels: class indices :math:`y` in ``[0, classes)``, of any integer dtype and of the shape of
        ``log_probabilities`` without the class axis. An index outside its range makes the loss NaN.
      weight: :math:`w`, the weight of each class, shape ``(classes,)``; by default 1.
      ignore_index: a class index; examples with this label do not contribute to the loss.
      reduction: ``"mean"``, ``"sum"``, or ``"none"`` for one loss per example. The mean divides
        by the sum of the labels' weights over all examples that are not ignored, and is NaN if that
        sum is 0.

    Returns:
      A scalar, or the shape of ``labels`` for ``"none"``.

    Raises:
      ValueError: a shape or a dtype does not fit, or the reduction is unknown.

    Example:
      >>> nll(jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]])), jnp.array([0, -100]))
      Array(1.3862944, dtype=float32)

    Reference:
      `torch.nn.NLLLoss <https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html>`_
    """
    scores = _classes_last(log_probabilities, weight)
    return _nll(scores, labels, weight, ignore_index, 0.0, reduction)


def bce(
    probabilities: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    weight: float | Float[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross-entropy of probabilities, bounded as in torch near 0 and 1.

    .. math:: \ell_i = -w_i \left[y_i \max(\log x_i, -100)
              + (1 - y_i) \max(\log(1 - x_i), -100)\right], \quad
              \frac{\partial \ell_i}{\partial x_i}
              = \frac{w_i (x_i - y_i)}{\max(x_i (1 - x_i), 10^{-12})}

    Args:
      probabilities: :math:`x` in [0, 1], of any shape; outside this range the loss is NaN.
      targets: :math:`y` in [0, 1], of the same shape; outside this range the loss is NaN.
      weight: :math:`w`, broadcast to that shape; by default 1.
      reduction: ``"mean"``, divided by the number of elements and not by the weights, ``"sum"``, or
        ``"none"``.

    Returns:
      A scalar, or the shape of ``probabilities`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, ``weight`` does not fit, or the reduction is unknown.

    Example:
      >>> bce(jnp.array([0.5, 0.0]), jnp.array([1.0, 1.0]), reduction="none")
      Array([  0.6931472, 100.       ], dtype=float32)

    Reference:
      `torch.nn.BCELoss <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCELoss.html>`_
    """
    require_same_shape(probabilities, targets)
    losses = _bce(probabilities, targets)
    if weight is not None:
        losses *= fill(weight, losses)
    return reduce(losses, reduction)


def bce_with_logits(
    logits: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    weight: float | Float[Array, "..."] | None = None,
    pos_weight: float | Float[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross-entropy of the sigmoid of the logits, finite for all finite logits.

    .. math:: \ell_i = -w_i \left[p_i y_i \log \sigma(z_i)
              + (1 - y_i) \log(1 - \sigma(z_i))\right]

    Args:
      logits: :math:`z`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast.
      weight: :math:`w`, broadcast to that shape; by default 1.
      pos_weight: :math:`p`, the weight of positive targets, broadcast to that shape; by default 1.
      reduction: ``"mean"``, divided by the number of elements and not by the weights, ``"sum"``, or
        ``"none"``.

    Returns:
      A scalar, or the shape of ``logits`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, a weight does not fit, or the reduction is unknown.

    Example:
      >>> bce_with_logits(jnp.array([0.0, 1e4]), jnp.zeros(2), reduction="none")
      Array([6.931472e-01, 1.000000e+04], dtype=float32)

    Reference:
      `torch.nn.BCEWithLogitsLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html>`_
    """
    require_same_shape(logits, targets)
    # Not torch's (1 - y) z - log σ(z): its derivative (1 - y) - σ(-z) cancels for very negative z.
    positive = -targets * jax.nn.log_sigmoid(logits)
    if pos_weight is not None:
        positive *= fill(pos_weight, logits, "pos_weight")
    losses = positive - (1 - targets) * jax.nn.log_sigmoid(-logits)
    if weight is not None:
        losses *= fill(weight, losses)
    return reduce(losses, reduction)


def kl_div(
    log_probabilities: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    log_target: bool = False,
    reduction: Reduction | Literal["batchmean"] = "mean",
) -> Float[Array, "..."]:
    r"""Pointwise Kullback-Leibler divergence of the targets from the model's distribution.

    .. math:: \ell_i = y_i (\log y_i - x_i)

    Args:
      log_probabilities: :math:`x`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast. At :math:`y = 0` the loss is 0
        and its derivative with respect to :math:`y` is NaN, as in torch.
      log_target: whether ``targets`` are :math:`\log y`.
      reduction: ``"batchmean"``, the sum divided by the length of the first axis, which is the
        mean divergence; ``"mean"`` over all elements, torch's default, which is not; ``"sum"``; or
        ``"none"``.

    Returns:
      A scalar, or the shape of ``log_probabilities`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, or the reduction is unknown.

    Example:
      >>> kl_div(jnp.log(jnp.array([[0.5, 0.5]])), jnp.array([[0.0, 1.0]]), reduction="batchmean")
      Array(0.6931472, dtype=float32)

    Reference:
      `torch.nn.KLDivLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.KLDivLoss.html>`_
    """
    require_same_shape(log_probabilities, targets)
    if log_target:
        losses = jnp.exp(targets) * (targets - log_probabilities)
    else:
        losses = xlogy(targets, targets) - targets * log_probabilities
    if reduction == "batchmean":
        return losses.sum() / (losses.shape[0] if losses.ndim else 1)
    return reduce(losses, reduction)


def _nll(
    scores: Array,
    labels: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float | Array,
    reduction: str,
) -> Array:
    """Negative log-likelihood with label smoothing; the last axis of ``scores`` is the classes."""
    classes = scores.shape[-1]
    if labels.shape != scores.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"class indices must be integers of shape {scores.shape[:-1]}, one for each example; "
            f"got {labels.dtype} of shape {labels.shape}."
        )
    limits = jnp.iinfo(labels.dtype)
    if labels.dtype.itemsize < 4:  # int8 and int16 may be too small for the number of classes
        labels = labels.astype(jnp.int32)
    inside = (labels >= 0) & (labels < classes)
    indices = jnp.where(inside, labels, 0).astype(jnp.int32)
    weights = jnp.ones((), scores.dtype) if weight is None else weight.astype(scores.dtype)[indices]
    # An invalid label gets the weight NaN, so that the loss and its gradient are NaN. Without this
    # it would count as class 0, which stands in for it above.
    weights = jnp.where(inside, weights, jnp.nan)
    ignored = None
    # An unsigned dtype cannot represent the default, -100; then no label is ignored.
    if limits.min <= ignore_index <= limits.max:
        ignored = labels == ignore_index
        weights = jnp.where(ignored, 0, weights)

    def reduced(losses: Array) -> Array:
        kept = losses if ignored is None else jnp.where(ignored, 0, losses)
        return reduce(kept, reduction, weights=weights)

    picked = jnp.take_along_axis(scores, indices[..., None], axis=-1, mode="promise_in_bounds")
    likelihood = reduced(-picked[..., 0] * weights)
    if _is_zero(label_smoothing):
        return likelihood
    smoothing = jnp.asarray(label_smoothing, scores.dtype)
    spread = scores if weight is None else scores * fill(weight, scores)
    # Two separate means, as in torch: if the weights sum to 0, the result is NaN and not infinite.
    return (1 - smoothing) * likelihood - smoothing / classes * reduced(spread.sum(-1))


def _classes_last(scores: Array, weight: Array | None) -> Array:
    if not scores.ndim:
        raise ValueError("scores need an axis of classes; got a single number.")
    scores = jnp.moveaxis(scores, min(1, scores.ndim - 1), -1)
    if weight is not None and weight.shape != scores.shape[-1:]:
        raise ValueError(
            f"weight must be one number for each of the {scores.shape[-1]} classes; "
            f"got shape {weight.shape}."
        )
    return scores


def _is_zero(number: float | Array) -> bool:
    return isinstance(number, float | int) and number == 0


# A custom derivative, because torch does not differentiate its bounds of the logarithm.
@jax.custom_jvp
def _bce(x: Array, y: Array) -> Array:
    x = _nan_outside(x, y)
    return (y - 1) * jnp.maximum(jnp.log1p(-x), -100) - y * jnp.maximum(jnp.log(x), -100)


# Symbolic zeros tell which derivatives are wanted: the one for y may be infinite, and 0 times
# infinity would be NaN.
@partial(_bce.defjvp, symbolic_zeros=True)
def _bce_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    losses = _bce(x, y)
    x = _nan_outside(x, y)
    slope = jnp.zeros_like(losses)
    if not isinstance(dx, SymbolicZero):
        slope += dx * (x - y) / jnp.maximum(x * (1 - x), _SMALLEST_VARIANCE)
    if not isinstance(dy, SymbolicZero):
        slope += dy * (jnp.log1p(-x) - jnp.log(x))  # unbounded in torch, too
    return losses, slope


def _nan_outside(x: Array, y: Array) -> Array:
    return jnp.where((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1), x, jnp.nan)


_SMALLEST_VARIANCE = float(np.float32(1e-12))
"""torch's lower bound of ``x (1 - x)``, a float32 constant also for float64 inputs."""
