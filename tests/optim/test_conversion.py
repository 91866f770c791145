"""torch's optimisers read by their settings."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn import optim
from jaxdnn.errors import ConfigError

START = np.array([1.0, -2.0, 0.5])
GRADS = np.random.default_rng(0).normal(size=(5, 3))


def run_ours(optimizer: optax.GradientTransformation) -> np.ndarray:
    params = jnp.asarray(START)
    state = optimizer.init(params)
    for grad in GRADS:
        updates, state = optimizer.update(jnp.asarray(grad), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


def run_torch(optimizer: torch.optim.Optimizer, scheduler: Any = None) -> np.ndarray:
    weight = optimizer.param_groups[0]["params"][0]
    for grad in GRADS:
        weight.grad = torch.tensor(grad)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return weight.detach().numpy()


def weights() -> list[torch.Tensor]:
    return [torch.tensor(START, requires_grad=True)]


NUMBER = st.floats(0.01, 0.9)
ADAM = {
    "lr": NUMBER,
    "betas": st.tuples(NUMBER, NUMBER),
    "eps": NUMBER,
    "weight_decay": NUMBER,
    "amsgrad": st.booleans(),
    "maximize": st.booleans(),
    "capturable": st.just(False),
}
SETTINGS = {
    "SGD": {
        "lr": NUMBER,
        "momentum": NUMBER,
        "dampening": NUMBER,
        "weight_decay": NUMBER,
        "maximize": st.booleans(),
        "fused": st.sampled_from([None, True]),
    },
    "Adam": {**ADAM, "decoupled_weight_decay": st.booleans()},
    "AdamW": ADAM,
    "RMSprop": {
        "lr": NUMBER,
        "alpha": NUMBER,
        "eps": NUMBER,
        "weight_decay": NUMBER,
        "momentum": NUMBER,
        "centered": st.booleans(),
        "maximize": st.booleans(),
        "differentiable": st.just(False),
    },
    "Adagrad": {
        "lr": NUMBER,
        "lr_decay": NUMBER,
        "weight_decay": NUMBER,
        "initial_accumulator_value": NUMBER,
        "eps": NUMBER,
        "maximize": st.booleans(),
        "foreach": st.booleans(),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=3)
@given(data=st.data())
def test_every_setting_is_read(x64: None, name: str, data: st.DataObject) -> None:
    drawn = data.draw(st.fixed_dictionaries({}, optional=SETTINGS[name]))
    theirs = getattr(torch.optim, name)(weights(), **drawn)
    group = {key: value for key, value in theirs.param_groups[0].items() if key != "params"}
    # A step first: what torch has done so far is not taken over.
    from_torch = run_ours(optim.from_torch(theirs))
    expected = run_torch(theirs)
    np.testing.assert_allclose(from_torch, expected, rtol=1e-12, atol=1e-12)
    recorded = run_ours(optim.from_settings(name, group))
    np.testing.assert_array_equal(recorded, from_torch)
    short = run_ours(optim.from_settings(name, drawn))
    np.testing.assert_array_equal(short, from_torch)


def test_nesterov_is_read(x64: None) -> None:
    theirs = torch.optim.SGD(weights(), lr=0.1, momentum=0.9, nesterov=True)
    np.testing.assert_allclose(run_ours(optim.from_torch(theirs)), run_torch(theirs), rtol=1e-13)


def test_tensors_are_read_as_numbers(x64: None) -> None:
    lr, beta1, beta2 = torch.tensor([0.1, 0.5, 0.25], dtype=torch.float64)
    theirs = torch.optim.Adam(weights(), lr=lr, betas=(beta1, beta2))
    np.testing.assert_allclose(run_ours(optim.from_torch(theirs)), run_torch(theirs), rtol=1e-13)


def test_named_parameters_and_groups_that_agree_are_read() -> None:
    network = torch.nn.Linear(2, 1)
    named = torch.optim.SGD(network.named_parameters(), lr=0.5)
    assert "param_names" in named.param_groups[0]
    groups = [{"params": [network.weight], "fused": True}, {"params": [network.bias]}]
    for theirs in (named, torch.optim.SGD(groups, lr=0.5)):
        np.testing.assert_allclose(
            run_ours(optim.from_torch(theirs)), START - 0.5 * GRADS.sum(0), rtol=1e-6
        )


def test_momentum_of_zero_has_no_buffer() -> None:
    for momentum in (0, 0.0):
        theirs = torch.optim.SGD(weights(), momentum=momentum)
        assert optim.from_torch(theirs).init(jnp.ones(2)).momentum_buffer is None  # type: ignore


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_schedule_takes_the_place_of_a_scheduler(x64: None, name: str) -> None:
    theirs = getattr(torch.optim, name)(weights(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(theirs, 2)
    with pytest.raises(ConfigError, match=f"scheduler drives the learning rate of this {name}"):
        optim.from_torch(theirs)
    ours = optim.from_torch(theirs, lr=optim.step_lr(0.1, step_size=2))
    np.testing.assert_allclose(run_ours(ours), run_torch(theirs, scheduler), rtol=1e-13)


def test_number_takes_the_place_of_the_learning_rate() -> None:
    ours = optim.from_torch(torch.optim.SGD(weights(), lr=0.1), lr=0.5)
    np.testing.assert_allclose(run_ours(ours), START - 0.5 * GRADS.sum(0), rtol=1e-6)


def test_one_cycle_is_read_only_without_its_momentum(x64: None) -> None:
    theirs = torch.optim.SGD(weights(), lr=0.1, momentum=0.9)
    shared = {"max_lr": 0.5, "total_steps": 20}
    scheduler = torch.optim.lr_scheduler.OneCycleLR(theirs, **shared, cycle_momentum=False)
    ours = optim.from_torch(theirs, lr=optim.one_cycle_lr(0.5, total_steps=20).lr)
    np.testing.assert_allclose(run_ours(ours), run_torch(theirs, scheduler), rtol=1e-13)

    cycled = torch.optim.SGD(weights(), lr=0.1, momentum=0.9)
    torch.optim.lr_scheduler.OneCycleLR(cycled, **shared)
    with pytest.raises(ConfigError, match="base_momentum, max_momentum; build it"):
        optim.from_torch(cycled, lr=0.1)


class MySGD(torch.optim.SGD):
    """It could do anything."""


def two_groups(**second: Any) -> torch.optim.Optimizer:
    one, two = weights() + weights()
    return torch.optim.Adam([{"params": [one]}, {"params": [two], **second}], lr=0.1)


def with_setting(key: str, value: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(weights(), lr=0.1)
    optimizer.param_groups[0][key] = value
    return optimizer


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: MySGD(weights()), "no subclasses; build the transformation of .*MySGD"),
        (lambda: torch.optim.NAdam(weights()), "torch.optim.nadam.NAdam with optax"),
        (lambda: torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (lambda: two_groups(lr=0.2), "Group 1 has lr=0.2 where group 0 has 0.1; build a"),
        (lambda: two_groups(betas=(0.5, 0.999)), r"Group 1 has betas=\(0.5, 0.999\) where"),
        (lambda: two_groups(initial_lr=0.1), "has initial_lr=0.1 where group 0 has nothing"),
        (lambda: with_setting("warmup", 3), "does not read|do not read|not read: warmup"),
        (lambda: with_setting("momentum", None), "momentum must be a number; got None"),
        (lambda: with_setting("momentum", torch.ones(2)), "momentum must be a number"),
    ],
)
def test_what_cannot_be_read_is_refused(build: Callable[[], Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        optim.from_torch(build())
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("name", "group", "says"),
    [
        ("Lion", {}, "must be one of SGD, Adam, AdamW, RMSprop, Adagrad; got 'Lion'"),
        ("SGD", {"betas": (0.9, 0.999)}, "SGD has settings that jaxdnn.optim does not read: betas"),
        ("AdamW", {"decoupled_weight_decay": False}, "use the name 'Adam'"),
        ("Adam", {"initial_lr": 0.1}, "give lr="),
    ],
)
def test_recording_that_fits_no_optimiser_is_refused(name: str, group: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        optim.from_settings(name, group)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="lr must be 0 or more"):
        optim.from_settings("SGD", {"lr": -1.0})


def test_conversion_runs_under_jit() -> None:
    ours = optim.from_settings("Adam", {"lr": 0.1})
    jitted = jax.jit(ours.update)(jnp.ones(2), ours.init(jnp.ones(2)))[0]
    np.testing.assert_allclose(jitted, -0.1, rtol=1e-6)
