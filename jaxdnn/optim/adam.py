"""Adam, with the weight decay in the gradient or apart from it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer

from jaxdnn.optim.hyperparameters import (
    Number,
    Schedule,
    is_zero,
    require_fraction,
    require_non_negative,
    value_at,
)
from jaxdnn.optim.trees import full_like, like, prepare, require_params

__all__ = ["AdamState", "adam", "adamw"]


class AdamState(NamedTuple):
    """What `adam` and `adamw` carry.

    Attributes:
      count: updates made.
      exp_avg: the moving average of the gradient, a tree like the parameters.
      exp_avg_sq: that of its square.
      max_exp_avg_sq: the largest ``exp_avg_sq`` so far; ``None`` without ``amsgrad``.
    """

    count: Integer[Array, ""]  # type: ignore[assignment]
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates
    max_exp_avg_sq: optax.Updates | None


def adam(
    lr: Number | Schedule = 1e-3,
    *,
    betas: tuple[Number | Schedule, Number] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam; its weight decay is an L2 penalty in the gradient.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) + \lambda \theta_{t-1} \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \eta \frac{m_t / (1 - \beta_1^t)}
        {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    With ``amsgrad`` the largest :math:`v` so far stands in the denominator. The bias corrections
    are accurate in single precision too.

    Args:
      lr: :math:`\eta`, or a schedule of it.
      betas: :math:`\beta_1`, or a schedule of it, and :math:`\beta_2`. Python numbers are the most
        accurate: a float32 array has lost half the digits of :math:`1 - \beta_2` already.
      eps: :math:`\epsilon`, added to the root.
      weight_decay: :math:`\lambda`.
      amsgrad: divide by the largest second moment.
      maximize: ascend; the gradient changes sign before the decay is added.

    Returns:
      A transformation with the state `AdamState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: a number is negative, or one of ``betas`` is not in [0, 1).

    Example:
      >>> params = jnp.array([1.0, 2.0])
      >>> optimizer = adam(0.1)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(jnp.array([3.0, -5.0]), state)
      >>> optax.apply_updates(params, updates)
      Array([0.9, 2.1], dtype=float32)

    Reference:
      Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015; Reddi et al., On the
      convergence of Adam and beyond, ICLR 2018; `torch.optim.Adam
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html>`_
    """
    penalty, decay = weight_decay, 0.0
    return _adam(lr, betas, eps, penalty, decay, amsgrad=amsgrad, maximize=maximize)


def adamw(
    lr: Number | Schedule = 1e-3,
    *,
    betas: tuple[Number | Schedule, Number] = (0.9, 0.999),
    eps: Number = 1e-8,
    weight_decay: Number = 1e-2,
    amsgrad: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with decoupled weight decay: the moments do not see it.

    .. math:: \theta_t = (1 - \eta \lambda) \theta_{t-1} - \eta \frac{m_t / (1 - \beta_1^t)}
              {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with the moments of `adam` without a penalty.

    Args:
      lr: as in `adam`; the decay is scaled by it.
      betas: as in `adam`.
      eps: as in `adam`.
      weight_decay: :math:`\lambda`, a hundred times `optax.adamw`'s by default.
      amsgrad: as in `adam`.
      maximize: ascend; the parameters still decay.

    Returns:
      A transformation with the state `AdamState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: as in `adam`.

    Example:
      >>> params = jnp.array([1.0, 2.0])
      >>> optimizer = adamw(0.1, weight_decay=0.5)
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(jnp.array([3.0, -5.0]), state, params)
      >>> optax.apply_updates(params, updates)
      Array([0.85, 2.  ], dtype=float32)

    Reference:
      Loshchilov and Hutter, Decoupled weight decay regularization, ICLR 2019; `torch.optim.AdamW
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html>`_
    """
    penalty, decay = 0.0, weight_decay
    return _adam(lr, betas, eps, penalty, decay, amsgrad=amsgrad, maximize=maximize)


def _adam(
    lr: Number | Schedule,
    betas: tuple[Number | Schedule, Number],
    eps: Number,
    penalty: Number,
    decay: Number,
    *,
    amsgrad: bool,
    maximize: bool,
) -> optax.GradientTransformation:
    beta1, beta2 = betas
    require_non_negative(lr=lr, eps=eps, weight_decay=penalty)
    require_non_negative(weight_decay=decay)
    require_fraction(**{"betas[0]": beta1, "betas[1]": beta2})

    def init(params: optax.Params) -> AdamState:
        largest = full_like(params) if amsgrad else None
        return AdamState(jnp.zeros((), jnp.int32), full_like(params), full_like(params), largest)

    def update(
        updates: optax.Updates, state: AdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AdamState]:
        eta, b1 = value_at(lr, state.count), value_at(beta1, state.count)
        grads = prepare(updates, params, weight_decay=penalty, maximize=maximize)
        count = jnp.asarray(optax.safe_increment(state.count))

        def average(old: Array, new: Array, beta: Number) -> Array:
            return like(beta, new) * old + like(1 - beta, new) * new

        means = jax.tree.map(lambda m, g: average(m, g, b1), state.exp_avg, grads)
        squares = jax.tree.map(lambda v, g: average(v, g * g, beta2), state.exp_avg_sq, grads)
        largest = state.max_exp_avg_sq
        if largest is not None:
            largest = jax.tree.map(jnp.maximum, largest, squares)

        step = eta / _one_minus_power(b1, count)
        scale = jnp.sqrt(_one_minus_power(beta2, count))
        steps = jax.tree.map(
            lambda m, v: -like(step, m) * (m / (jnp.sqrt(v) / like(scale, m) + like(eps, m))),
            means,
            squares if largest is None else largest,
        )
        if not is_zero(decay):
            steps = jax.tree.map(
                lambda s, p: s - like(eta * decay, s) * p, steps, require_params(params)
            )
        return steps, AdamState(count, means, squares, largest)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


def _one_minus_power(beta: Number, count: Integer[Array, ""]) -> Float[Array, ""]:
    """1 − betaᵗ without the cancellation that costs single precision three digits at t = 1."""
    if isinstance(beta, int | float):
        log = math.log(beta) if beta > 0 else -math.inf
    else:
        log = jnp.log1p(beta - 1)  # the difference is exact above 1/2
    return -jnp.expm1(count * log)
