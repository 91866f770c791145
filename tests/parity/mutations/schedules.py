"""Mistakes in learning-rate schedules.

The two part at the first update whose rate differs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import optax
from torch.optim import lr_scheduler

from jaxdnn import optim
from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.optimizer_ports import heavy_ball, rmsprop
from tests.parity.mutations.ports import multi_steps, regression, sgd


def scheduled(
    scheduler: Callable[..., Any], schedule: Callable[..., Any], **settings: Any
) -> Callable[[], Case]:
    """Regression under SGD at a learning rate of 0.1 that a scheduler changes."""
    return partial(regression, scheduler=scheduler, optimizer=optax.sgd(schedule), **settings)


def _stairs(count: Any) -> Any:
    return 0.1 * 0.1 ** (count // 3)


def _sgd(schedule: Any) -> optax.GradientTransformation:
    return optax.sgd(schedule)


_STEP = partial(lr_scheduler.StepLR, step_size=3)


_ONE_CYCLE: Any = optim.one_cycle_lr(0.2, total_steps=10)


_OneCycle = partial(lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=10)


_EXPONENTIAL = scheduled(
    partial(lr_scheduler.ExponentialLR, gamma=0.9), optim.exponential_lr(0.1, gamma=0.9)
)


_COSINE = scheduled(
    partial(lr_scheduler.CosineAnnealingLR, T_max=5, eta_min=0.01),
    optim.cosine_annealing_lr(0.1, t_max=5, eta_min=0.01),
)


_LINEAR = scheduled(lr_scheduler.LinearLR, optim.linear_lr(0.1, total_iters=5))


_STEPPED = scheduled(_STEP, optim.step_lr(0.1, step_size=3))


_STEPPED_MOMENTUM = partial(
    sgd(momentum=0.9),
    scheduler=_STEP,
    optimizer=optim.sgd(optim.step_lr(0.1, step_size=3), momentum=0.9),
)


_CYCLED_MOMENTUM = partial(
    sgd(momentum=0.9),
    steps=10,
    scheduler=_OneCycle,
    optimizer=optim.sgd(_ONE_CYCLE.lr, momentum=_ONE_CYCLE.momentum),
)


_COSINE_OF_FOUR: Any = optim.cosine_annealing_lr(0.1, t_max=4, eta_min=0.01)


_RESTARTED = scheduled(
    partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=4, eta_min=0.01),
    lambda count: _COSINE_OF_FOUR(count % 4),
)


def _doubled(count: Any) -> Any:
    """Cycles of 3, 6 and 12 updates."""
    cycle = jnp.where(count < 3, 0, jnp.where(count < 9, 3, 9))
    length = jnp.where(count < 3, 3, jnp.where(count < 9, 6, 12))
    return 0.1 * (1 + jnp.cos(jnp.pi * (count - cycle) / length)) / 2


_DOUBLED = scheduled(
    partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3, T_mult=2), _doubled, steps=12
)


_POLYNOMIAL = scheduled(
    partial(lr_scheduler.PolynomialLR, total_iters=6, power=2.0),
    lambda count: 0.1 * (1 - jnp.minimum(count, 6) / 6) ** 2,
)


def _cycle(count: Any, shrink: float = 1.0) -> Any:
    """Up and down in two updates each, between 0.01 and 0.1."""
    height = 1 - jnp.abs(count % 4 - 2) / 2
    return 0.01 + 0.09 * height * shrink ** (count // 4)


_MILESTONES = scheduled(
    partial(lr_scheduler.MultiStepLR, milestones=[3, 6]),
    optax.piecewise_constant_schedule(0.1, {3: 0.1, 6: 0.1}),
)


def _warm_up_and_cosine(count: Any, start: int = 3) -> Any:
    cosine = 0.1 * (1 + jnp.cos(jnp.pi * (count - start) / 6)) / 2
    return jnp.where(count < 3, 0.1 * (count + 1) / 4, cosine)


def _in_sequence(optimizer: Any) -> Any:
    warm_up = lr_scheduler.LambdaLR(optimizer, lambda count: (count + 1) / 4)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    return lr_scheduler.SequentialLR(optimizer, [warm_up, cosine], milestones=[3])


_IN_SEQUENCE = scheduled(_in_sequence, _warm_up_and_cosine)


_ACCUMULATED = partial(
    regression,
    accumulate=2,
    steps=4,
    scheduler=partial(lr_scheduler.ExponentialLR, gamma=0.9),
    optimizer=multi_steps(
        optax.chain(optax.scale(2.0), _sgd(optim.exponential_lr(0.1, gamma=0.9))), 2
    ),
)


# fmt: off

SCHEDULE = of_kind("schedule", (
    # Eight updates at the first rate; the port's rate falls at update 2.
    row("schedule-per-update", "2 param", "schedule-per-update",
        scheduled(partial(lr_scheduler.StepLR, step_size=2),
            optim.per_epoch(optim.step_lr(0.1, step_size=2), 4), steps_per_epoch=4, steps=10),
        optimizer=optax.sgd(optax.exponential_decay(0.1, 2, 0.1, staircase=True))),
    row("schedule-missing", "1 param", "schedule-missing", _EXPONENTIAL, optimizer=optax.sgd(0.1)),
    row("schedule-ahead", "0 param", "schedule-offset", _EXPONENTIAL,
        optimizer=optax.sgd(lambda count: 0.1 * 0.9 ** (count + 1))),
    row("schedule-behind", "1 param", "schedule-offset", _EXPONENTIAL,
        optimizer=optax.sgd(lambda count: 0.1 * 0.9 ** jnp.maximum(count - 1, 0))),
    # A step late is what the catalogue calls an offset.
    row("step-at-31", "30 param", "schedule-offset",
        scheduled(partial(lr_scheduler.StepLR, step_size=30),
            optim.step_lr(0.1, step_size=30), steps=36),
        optimizer=optax.sgd(lambda count: jnp.where(jnp.less(count, 31), 0.1, 0.01))),
    row("milestone-at-31", "30 param", (None, "schedule-offset"),
        scheduled(partial(lr_scheduler.MultiStepLR, milestones=[30]),
            lambda count: jnp.where(count < 30, 0.1, 0.01), steps=36),
        optimizer=optax.sgd(lambda count: jnp.where(jnp.less(count, 31), 0.1, 0.01))),
    # At update 5 both rates are the lowest.
    row("cosine-stays", "6 param", "cosine-end", _COSINE,
        optimizer=optax.sgd(optax.cosine_decay_schedule(0.1, 5, alpha=0.1))),
    row("cosine-alpha", "1 param", "cosine-alpha", _COSINE,
        optimizer=optax.sgd(optax.cosine_decay_schedule(0.1, 5, alpha=0.01))),
    row("linear-from-zero", "0 param", "linear-start", _LINEAR,
        optimizer=optax.sgd(optax.linear_schedule(0.0, 0.1, 5))),
    row("step-smooth", "1 param", "step-smooth", _STEPPED,
        optimizer=optax.sgd(optax.exponential_decay(0.1, 3, 0.1))),
    row("warm-up-too-long", "0 param", None,
        scheduled(partial(lr_scheduler.LambdaLR, lr_lambda=lambda t: min(1.0, (t + 1) / 5)),
            lambda count: 0.1 * jnp.minimum(1.0, (count + 1) / 5)),
        optimizer=optax.sgd(lambda count: 0.1 * jnp.minimum(1.0, (count + 1) / 6))),
    # OneCycleLR replaces SGD's momentum by 0.95, then 0.9, half way down, and 0.85. The first
    # buffer has none of it.
    row("one-cycle-constant-momentum", "2 optimizer momentum_buffer", "one-cycle-momentum",
        _CYCLED_MOMENTUM, optimizer=optax.sgd(_ONE_CYCLE.lr, 0.9)),
    row("one-cycle-highest-momentum", "1 optimizer momentum_buffer", "one-cycle-momentum",
        _CYCLED_MOMENTUM, optimizer=optax.sgd(_ONE_CYCLE.lr, 0.95)),
    row("one-cycle-of-optax", "1 param", "one-cycle-shape",
        scheduled(partial(_OneCycle, cycle_momentum=False),
            optim.one_cycle_lr(0.2, total_steps=10, cycle_momentum=False).lr, steps=10),
        optimizer=optax.sgd(optax.cosine_onecycle_schedule(10, 0.2))),
    # The same path as long as the rate is constant, which it is before update 3.
    row("heavy-ball-by-hand", "3 param", "momentum-lr-inside", _STEPPED_MOMENTUM,
        optimizer=heavy_ball(_stairs, 0.9)),
    row("trace-of-scaled-gradients", "3 param", "momentum-lr-inside", _STEPPED_MOMENTUM,
        optimizer=optax.chain(optax.scale_by_learning_rate(_stairs), optax.trace(0.9))),
    row("rmsprop-momentum-of-optax", "3 param", "momentum-lr-inside",
        partial(rmsprop(lr=0.1, momentum=0.9), scheduler=_STEP,
            optimizer=optim.rmsprop(optim.step_lr(0.1, step_size=3), momentum=0.9)),
        optimizer=optax.rmsprop(_stairs, decay=0.99, eps_in_sqrt=False, momentum=0.9)),
    row("warm-up-from-zero", "0 param", None,
        scheduled(partial(lr_scheduler.LambdaLR, lr_lambda=lambda t: min(1.0, (t + 1) / 5)),
            lambda count: 0.1 * jnp.minimum(1.0, (count + 1) / 5)),
        optimizer=_sgd(optax.linear_schedule(0.0, 0.1, 5))),
    # The cosine goes on from where it would be without the warm-up; until then both are alike.
    row("cosine-counts-warm-up", "3 param", None, _IN_SEQUENCE,
        optimizer=_sgd(partial(_warm_up_and_cosine, start=0))),
    row("restarts-missing", "4 param", None, _RESTARTED,
        optimizer=_sgd(optax.cosine_decay_schedule(0.1, 4, alpha=0.1))),
    # Torch's cosine of one cycle rises as it fell.
    row("restarts-mirrored", "5 param", None, _RESTARTED,
        optimizer=_sgd(lambda count: jnp.where(
            count == 4, 0.1, _COSINE_OF_FOUR(count)))),
    # Both restart at update 3, the port with a cycle as short as the first.
    row("restarts-of-one-length", "4 param", None, _DOUBLED,
        optimizer=_sgd(lambda count: _doubled(count % 3))),
    row("polynomial-linear", "1 param", None, _POLYNOMIAL,
        optimizer=_sgd(optax.polynomial_schedule(0.1, 0.0, 1, 6))),
    row("polynomial-too-long", "1 param", None, _POLYNOMIAL,
        optimizer=_sgd(optax.polynomial_schedule(0.1, 0.0, 2, 8))),
    # optax's scales multiply one another.
    row("milestones-of-the-first-rate", "6 param", None, _MILESTONES,
        optimizer=_sgd(optax.piecewise_constant_schedule(0.1, {3: 0.1, 6: 0.01}))),
    row("milestones-in-epochs", "6 param", None,
        scheduled(partial(lr_scheduler.MultiStepLR, milestones=[3]),
            optax.piecewise_constant_schedule(0.1, {6: 0.1}), steps_per_epoch=2),
        optimizer=_sgd(optax.piecewise_constant_schedule(0.1, {7: 0.1}))),
    row("exponential-natural", "1 param", None, _EXPONENTIAL,
        optimizer=_sgd(lambda count: 0.1 * jnp.exp(-0.1 * count))),
    row("linear-missing", "0 param", ("schedule-missing", "linear-start"), _LINEAR,
        optimizer=_sgd(0.1)),
    row("cosine-per-update", "1 param", "schedule-per-update",
        scheduled(partial(lr_scheduler.CosineAnnealingLR, T_max=2),
            optim.per_epoch(optim.cosine_annealing_lr(0.1, t_max=2), 4), steps_per_epoch=4),
        optimizer=_sgd(optim.cosine_annealing_lr(0.1, t_max=2))),
    row("exponential-per-epoch", "1 param", None, _EXPONENTIAL,
        optimizer=_sgd(optim.per_epoch(optim.exponential_lr(0.1, gamma=0.9), 4))),
    row("schedule-per-batch", "1 param", None, _ACCUMULATED,
        optimizer=optax.chain(multi_steps(optax.scale(2.0), 2),
            _sgd(optim.exponential_lr(0.1, gamma=0.9)))),
    # The first cycle is alike, and so is the beginning of the second.
    row("cycles-of-one-height", "5 param", None,
        scheduled(partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=2,
            mode="triangular2", cycle_momentum=False), partial(_cycle, shrink=0.5)),
        optimizer=_sgd(_cycle)),
    row("constant-factor-missing", "0 param", None,
        scheduled(partial(lr_scheduler.ConstantLR, factor=0.5, total_iters=4),
            lambda count: jnp.where(count < 4, 0.05, 0.1)),
        optimizer=_sgd(0.1)),
))
