"""Newton's method."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["newton_step"]


def newton_step(
    loss: Callable[[Float[Array, " n"]], Float[Array, ""]],
    w: Float[Array, " n"],
    *,
    lr: float | Float[Array, ""] = 1.0,
) -> Float[Array, " n"]:
    r"""One step of Newton's method: to the minimum of the parabola that touches the loss at ``w``.

    .. math:: w_{t+1} = w_t - \eta H^{-1} \nabla L(w_t), \quad H = \nabla^2 L(w_t)

    The step comes from solving :math:`H s = \nabla L`, not from the inverse. A quadratic loss with
    an invertible :math:`H` is at its minimum after one step with :math:`\eta = 1`.

    Args:
      loss: twice differentiable.
      w: where the step starts, shape ``(n,)``.
      lr: :math:`\eta`, the share of the step to take.

    Returns:
      The weights after the step; not finite where :math:`H` is singular.

    Example:
      >>> newton_step(lambda w: ((w - 3.0) ** 2).sum(), jnp.zeros(2))
      Array([3., 3.], dtype=float32)

    Reference:
      Nocedal and Wright, Numerical Optimization, 2nd edition, section 2.2.
    """
    return w - lr * jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w))
