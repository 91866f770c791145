"""Learning-rate schedules as a port might write them, beside the one that torch follows."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from jaxdnn import optim

__all__ = ["base_rate", "schedules", "wrong_schedules"]

Header = Mapping[str, Any]
Schedule = Callable[[Any], Any]


def base_rate(header: Header) -> float:
    """The learning rate with which torch's optimiser was built, before any scheduler."""
    settings = header["optimizer"]["settings"]
    return settings.get("initial_lr", settings["lr"])


def schedules(header: Header) -> tuple[Schedule | None, Schedule | None]:
    """The learning rate, and the momentum where it is scheduled, by the count of updates."""
    if header["scheduler"] is None:
        return None, None
    lr, momentum = _by_call(header)
    every = header["scheduler"]["steps_per_epoch"]
    if every == 1:
        return lr, momentum
    slowed = optim.per_epoch(lr, every)
    return slowed, None if momentum is None else optim.per_epoch(momentum, every)


def _by_call(header: Header) -> tuple[Schedule, Schedule | None]:
    """By the count of the scheduler's own steps."""
    name, settings = header["scheduler"]["name"], header["scheduler"]["settings"]
    lr = base_rate(header)
    match name:
        case "StepLR":
            return optim.step_lr(lr, **settings), None
        case "ExponentialLR":
            return optim.exponential_lr(lr, **settings), None
        case "CosineAnnealingLR":
            return optim.cosine_annealing_lr(lr, **settings), None
        case "LinearLR":
            return optim.linear_lr(lr, **settings), None
        case _:
            cycle = optim.one_cycle_lr(**settings)
            return cycle.lr, cycle.momentum


def wrong_schedules(
    header: Header, schedule: Schedule | None, momentum: Schedule | None
) -> Iterator[tuple[str, Any, Any]]:
    """The name of each mistake, and the learning rate and momentum of a port that makes it."""
    if schedule is None:
        return
    lr = base_rate(header)
    name, settings = header["scheduler"]["name"], header["scheduler"]["settings"]
    every = header["scheduler"]["steps_per_epoch"]
    by_call, momentum_by_call = _by_call(header)
    if every > 1:
        yield "schedule-per-update", by_call, momentum_by_call
    yield "schedule-missing", lr, None
    yield "schedule-offset", lambda count: schedule(count + 1), momentum
    yield "schedule-offset", lambda count: schedule(jnp.maximum(count - 1, 0)), momentum
    slow = (lambda s: optim.per_epoch(s, every)) if every > 1 else (lambda s: s)
    if name == "CosineAnnealingLR":
        steps, low = settings["t_max"], settings["eta_min"]
        yield "cosine-end", slow(optax.cosine_decay_schedule(lr, steps, low / lr)), None
        yield "cosine-alpha", slow(optax.cosine_decay_schedule(lr, steps, low)), None
        yield "cosine-alpha", slow(optax.cosine_decay_schedule(lr, steps)), None
    if name == "LinearLR":
        end, total = settings["end_factor"] * lr, settings["total_iters"]
        yield "linear-start", slow(optax.linear_schedule(0.0, end, total)), None
        yield "linear-start", slow(optax.linear_schedule(lr, end, total)), None
    if name == "StepLR":
        size, gamma = settings["step_size"], settings["gamma"]
        yield "step-smooth", slow(optax.exponential_decay(lr, size, gamma)), None
    if name == "OneCycleLR":
        if momentum is not None:
            for constant in (settings["max_momentum"], settings["base_momentum"], 0.9):
                yield "one-cycle-momentum", schedule, constant
        cosine = optax.cosine_onecycle_schedule(
            settings["total_steps"],
            settings["max_lr"],
            settings["pct_start"],
            settings["div_factor"],
            settings["final_div_factor"],
        )
        yield "one-cycle-shape", slow(cosine), momentum
