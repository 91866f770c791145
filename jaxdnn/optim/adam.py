"""Adam and AdamW."""

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
    """The state of `adam` and `adamw`.

    Attributes:
      count: the number of updates so far.
      exp_avg: the moving average of the gradient, a tree like the parameters.
      exp_avg_sq: the moving average of the squared gradient.
      max_exp_avg_sq: the elementwise maximum of ``exp_avg_sq`` so far; ``None`` without
        ``amsgrad``.
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
    r"""Adam, with weight decay as an L2 penalty in the gradient.

    .. math::
        g_t &= \nabla L(\theta_{t-1}) + \lambda \theta_{t-1} \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \eta \frac{m_t / (1 - \beta_1^t)}
        {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    With ``amsgrad``, the denominator has the maximum of :math:`v` so far. The bias corrections are
    computed without cancellation, also in single precision.

    Args:
      lr: :math:`\eta`, or a schedule of it.
      betas: :math:`\beta_1`, or a schedule of it, and :math:`\beta_2`. Prefer Python numbers: a
        float32 array holds only half the digits of :math:`1 - \beta_2`.
      eps: :math:`\epsilon`, added outside the root.
      weight_decay: :math:`\lambda`, an L2 penalty.
      amsgrad: whether to divide by the maximum of the second moment so far.
      maximize: whether to maximise; the gradient is negated before the decay is added.

    Returns:
      A transformation with the state `AdamState`; its update needs the parameters unless
      ``weight_decay`` is the Python number 0.

    Raises:
      ValueError: a hyperparameter is negative, or one of ``betas`` is not in [0, 1).

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
    r"""Adam with decoupled weight decay, which does not enter the moments.

    .. math:: \theta_t = (1 - \eta \lambda) \theta_{t-1} - \eta \frac{m_t / (1 - \beta_1^t)}
              {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with :math:`m_t` and :math:`v_t` as in `adam` for :math:`\lambda = 0`.

    Args:
      lr: :math:`\eta`, or a schedule of it; it also scales the decay.
      betas: as in `adam`.
      eps: as in `adam`.
      weight_decay: :math:`\lambda`. The default is torch's, a hundred times that of `optax.adamw`.
      amsgrad: as in `adam`.
      maximize: whether to maximise; the parameters still decay.

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
    """``1 - betaᵗ`` as ``-expm1(t log(beta))``.

    The subtraction would cancel three of float32's digits for beta = 0.999 and t = 1.
    """
    if isinstance(beta, int | float):
        log = math.log(beta) if beta > 0 else -math.inf
    else:
        log = jnp.log1p(beta - 1)  # the difference is exact above 1/2
    return -jnp.expm1(count * log)
