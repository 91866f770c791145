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
    r"""One step of Newton's method, to the minimum of the second-order expansion at ``w``.

    .. math:: w_{t+1} = w_t - \eta H^{-1} \nabla L(w_t), \quad H = \nabla^2 L(w_t)

    The step solves :math:`H s = \nabla L` instead of inverting :math:`H`. With :math:`\eta = 1` and
    a positive definite :math:`H`, it reaches the minimum of a quadratic loss exactly.

    Args:
      loss: a twice differentiable function from weights of shape ``(n,)`` to a scalar.
      w: the weights :math:`w_t`, shape ``(n,)``.
      lr: :math:`\eta`, the fraction of the full step.

    Returns:
      The weights :math:`w_{t+1}`, shape ``(n,)``; not finite if :math:`H` is singular.

    Example:
      >>> newton_step(lambda w: ((w - 3.0) ** 2).sum(), jnp.zeros(2))
      Array([3., 3.], dtype=float32)

    Reference:
      Nocedal and Wright, Numerical Optimization, 2nd edition, section 2.2.
    """
    return w - lr * jnp.linalg.solve(jax.hessian(loss)(w), jax.grad(loss)(w))
