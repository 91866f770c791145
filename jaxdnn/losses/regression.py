"""Regression losses: squared error, absolute error, and two combinations of both."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdnn.losses.reduction import Reduction, reduce, require_same_shape

__all__ = ["huber", "l1", "mse", "smooth_l1"]


def mse(
    outputs: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Squared error.

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
    require_same_shape(outputs, targets)
    return reduce((outputs - targets) ** 2, reduction)


def l1(
    outputs: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error, whose derivative at 0 is 0.

    .. math:: \ell_i = |x_i - y_i|

    Args:
      outputs: :math:`x`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast.
      reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
      A scalar, or the shape of ``outputs`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, or the reduction is unknown.

    Example:
      >>> l1(jnp.array([1.0, 2.0]), jnp.array([0.0, 4.0]))
      Array(1.5, dtype=float32)

    Reference:
      `torch.nn.L1Loss <https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html>`_
    """
    require_same_shape(outputs, targets)
    return reduce(_absolute(outputs - targets), reduction)


def smooth_l1(
    outputs: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    beta: float | Float[Array, ""] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Absolute error, with a parabola around 0: `huber` divided by ``beta``.

    .. math:: \ell_i = \begin{cases} (x_i - y_i)^2 / 2\beta & \text{if } |x_i - y_i| < \beta \\
              |x_i - y_i| - \beta / 2 & \text{otherwise} \end{cases}

    Args:
      outputs: :math:`x`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast.
      beta: :math:`\beta`, the error at which the parabola ends, at least 0. With 0 the loss is
        `l1`. May be an array, which is not checked.
      reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
      A scalar, or the shape of ``outputs`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, ``beta`` is negative, or the reduction is unknown.

    Example:
      >>> smooth_l1(jnp.array([0.5, 3.0]), jnp.zeros(2), reduction="none")
      Array([0.125, 2.5  ], dtype=float32)

    Reference:
      `torch.nn.SmoothL1Loss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.SmoothL1Loss.html>`_
    """
    require_same_shape(outputs, targets)
    if isinstance(beta, float | int) and not beta >= 0:
        raise ValueError(f"beta must be at least 0; got {beta}.")
    difference = outputs - targets
    beta = jnp.asarray(beta, difference.dtype)
    distance = _absolute(difference)
    near = ~(distance >= beta) & (beta > 0)  # true for NaN, which then reaches the gradient
    # The unselected branch of `where` must be finite: its gradient is multiplied by 0, not dropped.
    inner = jnp.where(near, difference, 0)
    parabola = inner**2 / (2 * jnp.where(beta > 0, beta, 1))
    return reduce(jnp.where(near, parabola, distance - beta / 2), reduction)


def huber(
    outputs: Float[Array, "*shape"],
    targets: Float[Array, "*shape"],
    *,
    delta: float | Float[Array, ""] = 1.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    r"""Half the squared error around 0, and a line of slope ``delta`` beyond it.

    .. math:: \ell_i = \begin{cases} (x_i - y_i)^2 / 2 & \text{if } |x_i - y_i| < \delta \\
              \delta \left(|x_i - y_i| - \delta / 2\right) & \text{otherwise} \end{cases}

    Args:
      outputs: :math:`x`, of any shape.
      targets: :math:`y`, of the same shape; nothing is broadcast.
      delta: :math:`\delta`, the error at which the parabola ends, above 0. May be an array, which
        is not checked.
      reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
      A scalar, or the shape of ``outputs`` for ``"none"``.

    Raises:
      ValueError: the shapes differ, ``delta`` is not positive, or the reduction is unknown.

    Example:
      >>> huber(jnp.array([0.5, 3.0]), jnp.zeros(2), delta=2.0, reduction="none")
      Array([0.125, 4.   ], dtype=float32)

    Reference:
      `torch.nn.HuberLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html>`_
    """
    require_same_shape(outputs, targets)
    if isinstance(delta, float | int) and not delta > 0:
        raise ValueError(f"delta must be above 0; got {delta}.")
    difference = outputs - targets
    delta = jnp.asarray(delta, difference.dtype)
    distance = _absolute(difference)
    near = ~(distance >= delta)  # true for NaN, which then reaches the gradient
    # The unselected branch of `where` must be finite: its gradient is multiplied by 0, not dropped.
    inner, outer = jnp.where(near, difference, 0), jnp.where(near, 0, distance)
    return reduce(jnp.where(near, inner**2 / 2, delta * (outer - delta / 2)), reduction)


def _absolute(x: Array) -> Array:
    # Not jnp.abs, whose derivative at 0 is 1; torch's is 0.
    return x * ((x > 0).astype(x.dtype) - (x < 0).astype(x.dtype))
