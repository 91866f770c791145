"""Stochastic gradient descent."""

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

__all__ = ["SGDState", "sgd"]


class SGDState(NamedTuple):
    """The state of `sgd`.

    Attributes:
      count: the number of updates so far.
      momentum_buffer: the velocity :math:`b_t`, a tree like the parameters; ``None`` without
        momentum.
    """

    count: Integer[Array, ""]  # type: ignore[assignment]
    momentum_buffer: optax.Updates | None


def sgd(
    lr: Number | Schedule = 1e-3,
    *,
    momentum: Number | Schedule = 0.0,
    dampening: Number = 0.0,
    weight_decay: Number = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Stochastic gradient descent with torch's form of momentum.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) + \lambda \theta_{t-1} \\
        b_1 &= g_1, \quad b_t = \mu b_{t-1} + (1 - \tau) g_t \\
        \theta_t &= \theta_{t-1} - \eta b_t \quad \text{or, with Nesterov's momentum,} \quad
        \theta_{t-1} - \eta (g_t + \mu b_t)

    The first gradient is not dampened.

    Args:
      lr: :math:`\eta`, or a schedule of it.
      momentum: :math:`\mu`, or a schedule of it. With the Python number 0 there is no buffer. When
        an array or a schedule is 0, the step equals torch's, but the buffer is still updated, which
        it is not in torch.
      dampening: :math:`\tau`, the fraction of the gradient that does not enter the buffer.
      weight_decay: :math:`\lambda`, an L2 penalty.
      nesterov: whether to use Nesterov's momentum; requires momentum and a dampening of 0.
      maximize: whether to maximise; the gradient is negated before the decay is added.

    Returns:
      A transformation with the state `SGDState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: a hyperparameter other than ``dampening`` is negative, or ``nesterov`` is set
        without momentum or with dampening.

    Example:
      >>> params = jnp.array([1.0, 2.0])
      >>> optimizer = sgd(0.1, momentum=0.9)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(jnp.array([1.0, -1.0]), state)
      >>> optax.apply_updates(params, updates)
      Array([0.9, 2.1], dtype=float32)

    Reference:
      Sutskever et al., On the importance of initialization and momentum in deep learning, ICML
      2013; `torch.optim.SGD
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>`_
    """
    require_non_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
    if nesterov and (is_zero(momentum) or not is_zero(dampening)):
        raise ValueError("nesterov needs a momentum above 0 and a dampening of 0.")

    def init(params: optax.Params) -> SGDState:
        buffer = None if is_zero(momentum) else full_like(params)
        return SGDState(jnp.zeros((), jnp.int32), buffer)

    def update(
        updates: optax.Updates, state: SGDState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SGDState]:
        eta, mu = value_at(lr, state.count), value_at(momentum, state.count)
        direction = prepare(updates, params, weight_decay=weight_decay, maximize=maximize)
        buffer = state.momentum_buffer
        if buffer is not None:
            # torch does not dampen the first gradient, nor any gradient without momentum.
            undamped = (state.count == 0) | jnp.equal(mu, 0)
            fresh = jnp.where(undamped, 1.0, 1 - dampening)
            buffer = jax.tree.map(
                lambda b, g: like(mu, g) * b + like(fresh, g) * g, buffer, direction
            )
            if nesterov:
                direction = jax.tree.map(lambda g, b: g + like(mu, g) * b, direction, buffer)
            else:
                direction = buffer
        steps = jax.tree.map(lambda d: -like(eta, d) * d, direction)
        return steps, SGDState(jnp.asarray(optax.safe_increment(state.count)), buffer)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]
