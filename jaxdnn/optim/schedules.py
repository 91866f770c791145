"""torch's learning-rate schedules as pure functions of the number of updates.

In torch, the training loop advances a scheduler, usually once per epoch. Here a schedule is
evaluated at every update. `per_epoch` converts a schedule of epochs to a schedule of updates.
"""

import math

import jax.numpy as jnp

from jaxdnn.optim.hyperparameters import (
    Count,
    Number,
    Schedule,
    Values,
    as_float,
    require_at_least,
)

__all__ = [
    "cosine_annealing_lr",
    "cosine_between",
    "exponential_lr",
    "linear_lr",
    "per_epoch",
    "step_lr",
]


def step_lr(lr: Number, *, step_size: int, gamma: Number = 0.1) -> Schedule:
    r"""Decay by a factor every ``step_size`` counts.

    .. math:: \eta_t = \eta \gamma^{\lfloor t / s \rfloor}

    Args:
      lr: :math:`\eta`, the initial learning rate.
      step_size: :math:`s`, the number of counts between two decays.
      gamma: :math:`\gamma`, the factor.

    Returns:
      A schedule, defined for all counts.

    Raises:
      ValueError: ``step_size`` is below 1.

    Example:
      >>> schedule = step_lr(0.5, step_size=2, gamma=0.5)
      >>> print([float(schedule(count)) for count in range(5)])
      [0.5, 0.5, 0.25, 0.25, 0.125]

    Reference:
      `torch.optim.lr_scheduler.StepLR
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.StepLR.html>`_
    """
    require_at_least(1, step_size=step_size)

    def schedule(count: Count) -> Values:
        return lr * jnp.power(gamma, jnp.asarray(count) // step_size)

    return schedule


def exponential_lr(lr: Number, *, gamma: Number) -> Schedule:
    r"""Decay by a factor at every count.

    .. math:: \eta_t = \eta \gamma^t

    Args:
      lr: :math:`\eta`, the initial learning rate.
      gamma: :math:`\gamma`, the factor.

    Returns:
      A schedule, defined for all counts.

    Example:
      >>> schedule = exponential_lr(1.0, gamma=0.5)
      >>> print([float(schedule(count)) for count in range(4)])
      [1.0, 0.5, 0.25, 0.125]

    Reference:
      `torch.optim.lr_scheduler.ExponentialLR
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ExponentialLR.html>`_
    """
    return step_lr(lr, step_size=1, gamma=gamma)


def cosine_annealing_lr(lr: Number, *, t_max: int, eta_min: Number = 0.0) -> Schedule:
    r"""Cosine annealing, down to ``eta_min`` and up again.

    .. math:: \eta_t = \eta_{\min} + (\eta - \eta_{\min}) \frac{1 + \cos(\pi t / T)}{2}

    torch computes each value from the previous one. Its rounding errors therefore accumulate over
    long periods, and it deviates from this formula after :math:`T`.

    Args:
      lr: :math:`\eta`, the initial learning rate.
      t_max: :math:`T`, the number of counts from ``lr`` to ``eta_min``.
      eta_min: :math:`\eta_{\min}`, the lowest learning rate.

    Returns:
      A schedule with period ``2 * t_max``. It rises again after ``t_max``, unlike
      `optax.cosine_decay_schedule`.

    Raises:
      ValueError: ``t_max`` is below 1.

    Example:
      >>> schedule = cosine_annealing_lr(1.0, t_max=2)
      >>> print([round(float(schedule(count)), 6) for count in range(5)])
      [1.0, 0.5, 0.0, 0.5, 1.0]

    Reference:
      Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017;
      `torch.optim.lr_scheduler.CosineAnnealingLR
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.CosineAnnealingLR.html>`_
    """
    require_at_least(1, t_max=t_max)

    def schedule(count: Count) -> Values:
        # The remainder keeps the angle small: float32 loses precision for large ones.
        return cosine_between(lr, eta_min, as_float(count % (2 * t_max)) / t_max)

    return schedule


def linear_lr(
    lr: Number, *, start_factor: Number = 1 / 3, end_factor: Number = 1.0, total_iters: int = 5
) -> Schedule:
    r"""Linear change from one fraction of the learning rate to another.

    .. math:: \eta_t = \eta \left(f_0 + (f_1 - f_0) \frac{\min(t, T)}{T}\right)

    Args:
      lr: :math:`\eta`, the learning rate.
      start_factor: :math:`f_0`, the initial fraction, in (0, 1].
      end_factor: :math:`f_1`, the final fraction, in [0, 1].
      total_iters: :math:`T`, the number of counts from the first to the last value. With 0, as in
        torch, the initial fraction holds forever.

    Returns:
      A schedule, constant from ``total_iters`` on.

    Raises:
      ValueError: a factor is outside its range, or ``total_iters`` is negative.

    Example:
      >>> schedule = linear_lr(1.0, start_factor=0.5, total_iters=2)
      >>> print([float(schedule(count)) for count in range(4)])
      [0.5, 0.75, 1.0, 1.0]

    Reference:
      `torch.optim.lr_scheduler.LinearLR
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.LinearLR.html>`_
    """
    require_at_least(0, total_iters=total_iters)
    if isinstance(start_factor, int | float) and not 0 < start_factor <= 1:
        raise ValueError(f"start_factor must be above 0 and at most 1; got {start_factor}.")
    if isinstance(end_factor, int | float) and not 0 <= end_factor <= 1:
        raise ValueError(f"end_factor must be between 0 and 1; got {end_factor}.")

    def schedule(count: Count) -> Values:
        fraction = as_float(jnp.minimum(count, total_iters)) / max(1, total_iters)
        return lr * (start_factor + (end_factor - start_factor) * fraction)

    return schedule


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    r"""Convert a schedule of epochs to a schedule of updates, constant within each epoch.

    .. math:: \eta_t = \text{schedule}(\lfloor t / s \rfloor)

    Args:
      schedule: a function from the number of previous epochs to a value.
      steps_per_epoch: :math:`s`, the number of updates per epoch.

    Returns:
      A schedule: a function from the number of previous updates to a value.

    Raises:
      ValueError: ``steps_per_epoch`` is below 1.

    Example:
      >>> schedule = per_epoch(exponential_lr(1.0, gamma=0.5), 3)
      >>> print([float(schedule(count)) for count in range(5)])
      [1.0, 1.0, 1.0, 0.5, 0.5]
    """
    require_at_least(1, steps_per_epoch=steps_per_epoch)
    return lambda count: schedule(count // steps_per_epoch)


def cosine_between(start: Number, end: Number, fraction: Values) -> Values:
    """Cosine interpolation from ``start``, at fraction 0, to ``end``, at fraction 1."""
    return end + (start - end) * (1 + jnp.cos(math.pi * fraction)) / 2
