"""Optimisers against torch.optim: parameters and all state, fifty steps, over their settings."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn import optim

SHAPES = {"kernel": (3, 2), "bias": (2,), "scale": ()}
STEPS = 50
TOLERANCE = 1e-13

Tree = dict[str, np.ndarray]
Numbers = dict[str, Any]


class Case(NamedTuple):
    """An optimiser with the numbers that it takes, and what they are drawn from."""

    ours: Callable[..., optax.GradientTransformation]
    theirs: Callable[..., torch.optim.Optimizer]
    numbers: dict[str, st.SearchStrategy]
    flags: tuple[str, ...]


LR = st.sampled_from([1e-3, 0.02, 0.5])
DECAY = st.sampled_from([0.0, 0.01, 0.3])
MOMENTUM = st.sampled_from([0.0, 0.5, 0.9, 1.0])
EPS = st.sampled_from([1e-10, 1e-8, 1e-2, 1.0])
# A smaller second beta divides by the last gradients, however much of them is rounding; a larger
# one loses torch's own digits in 1 - beta**t (ours has a tenth of its error then).
BETAS = st.tuples(st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.sampled_from([0.9, 0.95, 0.99]))
ALPHA = st.sampled_from([0.95, 0.99, 0.999])  # less, and a centred variance is mostly rounding
ADAM = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}
CASES = {
    "sgd": Case(
        optim.sgd,
        torch.optim.SGD,
        {
            "lr": LR,
            "momentum": MOMENTUM,
            "dampening": st.sampled_from([0.0, 0.1, 1.0, -0.5]),
            "weight_decay": DECAY,
        },
        ("maximize",),
    ),
    "nesterov": Case(
        functools.partial(optim.sgd, nesterov=True),
        functools.partial(torch.optim.SGD, nesterov=True),
        {"lr": LR, "momentum": st.sampled_from([0.5, 0.9, 1.0]), "weight_decay": DECAY},
        ("maximize",),
    ),
    "adam": Case(optim.adam, torch.optim.Adam, ADAM, ("amsgrad", "maximize")),
    "adamw": Case(optim.adamw, torch.optim.AdamW, ADAM, ("amsgrad", "maximize")),
    "rmsprop": Case(
        optim.rmsprop,
        torch.optim.RMSprop,
        {"lr": LR, "alpha": ALPHA, "eps": EPS, "weight_decay": DECAY, "momentum": MOMENTUM},
        ("centered", "maximize"),
    ),
    "adagrad": Case(
        optim.adagrad,
        torch.optim.Adagrad,
        {
            "lr": LR,
            "lr_decay": st.sampled_from([0.0, 0.1, 2.0]),
            "weight_decay": DECAY,
            "initial_accumulator_value": st.sampled_from([0.0, 0.1]),
            "eps": EPS,
        },
        ("maximize",),
    ),
}


def draw_run(seed: int, steps: int = STEPS) -> tuple[Tree, Tree]:
    """A start, and gradients of every step: some exactly 0, some of a leaf all 0 until late."""
    generator = np.random.default_rng(seed)
    params = {name: generator.normal(size=shape) for name, shape in SHAPES.items()}
    grads = {}
    for name, shape in SHAPES.items():
        scale = 10.0 ** generator.integers(-3, 3)
        grads[name] = generator.normal(size=(steps, *shape)) * scale
        grads[name] *= generator.uniform(size=grads[name].shape) > 0.2
        grads[name][: generator.integers(0, 3)] = 0
    return params, grads


def run_ours(optimizer: optax.GradientTransformation, params: Any, grads: Any) -> tuple[Any, Any]:
    """The parameters and the state after every step."""

    def step(carry: tuple[Any, Any], grad: Any) -> tuple[Any, Any]:
        params, state = carry
        updates, state = optimizer.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, state)

    return jax.lax.scan(step, (params, optimizer.init(params)), grads)[1]


@functools.cache
def compiled(name: str, **flags: bool) -> Callable[..., Any]:
    """One program for all numbers."""
    build = functools.partial(CASES[name].ours, **flags)
    return jax.jit(lambda numbers, params, grads: run_ours(build(**numbers), params, grads))


def run_torch(
    build: Callable[..., torch.optim.Optimizer],
    params: Tree,
    grads: Tree,
    *,
    after_step: Callable[[torch.optim.Optimizer], Any] = lambda optimizer: None,
    before_step: Callable[[list[torch.Tensor]], Any] = lambda tensors: None,
) -> tuple[Tree, dict[str, Tree]]:
    """As `run_ours`: parameters, and state by its name and the parameter's, after every step."""
    tensors = {name: torch.tensor(array).requires_grad_() for name, array in params.items()}
    optimizer = build(list(tensors.values()))
    history: dict[str, list] = {name: [] for name in tensors}
    states: dict[str, dict[str, list]] = {}
    for i in range(len(next(iter(grads.values())))):
        for name, tensor in tensors.items():
            tensor.grad = torch.as_tensor(grads[name][i].copy())
        before_step(list(tensors.values()))
        optimizer.step()
        after_step(optimizer)
        for name, tensor in tensors.items():
            history[name].append(tensor.detach().numpy().copy())
            for key, value in optimizer.state[tensor].items():
                if value is not None:  # SGD without momentum notes that it has none
                    field = states.setdefault(key, {}).setdefault(name, [])
                    field.append(value.detach().numpy().copy())
    return (
        {name: np.stack(steps) for name, steps in history.items()},
        {key: {n: np.stack(steps) for n, steps in tree.items()} for key, tree in states.items()},
    )


def assert_follows(ours: Any, theirs: Tree, tolerance: float = TOLERANCE) -> None:
    """Each step of each leaf, against the largest magnitude that the leaf has had."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        found = np.asarray(ours[name])
        assert found.shape == expected.shape
        assert np.isfinite(expected).all()
        size = np.abs(expected).reshape(len(expected), -1).max(axis=1)
        largest = np.maximum.accumulate(size)
        error = np.abs(found - expected).reshape(len(expected), -1).max(axis=1)
        assert (error <= tolerance * largest).all(), (name, error, largest)


def assert_same_run(ours: tuple[Any, Any], theirs: tuple[Tree, dict[str, Tree]]) -> None:
    """Parameters, the count, and every tensor of state that torch has."""
    params, state = ours
    torch_params, torch_state = theirs
    assert_follows(params, torch_params)
    np.testing.assert_array_equal(state.count, np.arange(1, len(state.count) + 1))
    for key, tree in torch_state.items():
        if key == "step":
            assert all((steps == state.count).all() for steps in tree.values())
        else:
            assert_follows(getattr(state, key), tree)


def combinations() -> list[Any]:
    """Every optimiser without its flags, with each but ``maximize`` alone, and with all of them."""
    return [
        pytest.param(
            name,
            dict.fromkeys(on, True),
            id="-".join([name, *on]),
            marks=[] if on == case.flags else pytest.mark.slow,
        )
        for name, case in CASES.items()
        for on in [(), *[(flag,) for flag in case.flags if flag != "maximize"], case.flags]
    ]


@pytest.mark.parametrize(("name", "flags"), combinations())
@settings(max_examples=3)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1))
def test_every_step_is_torchs(
    x64: None, name: str, flags: dict[str, bool], data: st.DataObject, seed: int
) -> None:
    """With the numbers as arrays, so that one program runs them all."""
    case = CASES[name]
    numbers = data.draw(st.fixed_dictionaries(case.numbers))
    params, grads = draw_run(seed)
    arrays = jax.tree.map(jnp.float64, numbers)
    ours = compiled(name, **flags)(arrays, params, grads)
    assert_same_run(
        ours, run_torch(functools.partial(case.theirs, **numbers, **flags), params, grads)
    )


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("sgd", {}),
        ("sgd", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
        ("nesterov", {"momentum": 0.9}),
        ("adam", {}),
        ("adam", {"betas": (0.9, 0.0)}),
        ("adam", {"betas": (0.0, 0.0), "weight_decay": 0.1, "amsgrad": True}),
        ("adamw", {}),
        ("adamw", {"weight_decay": 0.0}),
        ("rmsprop", {}),
        ("rmsprop", {"centered": True, "momentum": 0.9}),
        ("adagrad", {}),
        ("adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    ],
)
def test_python_numbers_and_defaults_are_torchs(x64: None, name: str, numbers: Numbers) -> None:
    """As with arrays; and nothing is in the state that torch does not have, count apart."""
    case = CASES[name]
    params, grads = draw_run(3)
    ours = jax.jit(functools.partial(run_ours, case.ours(**numbers)))(params, grads)
    theirs = run_torch(functools.partial(case.theirs, **numbers), params, grads)
    assert_same_run(ours, theirs)
    present = {key for key, tree in ours[1]._asdict().items() if tree is not None}
    assert present - {"count"} == theirs[1].keys() - {"step"}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
def test_defaults_are_torchs(name: str) -> None:
    case = CASES[name]
    theirs = inspect.signature(case.theirs).parameters
    for argument in inspect.signature(case.ours).parameters.values():
        assert argument.default == theirs[argument.name].default


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad"])
def test_zero_gradient_without_eps_is_nan_as_in_torch(name: str) -> None:
    case = CASES[name]
    params, grads = {"w": np.ones(2)}, {"w": np.array([[0.0, 1.0]])}
    ours, _ = run_ours(case.ours(eps=0.0), jax.tree.map(jnp.asarray, params), grads)
    theirs, _ = run_torch(functools.partial(case.theirs, eps=0.0), params, grads)
    np.testing.assert_allclose(ours["w"], theirs["w"], rtol=1e-6)
    assert np.isnan(ours["w"]).tolist() == [[True, False]]


SWEPT = {
    "sgd": {"lr": [0.1, 0.01, 0.0], "momentum": [0.9, 0.0, 0.5], "dampening": [0.5, 0.5, 0.0]},
    "adam": {"lr": [0.1, 0.01, 0.0], "eps": [1e-8, 1e-3, 1.0], "weight_decay": [0.0, 0.1, 0.2]},
    "adagrad": {"lr": [0.1, 0.01, 0.0], "initial_accumulator_value": [0.0, 1.0, 2.0]},
}


@pytest.mark.parametrize("name", SWEPT)
def test_sweep_is_the_single_runs(x64: None, name: str) -> None:
    build = CASES[name].ours
    params, grads = draw_run(4)
    swept = jax.jit(
        jax.vmap(lambda numbers: run_ours(build(**numbers), params, grads)),
    )({key: jnp.array(values) for key, values in SWEPT[name].items()})
    for i in range(3):
        numbers = {key: jnp.float64(values[i]) for key, values in SWEPT[name].items()}
        alone = compiled(name)(numbers, params, grads)
        found = {leaf: path[i] for leaf, path in swept[0].items()}
        assert_follows(found, jax.tree.map(np.asarray, alone[0]))


NUMBERS = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9},
    "adam": {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True},
    "adamw": {"lr": 0.1},
    "rmsprop": {"lr": 0.1, "weight_decay": 0.1, "centered": True, "momentum": 0.9},
    "adagrad": {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1},
}


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_nothing_is_promoted(x64: None, name: str, as_array: bool) -> None:
    """With double precision on, whatever the precision of the numbers."""
    numbers = {
        key: jnp.float64(value) if as_array and not isinstance(value, bool) else value
        for key, value in NUMBERS[name].items()
    }
    optimizer = optax.chain(
        optim.clip_grad_norm(jnp.float64(1.0) if as_array else 1.0), CASES[name].ours(**numbers)
    )
    for dtype in (jnp.float32, jnp.float64, jnp.bfloat16):
        params = {"w": jnp.ones((2, 3), dtype), "b": jnp.ones((), dtype)}
        state = optimizer.init(params)
        updates, after = jax.eval_shape(optimizer.update, params, state, params)
        leaves = jax.tree.leaves((updates, state, after))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(dtype), jnp.dtype("int32")}
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("beta2", [0.0, 0.9, 0.999])
def test_adam_is_accurate_in_single_precision(beta2: float, as_array: bool) -> None:
    """optax's first update is 6.5e-6 off, from 1 - beta**t."""
    # As an array a beta is what single precision makes of it, for both sides.
    betas = (0.9, beta2) if not as_array else (float(np.float32(0.9)), float(np.float32(beta2)))
    given = tuple(map(jnp.float32, betas)) if as_array else betas
    params, grads = draw_run(5, steps=20)
    narrow = jax.tree.map(np.float32, grads)
    zeros = jax.tree.map(np.zeros_like, params)

    @jax.jit
    def updates(grads: Any) -> Any:
        optimizer = optim.adam(1.0, betas=given)

        def step(state: Any, grad: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(grad, state)
            return state, updates

        start = optimizer.init(jax.tree.map(lambda leaf: leaf[0], grads))
        return jax.lax.scan(step, start, grads)[1]

    def torch_updates(dtype: type) -> Tree:
        start = jax.tree.map(dtype, zeros)
        path, _ = run_torch(
            lambda tensors: torch.optim.Adam(tensors, lr=1.0, betas=betas),
            start,
            jax.tree.map(dtype, narrow),
        )
        return jax.tree.map(lambda leaf: np.diff(leaf, axis=0, prepend=0 * leaf[:1]), path)

    found = updates(narrow)
    assert_follows(found, torch_updates(np.float64), 4e-7)
    first = {name: leaf[:1] for name, leaf in found.items()}
    assert_follows(first, {n: leaf[:1] for n, leaf in torch_updates(np.float32).items()}, 4e-7)


@settings(max_examples=10)
@given(
    max_norm=st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 1e3]),
    norm_type=st.sampled_from([2.0, 1.0, 0.5, 3.0, 7.5, math.inf]),
    scale=st.sampled_from([0.0, 1e-6, 5e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**31 - 1),
)
def test_clipping_is_torchs(
    x64: None, max_norm: float, norm_type: float, scale: float, seed: int
) -> None:
    grads = jax.tree.map(lambda leaf: leaf * scale, draw_run(seed)[0])
    tensors = [torch.zeros(leaf.shape, dtype=torch.float64) for leaf in grads.values()]
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_norm_(tensors, max_norm, norm_type)
    clip = optim.clip_grad_norm(max_norm, norm_type=norm_type)
    ours, _ = clip.update(jax.tree.map(jnp.asarray, grads), clip.init(grads))
    expected = {n: np.asarray(t.grad)[None] for n, t in zip(grads, tensors, strict=True)}
    assert_follows(jax.tree.map(lambda leaf: leaf[None], ours), expected)


@pytest.mark.parametrize("norm_type", [2.0, 3.0, math.inf])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_clipping_what_is_not_finite_is_torchs(bad: float, norm_type: float) -> None:
    grads = np.array([1.0, bad, -2.0], np.float32)
    tensor = torch.zeros(3)
    tensor.grad = torch.tensor(grads)
    torch.nn.utils.clip_grad_norm_([tensor], 1.0, norm_type)
    ours, _ = optim.clip_grad_norm(1.0, norm_type=norm_type).update(
        jnp.asarray(grads), optax.EmptyState()
    )
    np.testing.assert_array_equal(ours, np.asarray(tensor.grad))


def test_clipping_nothing_is_nothing() -> None:
    assert optim.clip_grad_norm(1.0).update({}, optax.EmptyState())[0] == {}


def test_chain_with_clipping_is_torchs(x64: None) -> None:
    params, grads = draw_run(6)
    optimizer = optax.chain(optim.clip_grad_norm(0.5), optim.adam(0.1))
    ours, _ = jax.jit(functools.partial(run_ours, optimizer))(params, grads)
    theirs, _ = run_torch(
        lambda tensors: torch.optim.Adam(tensors, lr=0.1),
        params,
        grads,
        before_step=lambda tensors: torch.nn.utils.clip_grad_norm_(tensors, 0.5),
    )
    assert_follows(ours, theirs)


FALLING = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5)
ONE_CYCLE = functools.partial(
    torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=STEPS + 1
)


@pytest.mark.parametrize(
    ("name", "numbers", "scheduler"),
    [
        ("sgd", {"momentum": 0.9}, FALLING),
        ("adamw", {}, FALLING),
        ("rmsprop", {"momentum": 0.9}, FALLING),
        ("adagrad", {"lr_decay": 0.1}, FALLING),
        ("sgd", {"momentum": 0.9, "dampening": 0.2}, ONE_CYCLE),
        ("nesterov", {"momentum": 0.9}, ONE_CYCLE),
        ("adam", {}, ONE_CYCLE),
        ("rmsprop", {"momentum": 0.9}, ONE_CYCLE),
    ],
)
def test_schedule_drives_it_as_torchs_scheduler_does(
    x64: None, name: str, numbers: Numbers, scheduler: functools.partial
) -> None:
    case = CASES[name]
    params, grads = draw_run(7)
    attached: list[Any] = []

    def build(tensors: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer = case.theirs(tensors, lr=0.1, **numbers)
        attached.append(scheduler(optimizer))
        return optimizer

    theirs = run_torch(build, params, grads, after_step=lambda _: attached[0].step())
    if scheduler is FALLING:
        driven = {**numbers, "lr": optim.step_lr(0.1, step_size=3, gamma=0.5)}
    else:
        cycle = optim.one_cycle_lr(0.1, total_steps=STEPS + 1)
        assert cycle.momentum is not None
        beta1 = {"betas": (cycle.momentum, 0.999)}
        driven = {**numbers, "lr": cycle.lr}
        driven |= beta1 if name == "adam" else {"momentum": cycle.momentum}
    ours = jax.jit(functools.partial(run_ours, case.ours(**driven)))(params, grads)
    assert_same_run(ours, theirs)


@pytest.mark.parametrize(
    ("name", "numbers", "says"),
    [
        ("sgd", {"lr": -0.1}, "lr must be 0 or more; got -0.1"),
        ("sgd", {"momentum": -1}, "momentum must be 0 or more"),
        ("sgd", {"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ("nesterov", {}, "nesterov needs a momentum above 0 and a dampening of 0"),
        ("nesterov", {"momentum": 0.9, "dampening": 0.1}, "nesterov needs"),
        ("adam", {"lr": math.nan}, "lr must be 0 or more; got nan"),
        ("adam", {"eps": -1.0}, "eps must be 0 or more"),
        ("adam", {"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ("adam", {"betas": (1.0, 0.9)}, r"betas\[0\] must be at least 0 and less than 1; got 1.0"),
        ("adam", {"betas": (0.9, -0.1)}, r"betas\[1\] must be at least 0"),
        ("adamw", {"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ("rmsprop", {"lr": -1.0}, "lr must be 0 or more"),
        ("rmsprop", {"alpha": -1.0}, "alpha must be 0 or more"),
        ("rmsprop", {"eps": -1.0}, "eps must be 0 or more"),
        ("rmsprop", {"momentum": -1.0}, "momentum must be 0 or more"),
        ("rmsprop", {"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ("adagrad", {"lr": -1.0}, "lr must be 0 or more"),
        ("adagrad", {"lr_decay": -1.0}, "lr_decay must be 0 or more"),
        ("adagrad", {"initial_accumulator_value": -1.0}, "initial_accumulator_value must be"),
        ("adagrad", {"eps": -1.0}, "eps must be 0 or more"),
        ("adagrad", {"weight_decay": -1.0}, "weight_decay must be 0 or more"),
    ],
)
def test_number_that_torch_refuses_is_refused(name: str, numbers: Numbers, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CASES[name].ours(**numbers)
    if not math.isnan(numbers.get("lr", 0)) or name != "sgd":
        with pytest.raises(ValueError, match=r"Invalid|requires"):
            CASES[name].theirs([torch.zeros(1)], **numbers)


def test_clipping_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="max_norm must be 0 or more; got -1"):
        optim.clip_grad_norm(-1.0)
    with pytest.raises(ValueError, match="norm_type must be above 0; got 0"):
        optim.clip_grad_norm(1.0, norm_type=0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
@pytest.mark.parametrize("decay", [0.1, jnp.zeros])
def test_decay_without_parameters_is_an_error(name: str, decay: Any) -> None:
    params = jnp.ones(2)
    number = decay if isinstance(decay, float) else decay(())
    optimizer = CASES[name].ours(weight_decay=number)
    with pytest.raises(ValueError, match="needs the parameters"):
        optimizer.update(params, optimizer.init(params))
    without = CASES[name].ours(weight_decay=0)
    without.update(params, without.init(params))


@pytest.mark.parametrize("name", ["nesterov", "adam", "rmsprop", "adagrad"])
def test_only_real_parameters(name: str) -> None:
    optimizer = CASES[name].ours(**({"momentum": 0.9} if name == "nesterov" else {}))
    for dtype in (jnp.complex64, jnp.int32):
        with pytest.raises(ValueError, match="real floating-point arrays; got"):
            optimizer.init({"w": jnp.ones(2, dtype)})
