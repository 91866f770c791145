"""The one-cycle schedule of learning rate and momentum."""

from typing import Literal, NamedTuple

import jax.numpy as jnp

from jaxdnn.optim.hyperparameters import Count, Number, Schedule, Values, require_at_least
from jaxdnn.optim.schedules import cosine_between

__all__ = ["OneCycle", "one_cycle_lr"]


class OneCycle(NamedTuple):
    """The two schedules of `one_cycle_lr`.

    Attributes:
      lr: the schedule of the learning rate.
      momentum: the schedule of the momentum, or of Adam's first beta; ``None`` if it is not cycled.
    """

    lr: Schedule
    momentum: Schedule | None


def one_cycle_lr(
    max_lr: Number,
    *,
    total_steps: int,
    pct_start: int | float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    cycle_momentum: bool = True,
    base_momentum: Number = 0.85,
    max_momentum: Number = 0.95,
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
    three_phase: bool = False,
) -> OneCycle:
    r"""One cycle of the learning rate, up to ``max_lr`` and down, with momentum in antiphase.

    With :math:`\eta_0 = \eta_{\max} / d` and :math:`\eta_{\text{end}} = \eta_0 / d'`, the learning
    rate is annealed through these values:

    .. math::
        \eta_0 \to \eta_{\max} \;(t = pT - 1) \to \eta_{\text{end}} \;(t = T - 1)
        \quad \text{or, in three phases,} \quad
        \eta_0 \to \eta_{\max} \;(pT - 1) \to \eta_0 \;(2pT - 2) \to \eta_{\text{end}} \;(T - 1)

    Args:
      max_lr: :math:`\eta_{\max}`.
      total_steps: :math:`T`, the number of updates in the cycle.
      pct_start: :math:`p`, the fraction of the cycle in which the learning rate rises.
      anneal_strategy: the interpolation within each phase, ``"cos"`` or ``"linear"``.
      cycle_momentum: whether to return a schedule of momentum.
      base_momentum: the momentum at the largest learning rate.
      max_momentum: the momentum at the beginning and at the end.
      div_factor: :math:`d`.
      final_div_factor: :math:`d'`.
      three_phase: whether to fall back to :math:`\eta_0` as fast as the learning rate rose, before
        the last phase.

    Returns:
      Two schedules. They are constant from ``total_steps - 1`` on; torch extrapolates at
      ``total_steps`` and raises beyond it.

    Raises:
      ValueError: an argument is outside its range, or the first phase has length 0, for which torch
        divides by zero.

    Example:
      >>> cycle = one_cycle_lr(1.0, total_steps=5, pct_start=0.4, anneal_strategy="linear")
      >>> print([f"{float(cycle.lr(count)):.3f}" for count in range(5)])
      ['0.040', '1.000', '0.667', '0.333', '0.000']
      >>> print([f"{float(cycle.momentum(count)):.3f}" for count in range(5)])
      ['0.950', '0.850', '0.883', '0.917', '0.950']

    Reference:
      Smith and Topin, Super-convergence: very fast training of neural networks using large learning
      rates, 2018; `torch.optim.lr_scheduler.OneCycleLR
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.OneCycleLR.html>`_
    """
    require_at_least(1, total_steps=total_steps)
    if not 0 <= pct_start <= 1:
        raise ValueError(f"pct_start must be between 0 and 1; got {pct_start}.")
    if anneal_strategy not in ("cos", "linear"):
        raise ValueError(f"anneal_strategy must be 'cos' or 'linear'; got {anneal_strategy!r}.")
    # torch's phases end one count early, since its counts begin at 0.
    top, last = float(pct_start * total_steps) - 1, total_steps - 1
    if top == 0:
        raise ValueError("pct_start * total_steps must not be 1: the first phase has no length.")
    middle = (float(2 * pct_start * total_steps) - 2,) if three_phase else ()
    ends = (top, *middle, float(last))

    between = cosine_between if anneal_strategy == "cos" else _line_between

    def through(*corners: Number) -> Schedule:
        """The schedule that takes these values at 0 and at the ends of the phases."""
        *earlier, final = zip((0.0, *ends), ends, corners, corners[1:], strict=False)

        def schedule(count: Count) -> Values:
            count = jnp.minimum(count, last)

            def along(phase: tuple[float, float, Number, Number]) -> Values:
                begin, end, start, stop = phase
                # A phase of length 0 is never selected; it must only not divide by zero.
                return between(start, stop, (count - begin) / ((end - begin) or 1.0))

            value = along(final)
            for phase in reversed(earlier):
                value = jnp.where(count <= phase[1], along(phase), value)
            return value

        return schedule

    first = max_lr / div_factor
    lowest = first / final_div_factor
    lr = through(first, max_lr, first, lowest) if three_phase else through(first, max_lr, lowest)
    if not cycle_momentum:
        return OneCycle(lr, None)
    momentum = (max_momentum, base_momentum, max_momentum, max_momentum)
    return OneCycle(lr, through(*momentum[: len(ends) + 1]))


def _line_between(start: Number, end: Number, fraction: Values) -> Values:
    return start + (end - start) * fraction
