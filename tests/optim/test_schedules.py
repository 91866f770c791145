"""Schedules against torch.optim.lr_scheduler, to well past their ends."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from jaxdnn import optim

MOST = 64
"""Counts in every test, so that each operation compiles once."""

LR = st.floats(1e-5, 10)
SHARE = st.floats(0, 1)
MOMENTUM = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(1e-3, 1)
COUNT = st.integers(1, 12)


def torch_values(
    scheduler: Callable[..., Any], lr: float, counts: int, *, betas: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The learning rate, and momentum or the first beta, at each count."""
    weights = [torch.zeros(1, requires_grad=True)]
    optimizer = torch.optim.Adam(weights, lr=lr) if betas else torch.optim.SGD(weights, lr=lr)
    values, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the optimiser makes no steps
        attached = scheduler(optimizer)
        for _ in range(counts):
            values.append(attached.get_last_lr()[0])
            group = optimizer.param_groups[0]
            momenta.append(group["betas"][0] if betas else group["momentum"])
            if len(values) < counts:
                attached.step()
    return np.array(values), np.array(momenta)


def assert_close(schedule: optim.Schedule, expected: np.ndarray) -> None:
    found = np.asarray(schedule(jnp.arange(MOST)))[: len(expected)]
    assert np.abs(found - expected).max() <= 1e-13 * np.abs(expected).max()


@settings(max_examples=6)
@given(lr=LR, step_size=COUNT, gamma=st.floats(0, 1.5))
def test_step_is_torchs(x64: None, lr: float, step_size: int, gamma: float) -> None:
    expected, _ = torch_values(lambda o: lr_scheduler.StepLR(o, step_size, gamma), lr, 40)
    assert_close(optim.step_lr(lr, step_size=step_size, gamma=gamma), expected)


@settings(max_examples=6)
@given(lr=LR, gamma=st.floats(0, 1.5))
def test_exponential_is_torchs(x64: None, lr: float, gamma: float) -> None:
    expected, _ = torch_values(lambda o: lr_scheduler.ExponentialLR(o, gamma), lr, 40)
    assert_close(optim.exponential_lr(lr, gamma=gamma), expected)


@settings(max_examples=6)
@given(lr=LR, t_max=COUNT, eta_min=st.sampled_from([0.0, 1e-3, 0.5, 20.0]))
def test_cosine_is_torchs(x64: None, lr: float, t_max: int, eta_min: float) -> None:
    expected, _ = torch_values(
        lambda o: lr_scheduler.CosineAnnealingLR(o, t_max, eta_min), lr, 5 * t_max + 2
    )
    assert_close(optim.cosine_annealing_lr(lr, t_max=t_max, eta_min=eta_min), expected)


@settings(max_examples=6)
@given(lr=LR, t_max=st.integers(1, 10_000), eta_min=st.sampled_from([0.0, 0.5]))
def test_long_cosine_is_torchs_closed_form(
    x64: None, lr: float, t_max: int, eta_min: float
) -> None:
    """What torch computes when it is given the epoch; step by step its rounding errors grow."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, t_max, eta_min)
    counts = np.linspace(0, 3 * t_max, 20).astype(int)
    expected = []
    for count in counts:
        scheduler.last_epoch = int(count)
        expected.append(scheduler._get_closed_form_lr()[0])
    found = optim.cosine_annealing_lr(lr, t_max=t_max, eta_min=eta_min)(jnp.asarray(counts))
    assert np.abs(found - np.array(expected)).max() <= 1e-13 * max(expected)


@settings(max_examples=6)
@given(lr=LR, start=st.floats(1e-3, 1), end=SHARE, total=st.integers(0, 12))
def test_linear_is_torchs(x64: None, lr: float, start: float, end: float, total: int) -> None:
    expected, _ = torch_values(lambda o: lr_scheduler.LinearLR(o, start, end, total), lr, 30)
    schedule = optim.linear_lr(lr, start_factor=start, end_factor=end, total_iters=total)
    assert_close(schedule, expected)


@settings(max_examples=20)
@given(
    max_lr=LR,
    total_steps=st.integers(1, 30),
    pct_start=st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), SHARE),
    shape=st.sampled_from(["cos", "linear"]),
    momenta=st.tuples(MOMENTUM, MOMENTUM),
    div_factor=st.sampled_from([1.0, 25.0, 0.5]),
    final_div_factor=st.sampled_from([1.0, 1e4]),
    three_phase=st.booleans(),
    betas=st.booleans(),
)
def test_one_cycle_is_torchs(
    x64: None,
    max_lr: float,
    total_steps: int,
    pct_start: float,
    shape: Any,
    momenta: tuple[float, float],
    div_factor: float,
    final_div_factor: float,
    three_phase: bool,
    betas: bool,
) -> None:
    """In its steps as torch's, after them as at the last."""
    # Phases of almost no length divide rounding errors by it.
    assume(abs(pct_start * total_steps - 1) > 1e-2)
    shared = {
        "total_steps": total_steps,
        "pct_start": pct_start,
        "anneal_strategy": shape,
        "base_momentum": momenta[0],
        "max_momentum": momenta[1],
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
        "three_phase": three_phase,
    }
    lrs, momentum = torch_values(
        lambda o: lr_scheduler.OneCycleLR(o, max_lr, **shared), 1.0, total_steps, betas=betas
    )
    cycle = optim.one_cycle_lr(max_lr, **shared)
    assert cycle.momentum is not None
    assert_close(cycle.lr, np.pad(lrs, (0, 20), mode="edge"))
    assert_close(cycle.momentum, np.pad(momentum, (0, 20), mode="edge"))
    alone = optim.one_cycle_lr(max_lr, **shared, cycle_momentum=False)
    assert alone.momentum is None
    assert_close(alone.lr, lrs)


def test_one_cycle_without_a_first_phase_is_an_error_as_in_torch() -> None:
    with pytest.raises(ZeroDivisionError):
        torch_values(
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, 10, pct_start=0.1), 1.0, 1, betas=True
        )
    with pytest.raises(ValueError, match="must not be 1: the first phase has no length"):
        optim.one_cycle_lr(1.0, total_steps=10, pct_start=0.1)


ALL = {
    "step": optim.step_lr(0.1, step_size=3),
    "exponential": optim.exponential_lr(0.1, gamma=0.9),
    "cosine": optim.cosine_annealing_lr(0.1, t_max=7, eta_min=0.01),
    "linear": optim.linear_lr(0.1),
    "one cycle": optim.one_cycle_lr(0.1, total_steps=20).lr,
    "one cycle, momentum": optim.one_cycle_lr(0.1, total_steps=20, three_phase=True).momentum,
}


@pytest.mark.parametrize("name", ALL)
def test_traced_count_is_the_same(name: str) -> None:
    """In single precision too."""
    schedule = ALL[name]
    assert schedule is not None
    counts = jnp.arange(30)
    expected = schedule(counts)
    assert expected.dtype == jnp.float32
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(counts), expected, rtol=1e-6, atol=1e-7)


def test_schedules_are_swept() -> None:
    def last(lr: jax.Array, gamma: jax.Array) -> optim.Number:
        return optim.step_lr(lr, step_size=2, gamma=gamma)(jnp.int32(4))

    rates, factors = jnp.array([1.0, 2.0]), jnp.array([0.5, 0.1])
    np.testing.assert_allclose(jax.vmap(last)(rates, factors), rates * factors**2, rtol=1e-6)


def test_per_epoch_holds_each_value_for_an_epoch() -> None:
    epochs = optim.exponential_lr(1.0, gamma=0.5)
    updates = optim.per_epoch(epochs, 4)
    expected = np.repeat(epochs(jnp.arange(3)), 4)
    np.testing.assert_array_equal([updates(count) for count in jnp.arange(12)], expected)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: optim.step_lr(1.0, step_size=0), "step_size must be 1 or more; got 0"),
        (lambda: optim.cosine_annealing_lr(1.0, t_max=0), "t_max must be 1 or more"),
        (lambda: optim.linear_lr(1.0, total_iters=-1), "total_iters must be 0 or more"),
        (lambda: optim.linear_lr(1.0, start_factor=0), "start_factor must be above 0"),
        (lambda: optim.linear_lr(1.0, start_factor=1.5), "start_factor must be above 0"),
        (lambda: optim.linear_lr(1.0, end_factor=1.5), "end_factor must be between 0 and 1"),
        (lambda: optim.linear_lr(1.0, end_factor=-0.5), "end_factor must be between 0 and 1"),
        (lambda: optim.one_cycle_lr(1.0, total_steps=0), "total_steps must be 1 or more"),
        (lambda: optim.one_cycle_lr(1.0, total_steps=9, pct_start=2), "pct_start must be between"),
        (lambda: optim.per_epoch(lambda count: 1.0, 0), "steps_per_epoch must be 1 or more"),
    ],
)
def test_wrong_argument_is_an_error(build: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build()


def test_unknown_shape_is_an_error() -> None:
    unchecked: Any = inspect.unwrap(optim.one_cycle_lr)  # without the tests' own check of types
    with pytest.raises(ValueError, match="anneal_strategy must be 'cos' or 'linear'; got 'sin'"):
        unchecked(1.0, total_steps=9, anneal_strategy="sin")
