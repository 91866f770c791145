"""The RMSprop optimiser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer

from jaxdnn.optim.hyperparameters import (
    Number,
    Schedule,
    is_zero,
    require_non_negative,
    value_at,
)
from jaxdnn.optim.trees import full_like, like, prepare

__all__ = ["RMSpropState", "rmsprop"]


class RMSpropState(NamedTuple):
    """The state of `rmsprop`.

    Attributes:
      count: the number of updates so far.
      square_avg: the moving average of the squared gradient, a tree like the parameters.
      grad_avg: the moving average of the gradient; ``None`` unless ``centered``.
      momentum_buffer: the accumulated steps :math:`b_t`; ``None`` without momentum.
    """

    count: Integer[Array, ""]  # type: ignore[assignment]
    square_avg: optax.Updates
    grad_avg: optax.Updates | None
    momentum_buffer: optax.Updates | None


def rmsprop(
    lr: Number | Schedule = 1e-2,
    *,
    alpha: Number = 0.99,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    momentum: Number | Schedule = 0.0,
    centered: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""RMSprop in torch's form: epsilon outside the root, the learning rate outside the momentum.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) + \lambda \theta_{t-1}, \quad
        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \quad
        a_t = \alpha a_{t-1} + (1 - \alpha) g_t \\
        b_t &= \mu b_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} \quad \text{or, centered,} \quad
        \mu b_{t-1} + \frac{g_t}{\sqrt{v_t - a_t^2} + \epsilon} \\
        \theta_t &= \theta_{t-1} - \eta b_t

    Args:
      lr: :math:`\eta`, or a schedule of it.
      alpha: :math:`\alpha`, the decay rate of the moving averages.
      eps: :math:`\epsilon`, added outside the root.
      weight_decay: :math:`\lambda`, an L2 penalty.
      momentum: :math:`\mu`, or a schedule of it. With the Python number 0 there is no buffer.
      centered: whether to divide by the standard deviation of the gradient. As in torch, rounding
        can make a small variance negative and the step NaN.
      maximize: whether to maximise; the gradient is negated before the decay is added.

    Returns:
      A transformation with the state `RMSpropState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: a hyperparameter is negative.

    Example:
      >>> params = jnp.array([1.0, 2.0])
      >>> optimizer = rmsprop(0.01)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(jnp.array([3.0, -5.0]), state)
      >>> optax.apply_updates(params, updates)
      Array([0.9, 2.1], dtype=float32)

    Reference:
      Tieleman and Hinton, Neural networks for machine learning, lecture 6e, 2012; Graves,
      Generating sequences with recurrent neural networks, 2013; `torch.optim.RMSprop
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html>`_
    """
    require_non_negative(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)

    def init(params: optax.Params) -> RMSpropState:
        return RMSpropState(
            count=jnp.zeros((), jnp.int32),
            square_avg=full_like(params),
            grad_avg=full_like(params) if centered else None,
            momentum_buffer=None if is_zero(momentum) else full_like(params),
        )

    def update(
        updates: optax.Updates, state: RMSpropState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RMSpropState]:
        eta, mu = value_at(lr, state.count), value_at(momentum, state.count)
        grads = prepare(updates, params, weight_decay=weight_decay, maximize=maximize)

        def average(old: Array, new: Array) -> Array:
            return like(alpha, new) * old + like(1 - alpha, new) * new

        squares = jax.tree.map(lambda v, g: average(v, g * g), state.square_avg, grads)
        variances, means = squares, state.grad_avg
        if means is not None:
            means = jax.tree.map(average, means, grads)
            variances = jax.tree.map(lambda v, a: v - a * a, squares, means)
        direction = jax.tree.map(lambda g, v: g / (jnp.sqrt(v) + like(eps, g)), grads, variances)
        buffer = state.momentum_buffer
        if buffer is not None:
            buffer = jax.tree.map(lambda b, d: like(mu, d) * b + d, buffer, direction)
            direction = buffer
        steps = jax.tree.map(lambda d: -like(eta, d) * d, direction)
        count = jnp.asarray(optax.safe_increment(state.count))
        return steps, RMSpropState(count, squares, means, buffer)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]
