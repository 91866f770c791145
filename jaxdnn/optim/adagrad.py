"""The Adagrad optimiser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer

from jaxdnn.optim.hyperparameters import Number, Schedule, require_non_negative, value_at
from jaxdnn.optim.trees import full_like, like, prepare

__all__ = ["AdagradState", "adagrad"]


class AdagradState(NamedTuple):
    """The state of `adagrad`.

    Attributes:
      count: the number of updates so far.
      sum: the sum of the squared gradients, a tree like the parameters.
    """

    count: Integer[Array, ""]  # type: ignore[assignment]
    sum: optax.Updates


def adagrad(
    lr: Number | Schedule = 1e-2,
    *,
    lr_decay: Number = 0.0,
    weight_decay: Number = 0.0,
    initial_accumulator_value: Number = 0.0,
    eps: Number = 1e-10,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adagrad: each step is divided by the root of the summed squares of past gradients.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) + \lambda \theta_{t-1}, \quad s_t = s_{t-1} + g_t^2 \\
        \theta_t &= \theta_{t-1} - \frac{\eta}{1 + (t - 1) \kappa}
        \frac{g_t}{\sqrt{s_t} + \epsilon}

    Args:
      lr: :math:`\eta`, or a schedule of it.
      lr_decay: :math:`\kappa`, the decay of the learning rate with the number of updates.
      weight_decay: :math:`\lambda`, an L2 penalty.
      initial_accumulator_value: :math:`s_0`.
      eps: :math:`\epsilon`, added outside the root.
      maximize: whether to maximise; the gradient is negated before the decay is added.

    Returns:
      A transformation with the state `AdagradState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: a hyperparameter is negative.

    Example:
      >>> params = jnp.array([1.0, 2.0])
      >>> optimizer = adagrad(0.1)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(jnp.array([3.0, -5.0]), state)
      >>> optax.apply_updates(params, updates)
      Array([0.9, 2.1], dtype=float32)

    Reference:
      Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic
      optimization, JMLR 12, 2011; `torch.optim.Adagrad
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html>`_
    """
    require_non_negative(
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )

    def init(params: optax.Params) -> AdagradState:
        return AdagradState(jnp.zeros((), jnp.int32), full_like(params, initial_accumulator_value))

    def update(
        updates: optax.Updates, state: AdagradState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdagradState]:
        step = value_at(lr, state.count) / (1 + state.count * lr_decay)
        grads = prepare(updates, params, weight_decay=weight_decay, maximize=maximize)
        sums = jax.tree.map(lambda s, g: s + g * g, state.sum, grads)
        steps = jax.tree.map(
            lambda g, s: -like(step, g) * (g / (jnp.sqrt(s) + like(eps, g))), grads, sums
        )
        return steps, AdagradState(jnp.asarray(optax.safe_increment(state.count)), sums)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]
