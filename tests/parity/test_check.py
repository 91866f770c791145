"""Verdicts on ports: what passes, what fails and where, and what proves nothing."""

import copy
import inspect
import random
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jaxtyping import Array
from torch import nn

from jaxdnn import losses, optim, parity
from jaxdnn.parity import Report, environment

Arrays = dict[str, np.ndarray]
Batches = list[tuple[np.ndarray, np.ndarray]]

DOUBLE = ("float64",)


def batches_of(steps: int = 5, rows: int = 4) -> Batches:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(steps, rows, 3)).astype(np.float32)
    y = generator.normal(size=(steps, rows, 2)).astype(np.float32)
    return list(zip(x, y, strict=True))


def network(between: nn.Module | None = None) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), between or nn.Tanh(), nn.Linear(4, 2))


def dense(params: dict[str, Array], x: Array) -> Array:
    return x @ params["kernel"] + params["bias"][None]


def apply(params: Any, x: Array, between: Callable[[Array], Array] = jnp.tanh) -> Array:
    return dense(params["2"], between(dense(params["0"], x)))


def arguments(module: nn.Module | None = None, **changed: Any) -> dict[str, Any]:
    """The arguments of `parity.check_port` for a right port, with changes."""
    module = network() if module is None else module
    return {
        "torch_module": module,
        "torch_loss": nn.MSELoss(),
        "torch_optimizer": torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        "apply": apply,
        "loss": losses.mse,
        "optimizer": optim.sgd(0.1, momentum=0.9),
        "batches": batches_of(),
        "precisions": DOUBLE,
        "samples": 8,
    } | changed


def check(module: nn.Module | None = None, **changed: Any) -> Report:
    return parity.check_port(**arguments(module, **changed))


def sgd(module: nn.Module, lr: Any = 0.1, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=lr, **settings)


# What is right passes.


def test_a_right_port_passes_in_both_precisions() -> None:
    report = check(precisions=("float64", "float32"))

    assert report.verdict == "pass"
    assert report.ok
    assert report.first_divergence is None
    assert (report.trap, report.mended, report.reasons, report.notes) == (None, None, (), ())
    double, single = report.tiers
    assert (double.precision, double.steps) == ("float64", 5)
    assert (single.precision, single.steps) == ("float32", 10)
    assert single.horizon is None
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert set(double.errors) == {
        "batch/x",
        "batch/y",
        "output",
        "loss",
        *(f"grad/{name}" for name in names),
        *(f"optimizer/{name}/momentum_buffer" for name in names),
        *(f"param/{name}" for name in names),
    }
    assert set(double.errors) - set(single.errors) == {"batch/x", "batch/y"}
    assert set(double.movement) == set(names)
    assert 0 < max(double.errors.values()) < 1e-14
    assert max(double.movement.values()) < 1e-12


def test_steps_limits_how_many_are_compared() -> None:
    [tier] = check(steps=3).tiers
    assert tier.steps == 3


def test_single_precision_alone_decides_what_single_precision_shows() -> None:
    report = check(precisions=("float32",))
    assert report.verdict == "pass"
    assert [tier.precision for tier in report.tiers] == ["float32"]


def clipped(params: list[nn.Parameter]) -> None:
    nn.utils.clip_grad_norm_(params, 0.5)


def with_scheduler(steps_per_epoch: int = 1) -> dict[str, Any]:
    module = network()
    optimizer = sgd(module)
    return {
        "module": module,
        "torch_optimizer": optimizer,
        "torch_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
        "steps_per_epoch": steps_per_epoch,
    }


def decaying(gamma: float) -> dict[str, Any]:
    """The schedule of optax divides its count by the steps, in float32 unless the count is wide."""
    module = network()
    optimizer = sgd(module)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    return {"module": module, "torch_optimizer": optimizer, "torch_scheduler": scheduler}


def summed(every: int, rate: float) -> optax.GradientTransformation:
    inner = optax.chain(optax.scale(float(every)), optim.sgd(rate))
    steps = optax.MultiSteps(inner, every, accumulator_dtype=None)  # type: ignore[arg-type]
    return steps.gradient_transformation()


def plain(module: nn.Module | None = None, **changed: Any) -> dict[str, Any]:
    module = network() if module is None else module
    return {"module": module, "torch_optimizer": sgd(module), "optimizer": optim.sgd(0.1)} | changed


def adam(module: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    return {"module": module, "torch_optimizer": optimizer}


def embedding(optimizer: Any, *, sparse: bool = False, **settings: Any) -> dict[str, Any]:
    """Words of which a batch has a few."""
    module = nn.Embedding(12, 2, sparse=sparse)
    words = np.random.default_rng(0).integers(0, 12, (6, 4))
    return {
        "module": module,
        "torch_optimizer": torch.optim.SGD(module.parameters(), lr=0.1, **settings),
        "apply": lambda params, x: params["weight"][x],
        "from_torch": dict,
        "optimizer": optimizer,
        "batches": [(x, y) for x, (_, y) in zip(words, batches_of(6), strict=True)],
    }


def adafactored() -> dict[str, Any]:
    """One matrix, whose second moments are kept as a row and a column."""
    module = nn.Linear(3, 2, bias=False)

    def init(params: Any) -> Any:
        zeros = jnp.zeros_like(params["weight"])
        return zeros[:, :1], zeros[:1], jnp.zeros((), jnp.int32)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        rows, columns, count = state
        count, w, g = count + 1, params["weight"], updates["weight"]
        t = count.astype(g.dtype)
        rate = jnp.minimum(0.01, 1 / jnp.sqrt(t)) * jnp.maximum(1e-3, jnp.sqrt(jnp.mean(w * w)))
        rows += t**-0.8 * (jnp.mean(g * g, 1, keepdims=True) - rows)
        columns += t**-0.8 * (jnp.mean(g * g, 0, keepdims=True) - columns)
        tiny = float(jnp.finfo(g.dtype).eps)
        variance = rows * columns / jnp.maximum(jnp.mean(rows, 0, keepdims=True), tiny)
        step = g / jnp.sqrt(jnp.maximum(variance, tiny**2))
        step /= jnp.maximum(1.0, jnp.sqrt(jnp.mean(step * step)))
        return {"weight": -rate * step}, (rows, columns, count)

    return {
        "module": module,
        "torch_optimizer": torch.optim.Adafactor(module.parameters()),
        "apply": lambda params, x: x @ params["weight"].T,
        "from_torch": dict,
        "optimizer": optax.GradientTransformation(init, update),
    }


RIGHT: dict[str, Callable[[], dict[str, Any]]] = {
    "accumulation": lambda: plain(
        batches=batches_of(6), accumulate=2, optimizer=summed(2, 0.1), steps=6
    ),
    "scheduler": lambda: (
        with_scheduler() | {"optimizer": optim.sgd(optim.step_lr(0.1, step_size=2, gamma=0.5))}
    ),
    "scheduler by epoch": lambda: (
        with_scheduler(3)
        | {
            "batches": batches_of(12),
            "optimizer": optim.sgd(optim.per_epoch(optim.step_lr(0.1, step_size=2, gamma=0.5), 3)),
        }
    ),
    "schedule of optax": lambda: (
        decaying(0.9 ** (1 / 3)) | {"optimizer": optax.sgd(optax.exponential_decay(0.1, 3, 0.9))}
    ),
    "clipping": lambda: plain(
        torch_before_step=clipped,
        optimizer=optax.chain(optim.clip_grad_norm(0.5), optim.sgd(0.1)),
    ),
    "the port's own batches": lambda: {"port_batches": batches_of()},
    "a learning rate in a tensor": lambda: plain(
        module := network(), torch_optimizer=sgd(module, torch.tensor(0.1))
    ),
    "a sparse gradient": lambda: embedding(optim.sgd(0.1), sparse=True),
    "Adafactor": lambda: adafactored() | {"precisions": ("float64", "float32")},
    "optax.sgd": lambda: {"optimizer": optax.sgd(0.1, momentum=0.9)},
    "another layout": lambda: {
        "from_torch": lambda t: {"all": [t["0.weight"].T, t["0.bias"], t["2.weight"], t["2.bias"]]},
        "apply": lambda p, x: (
            jnp.tanh(x @ p["all"][0] + p["all"][1][None]) @ p["all"][2].T + p["all"][3][None]
        ),
    },
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_passes(name: str) -> None:
    report = check(**RIGHT[name]())
    assert report.verdict == "pass", str(report)


def test_adam_of_optax_passes_in_single_precision_with_a_note() -> None:
    report = check(
        **adam(network()), optimizer=optax.adam(0.01), precisions=("float64", "float32"), samples=20
    )
    assert report.verdict == "pass", str(report)
    [note] = report.notes
    assert note.startswith("optax computes some scalars of the update (a bias correction, a schedu")


def chaotic() -> dict[str, Any]:
    """Steps so large that the loss goes up and down, and differences in the last place grow."""
    module = network()
    with torch.no_grad():
        next(module.parameters()).mul_(4)
    return {
        "module": module,
        "torch_optimizer": sgd(module, 1.0),
        "optimizer": optim.sgd(1.0),
        "batches": batches_of(1, 16) * 100,
    }


def test_a_run_in_which_rounding_grows_is_resynchronised() -> None:
    report = check(**chaotic())
    assert report.verdict == "pass", str(report)
    [tier] = report.tiers
    assert tier.resynchronised
    assert tier.steps == 100
    assert max(tier.errors.values()) < 1e-7
    assert f"torch's own twins parted by rounding {len(tier.resynchronised)} time" in str(report)


def test_a_mistake_in_a_run_in_which_rounding_grows_is_found() -> None:
    """A step that is wrong from a state on is not excused."""

    def from_70(count: Array) -> Array:
        return jnp.where(count < 70, 1.0, 1.0 + 1e-9)

    given: dict[str, Any] = chaotic() | {"optimizer": optim.sgd(from_70)}
    report = check(**given)
    assert report.verdict == "fail"
    assert report.first_divergence is not None
    # As soon as it exceeds what rounding has made since the run was last set back.
    assert 70 <= report.first_divergence.step < 75


# What is wrong is found where it is.


def test_a_mistake_in_the_network_is_found_at_the_submodule() -> None:
    gelu = lambda x: jax.nn.gelu(x, approximate=True)  # noqa: E731

    def activations(params: Any, x: Array) -> dict[str, Array]:
        first = dense(params["0"], x)
        return {"0": first, "1": gelu(first), "2": apply(params, x, gelu)}

    module = network(nn.GELU())
    report = check(module, apply=lambda p, x: apply(p, x, gelu), activations=activations)

    assert report.verdict == "fail"
    divergence = report.first_divergence
    assert divergence is not None
    assert (divergence.step, divergence.phase, divergence.tensor) == (0, "activation", "1")
    assert report.trap == "gelu-tanh"
    assert report.tiers[0].errors["activation/0"] < 1e-14
    with torch.no_grad():
        exact = module[:2](torch.tensor(batches_of()[0][0]))[divergence.index].item()
    assert divergence.expected == pytest.approx(exact, abs=1e-6)
    assert divergence.actual != divergence.expected


def shuffled() -> Batches:
    order = np.random.default_rng(1).permutation(20)
    x, y = (np.concatenate(part)[order] for part in zip(*batches_of(), strict=True))
    return list(zip(np.split(x, 5), np.split(y, 5), strict=True))


def other_label() -> Batches:
    batches = batches_of()
    batches[3][1][2, 1] += 1e-3
    return batches


@pytest.mark.parametrize(
    ("batches", "step", "tensor", "index", "trap"),
    [
        (shuffled(), 0, "x", ..., "batch-order"),
        (batches_of()[:2] + batches_of()[:1:-1], 2, "x", ..., "batch-order"),
        (batches_of()[:4], 4, "number of batches", (), "last-batch"),
        ([*batches_of()[:4], tuple(a[:3] for a in batches_of()[4])], 4, "x", (), "last-batch"),
        (other_label(), 3, "y", (2, 1), None),
    ],
    ids=["shuffled", "later ones in another order", "dropped", "cut short", "a label"],
)
def test_data_that_differ_are_found_in_the_batch(
    batches: Batches, step: int, tensor: str, index: Any, trap: str | None
) -> None:
    report = check(port_batches=batches)
    assert report.verdict == "fail"
    divergence = report.first_divergence
    assert divergence is not None
    assert (divergence.phase, divergence.step, divergence.tensor) == ("batch", step, tensor)
    assert index is ... or divergence.index == index
    assert report.trap == trap


def narrow(params: Any, x: Array) -> Array:
    return apply(params, x.astype(jnp.bfloat16).astype(x.dtype))


def test_reduced_precision_is_named() -> None:
    both = check(apply=narrow, precisions=("float64", "float32"))
    assert (both.verdict, both.trap) == ("fail", "reduced-precision")
    assert both.first_divergence is not None
    assert both.first_divergence.phase == "output"
    # In float64, the mathematics is right; that alone does not say that float32 is.
    double = check(apply=narrow)
    assert double.verdict == "inconclusive"
    assert "the port computes in bfloat16" in double.reasons[0]


def test_float32_inside_a_port_that_is_given_float64_is_no_mistake() -> None:
    report = check(
        apply=lambda p, x: apply(p, x.astype(jnp.float32), lambda h: jnp.tanh(jnp.float32(h))),
        precisions=("float64", "float32"),
    )
    assert report.verdict == "pass", str(report)
    assert report.tiers[0].errors["output"] < 1e-14


HAND_REDUCED = {
    "l1_loss": losses.l1,
    "mse_loss": losses.mse,
    "smooth_l1_loss": losses.smooth_l1,
    "huber_loss": losses.huber,
}


@pytest.mark.parametrize("name", HAND_REDUCED)
def test_a_loss_that_torch_reduces_by_hand_gets_no_name(name: str) -> None:
    """A mean over examples instead of a sum over them, or anything else, is not in the catalogue.

    What torch calls does not say what it makes of the result.
    """
    each = getattr(nn.functional, name)
    report = check(
        torch_loss=lambda o, y: each(o, y, reduction="none").mean(1).sum(), loss=HAND_REDUCED[name]
    )
    assert (report.verdict, report.traps, report.mended) == ("fail", (), None)
    assert report.first_divergence is not None
    assert report.first_divergence.phase == "loss"


def undecayed() -> dict[str, Any]:
    """A bias before a batch normalisation, which torch decays and the port does not."""
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))

    def apply(params: Any, x: Array) -> Array:
        hidden = x @ params["0.weight"].T + params["0.bias"][None]
        centered = hidden - hidden.mean(0, keepdims=True)
        scale = jnp.sqrt((centered**2).mean(0, keepdims=True) + 1e-5)
        return centered / scale * params["1.weight"][None] + params["1.bias"][None]

    decay = optax.masked(
        optax.add_decayed_weights(0.01),
        {"0.weight": True, "0.bias": False, "1.weight": True, "1.bias": True},
    )
    return {
        "module": module,
        "torch_optimizer": sgd(module, weight_decay=0.01),
        "apply": apply,
        "from_torch": dict,
        "optimizer": optax.chain(decay, optax.sgd(0.1)),
    }


def lazy() -> dict[str, Any]:
    """Rows of an embedding that no word touches keep their momentum in torch alone."""
    inner = optax.sgd(0.1, momentum=0.9)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        moved: Any
        moved, state = inner.update(updates, state, params)
        return {"weight": moved["weight"] * (updates["weight"] != 0)}, state

    return embedding(optax.GradientTransformation(inner.init, update), momentum=0.9)


@pytest.mark.parametrize("wrong", [undecayed, lazy])
def test_a_mistake_where_there_is_no_gradient_gets_no_name(
    wrong: Callable[[], dict[str, Any]],
) -> None:
    """Where there is one, many a rule does what torch does; that explains nothing."""
    report = check(**wrong())
    assert (report.verdict, report.traps) == ("fail", ())


def test_what_the_output_alone_depends_on_may_be_noise() -> None:
    module = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    batches = [(x, np.array(i % 4)) for i, (x, _) in enumerate(batches_of(6))]
    report = check(
        module,
        torch_optimizer=torch.optim.Adam(module.parameters(), lr=0.01),
        torch_loss=lambda scores, y: nn.functional.cross_entropy(scores, y.long()),
        apply=lambda params, x: (x @ params["0.weight"].T + params["0.bias"][None])[:, 0],
        loss=lambda scores, y: losses.cross_entropy(scores[None], y[None]),
        optimizer=optax.adam(0.01),
        from_torch=dict,
        batches=batches,
    )
    assert report.verdict == "pass", str(report)
    assert any(note.startswith("the gradient of 0.bias is 0 but for") for note in report.notes)


def test_a_run_that_is_not_finite_proves_nothing() -> None:
    batches = batches_of()
    batches[2][0][0, 0] = np.nan
    report = check(batches=batches, precisions=("float64", "float32"))
    assert report.verdict == "inconclusive", str(report)
    assert report.reasons[0].startswith("torch's loss is not finite")


@pytest.mark.parametrize("what", ["output", "schedule"])
def test_an_unknown_mistake_beside_a_schedule_of_optax_gets_no_name(what: str) -> None:
    """Its schedules compute in float32, which explains nothing."""
    module = network()
    optimizer = sgd(module, 0.05)
    shape = lambda t: t / 5 if t < 5 else (1 + np.cos(np.pi * (t - 5) / 19)) / 2  # noqa: E731
    start = 0.01 if what == "schedule" else 0.0
    schedule = optax.warmup_cosine_decay_schedule(start, 0.05, 5, 24)
    factor = 1.01 if what == "output" else 1.0
    report = check(
        module,
        torch_optimizer=optimizer,
        torch_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, shape),
        optimizer=optax.sgd(schedule),
        apply=lambda p, x: factor * apply(p, x),
        precisions=("float64", "float32"),
    )
    assert (report.verdict, report.traps) == ("fail", ())


def test_a_frozen_layer_that_the_port_trains_is_named() -> None:
    module = network()
    module[0].requires_grad_(False)
    report = check(
        module,
        torch_optimizer=torch.optim.AdamW(module.parameters(), lr=0.01),
        optimizer=optax.adamw(0.01, weight_decay=0.01),
    )
    assert (report.verdict, report.traps) == ("fail", ("frozen-parameter",))
    assert (report.mended or "").startswith("the two agree over 5 steps")


def test_several_mistakes_are_named_in_the_order_in_which_they_show() -> None:
    module = network(nn.GELU())
    report = check(
        module,
        torch_optimizer=torch.optim.AdamW(module.parameters(), lr=0.01),
        apply=lambda p, x: apply(p, x, lambda h: jax.nn.gelu(h, approximate=True)),
        loss=lambda o, y: losses.mse(o, y) / 2,
        optimizer=optax.adamw(0.01),
    )
    assert report.traps == ("gelu-tanh", "mse-half", "adamw-default-decay")
    assert "agree over 5 steps" in (report.mended or "")
    # What parts in the same step is listed, the first of it first.
    assert [found.phase for found in report.tiers[0].differing[:3]] == ["output", "loss", "grad"]


def test_the_search_for_a_mistake_can_be_limited() -> None:
    wrong: dict[str, Any] = {"loss": lambda o, y: losses.mse(o, y) / 2}
    assert check(**wrong).trap == "mse-half"
    assert check(**wrong, name=False).trap is None
    unfinished = check(network(nn.GELU()), apply=lambda p, x: apply(p, x, lambda h: h), name=1e-9)
    assert unfinished.trap is None
    assert unfinished.notes == ("the search for the mistake was ended after 1e-09 s",)


def test_a_parameter_that_torch_skips_is_named() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare = network(), nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

    module = Spare()

    def spared(params: Any, x: Array) -> Array:
        return apply({"0": params["net.0"], "2": params["net.2"]}, x)

    def from_torch(tensors: Arrays) -> Any:
        weights = {
            f"net.{i}": {"kernel": tensors[f"net.{i}.weight"].T, "bias": tensors[f"net.{i}.bias"]}
            for i in (0, 2)
        }
        return weights | {"spare": tensors["spare"]}

    decayed = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1))
    report = check(
        module,
        torch_optimizer=sgd(module, weight_decay=0.1),
        apply=spared,
        from_torch=from_torch,
        optimizer=decayed,
    )
    assert (report.verdict, report.trap) == ("fail", "unused-parameter")


def test_assert_port_shows_the_report() -> None:
    parity.assert_port(**arguments())
    wrong = arguments(port_batches=shuffled())
    with pytest.raises(AssertionError) as raised:
        parity.assert_port(**wrong)
    said = str(raised.value)
    assert said.startswith("the port does not pass\nFAIL\nprecision")
    assert "batch-order" in said
    with pytest.raises(AssertionError, match="INCONCLUSIVE"):
        parity.assert_port(**arguments(steps=1))


# What proves nothing does not pass.


class Forward(nn.Module):
    """A network given as a function of its parameters."""

    def __init__(self, forward: Callable[..., torch.Tensor], **parameters: torch.Tensor) -> None:
        super().__init__()
        self.named = nn.ParameterDict(parameters)
        self.function = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.named, x)


def unlayered(**changed: Any) -> Callable[[Arrays], Any]:
    """A ``from_torch`` for the names of `Forward`."""
    return lambda tensors: {k.removeprefix("named."): v for k, v in tensors.items()} | changed


def no_learning() -> dict[str, Any]:
    module = network()
    return {"module": module, "torch_optimizer": sgd(module, 0.0), "optimizer": optim.sgd(0.0)}


def dead_layer() -> dict[str, Any]:
    module = network(nn.ReLU())
    with torch.no_grad():
        module.get_parameter("0.bias").fill_(-100)
    return plain(module, apply=lambda p, x: apply(p, x, jax.nn.relu))


def zero_head() -> dict[str, Any]:
    module = network()
    with torch.no_grad():
        module.get_parameter("2.weight").zero_()
    module[2].weight.requires_grad_(False)
    fixed = lambda p: {**p, "2": {**p["2"], "kernel": jax.lax.stop_gradient(p["2"]["kernel"])}}  # noqa: E731
    return plain(module, apply=lambda p, x: apply(fixed(p), x))


def constant_output() -> dict[str, Any]:
    """A softmax over one class."""
    module = nn.Sequential(nn.Linear(3, 1), nn.Softmax(1))
    return plain(
        module,
        apply=lambda p, x: jax.nn.softmax(dense(p["0"], x), axis=1),
        batches=[(x, y[:, :1]) for x, y in batches_of()],
    )


def ignored_input() -> dict[str, Any]:
    module = Forward(lambda p, x: p["a"].expand(len(x), 2), a=torch.tensor([1.0, 2.0]))
    return plain(
        module,
        from_torch=unlayered(),
        apply=lambda p, x: jnp.tile(p["a"][None], (len(x), 1)),
    )


def linear(**spare: torch.Tensor) -> Forward:
    return Forward(lambda p, x: x @ p["w"], w=torch.ones(3, 2), **spare)


def product(params: dict[str, Array], x: Array) -> Array:
    return x @ params["w"]


def dropped_parameter() -> dict[str, Any]:
    return plain(
        linear(spare=torch.ones(2)),
        from_torch=lambda tensors: {"w": tensors["named.w"]},
        apply=product,
    )


def extra_leaf() -> dict[str, Any]:
    return plain(linear(), from_torch=unlayered(extra=np.zeros(2)), apply=product)


def constant_loss() -> dict[str, Any]:
    return plain(
        torch_loss=lambda output, target: (output - output.detach()).sum() + target.numel(),
        loss=lambda output, target: jnp.sum(output - jax.lax.stop_gradient(output)) + target.size,
    )


def normalised(params: Any, x: Array) -> tuple[Array, Array, Array]:
    """A batch normalisation as torch trains it, with the batch's mean and unbiased variance."""
    first = x @ params["0"]["kernel"]
    mean, variance = jnp.mean(first, 0), jnp.var(first, 0)
    scaled = (first - mean[None]) / jnp.sqrt(variance + 1e-5)[None]
    output = scaled * params["1"]["scale"][None] + params["1"]["bias"][None]
    return output @ params["2"]["kernel"], mean, variance * len(x) / (len(x) - 1)


def batch_norm(**changed: Any) -> dict[str, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False)
        )
    return plain(module, apply=lambda p, x: normalised(p, x)[0]) | changed


def stateful(
    params: Any, buffers: dict[str, Array], x: Array, momentum: float = 0.1
) -> tuple[Array, dict[str, Array]]:
    output, mean, variance = normalised(params, x)
    now = {"1.running_mean": mean, "1.running_var": variance}
    return output, {k: (1 - momentum) * v + momentum * now[k] for k, v in buffers.items()}


def not_a_number() -> dict[str, Any]:
    batches = batches_of()
    batches[0][0][0, 0] = np.nan
    return plain(batches=batches)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (no_learning, "0.weight, 0.bias, 2.weight, 2.bias never moved; is the learning rate 0?"),
        (dead_layer, "the gradient of 0.weight, 0.bias, 2.weight was 0 in every step"),
        (zero_head, "the gradient of 0.weight, 0.bias was 0 in every step"),
        (constant_output, "the gradient of 0.weight, 0.bias was 0 in every step"),
        (ignored_input, "the port's output does not depend on its input"),
        (dropped_parameter, "what torch does to named.spare was not compared"),
        (extra_leaf, "what the port does to its extra was not compared"),
        (lambda: plain(steps=1), "one step does not show what the optimiser carries on"),
        (constant_loss, "the loss was the same in every step"),
        (batch_norm, "torch changes the buffers 1.running_mean, 1.running_var, which were not"),
        (not_a_number, "torch's loss is not finite"),
    ],
)
def test_agreement_that_means_nothing_is_inconclusive(
    case: Callable[[], dict[str, Any]], says: str
) -> None:
    report = check(**case())
    assert report.verdict == "inconclusive", str(report)
    assert not report.ok
    assert report.first_divergence is None
    assert any(reason.startswith(says) for reason in report.reasons), report.reasons
    assert " ".join(says.split()) in " ".join(str(report).split())


def test_buffers_that_are_returned_are_compared() -> None:
    right = check(**batch_norm(apply=stateful, stateful=True))
    assert right.verdict == "pass", str(right)
    assert {"buffer/1.running_mean", "buffer/1.running_var"} <= right.tiers[0].errors.keys()

    def other(params: Any, buffers: dict[str, Array], x: Array) -> tuple[Array, dict[str, Array]]:
        return stateful(params, buffers, x, momentum=0.9)

    wrong = check(**batch_norm(apply=other, stateful=True))
    assert wrong.first_divergence is not None
    assert (wrong.first_divergence.phase, wrong.trap) == ("buffer", "batch-norm-momentum")


def test_a_compiler_that_is_wrong_proves_nothing_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "compiler_checks", lambda: ("the compiler cannot add",))
    right = check()
    assert (right.verdict, right.reasons) == ("inconclusive", ("the compiler cannot add",))
    assert right.first_divergence is None
    wrong = check(loss=lambda output, target: losses.mse(output, target) / 2)
    assert (wrong.verdict, wrong.trap) == ("fail", "mse-half")
    assert wrong.notes == ("the compiler cannot add",)
    # In float32, the compiler may be the cause.
    single = check(apply=narrow, precisions=("float64", "float32"))
    assert (single.verdict, single.reasons) == ("inconclusive", ("the compiler cannot add",))
    assert (single.tiers[1].first_divergence is None, single.trap) == (False, "reduced-precision")
    for report in (right, wrong, single):
        assert "the compiler cannot add" in str(report)


# What was given is left as it was.


def settings() -> dict[str, Any]:
    """Every setting that a comparison could leave changed.

    Not Python's random state: beartype draws from it to choose what it looks at.
    """
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": [
            part if isinstance(part, str) else np.asarray(part).tobytes()
            for part in np.random.get_state()  # noqa: NPY002
        ],
        "dtype": torch.get_default_dtype(),
        "torch products": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "x64": jax.config.jax_enable_x64,  # type: ignore[attr-defined]
        "products": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
        "errors": np.geterr(),
    }


def contents(module: nn.Module) -> dict[str, Any]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    grads = [(name, p.grad) for name, p in module.named_parameters()]
    return {
        "tensors": [(name, id(t), t.dtype, t.detach().numpy().tobytes()) for name, t in tensors],
        "grads": [(name, None if g is None else (id(g), g.numpy().tobytes())) for name, g in grads],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "training": [m.training for m in module.modules()],
        "hooks": [len(m._forward_hooks) for m in module.modules()],
    }


def restless(params: list[nn.Parameter]) -> None:
    """Clips, and uses every generator."""
    torch.rand(3)
    np.random.random()  # noqa: NPY002
    random.random()
    clipped(params)


@pytest.mark.parametrize(("ends", "x64"), [("pass", True), ("fail", False), ("raise", True)])
def test_everything_is_left_as_it_was(ends: str, x64: bool) -> None:
    given = batch_norm(apply=stateful, stateful=True)
    module: nn.Sequential = given.pop("module")
    for param in module.parameters():
        param.grad = torch.full_like(param, 3.0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.25, 0.75]))
    rate = optim.step_lr(0.01, step_size=2, gamma=0.5)

    def raising(*args: Any) -> Any:
        raise ZeroDivisionError("in the port")

    given |= {
        "torch_loss": loss,
        "torch_optimizer": optimizer,
        "torch_scheduler": scheduler,
        "torch_before_step": restless,
        "loss": lambda o, y: losses.cross_entropy(o, y, weight=jnp.array([0.25, 0.75], o.dtype)),
        "optimizer": optax.chain(optim.clip_grad_norm(0.5), optim.adam(rate, amsgrad=True)),
        "batches": [(x, (y[:, 0] > 0).astype(np.int64)) for x, y in batches_of()],
        "precisions": ("float64", "float32"),
    }
    given |= {"fail": {"port_batches": given["batches"][::-1]}, "raise": {"apply": raising}}.get(
        ends, {}
    )

    def everything() -> list[Any]:
        kept = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
        return [settings(), contents(module), contents(loss), kept, len(optimizer.state)]

    with jax.enable_x64(x64), jax.default_matmul_precision("bfloat16"):
        before = everything()
        if ends == "raise":
            with pytest.raises(ZeroDivisionError):
                check(module, **given)
        else:
            report = check(module, **given)
            assert report.verdict == ends, str(report)
        assert everything() == before


@pytest.mark.parametrize("x64", [False, True])
def test_each_precision_is_itself_whatever_the_caller_has_set(x64: bool) -> None:
    seen = set()

    def spying(params: Any, x: Array) -> Array:
        types = {leaf.dtype.name for leaf in jax.tree.leaves((params, x))}
        products = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        seen.add((*types, jnp.result_type(float).name, products))
        return apply(params, x)

    with jax.enable_x64(x64):
        report = check(apply=spying, precisions=("float64", "float32"))
        assert jnp.result_type(float).name == ("float64" if x64 else "float32")
    assert report.verdict == "pass", str(report)
    assert seen == {(name, name, "highest") for name in ("float64", "float32")}


# What cannot be compared is refused, in one sentence.


def used() -> dict[str, Any]:
    module = network()
    optimizer = sgd(module, momentum=0.9)
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"module": module, "torch_optimizer": optimizer}


def narrowing(tensors: Arrays) -> Any:
    return {
        i: {
            "kernel": tensors[f"{i}.weight"].T.astype(np.float32),
            "bias": tensors[f"{i}.bias"].astype(np.float32),
        }
        for i in ("0", "2")
    }


def two_outputs() -> dict[str, Any]:
    class Module(nn.Sequential):
        def forward(self, input: torch.Tensor) -> Any:  # noqa: A002 (torch's name)
            return super().forward(input), input

    return plain(
        Module(*network()),
        torch_loss=lambda o, y: ((o[0] - y) ** 2).mean(),
    )


def plateau() -> dict[str, Any]:
    module = network()
    optimizer = sgd(module)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return plain(module, torch_optimizer=optimizer, torch_scheduler=scheduler)


def complex_parameters() -> dict[str, Any]:
    module = network()
    module.register_parameter("w", nn.Parameter(torch.ones(2, dtype=torch.complex64)))
    return plain(module)


def trained_loss() -> dict[str, Any]:
    module, own = network(), nn.PReLU()
    optimizer = torch.optim.SGD([*module.parameters(), *own.parameters()], lr=0.1)
    return plain(
        module, torch_optimizer=optimizer, torch_loss=lambda o, y: ((own(o) - y) ** 2).mean()
    )


def counting() -> dict[str, Any]:
    calls = [0]

    def before_step(params: list[nn.Parameter]) -> None:
        calls[0] += 1
        for param in params:
            assert param.grad is not None
            param.grad *= calls[0]

    return {"torch_before_step": before_step}


def in_place(params: list[nn.Parameter]) -> None:
    params[0][0].mul_(1.0)


def fixed_carry(params: Any, x: Array) -> Array:
    """As a recurrent layer whose initial state is float32, whatever its inputs are."""
    total, _ = jax.lax.scan(lambda c, row: (c + jnp.sum(row), None), jnp.float32(0), x)
    return apply(params, x) + total


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "loss that is no scalar": (
        lambda: {"torch_loss": nn.MSELoss(reduction="none")},
        r"The loss must be a scalar; it has shape \(4, 2\)\.",
    ),
    "two outputs": (two_outputs, "The module must return one tensor"),
    "optimiser of another module": (
        lambda: {"torch_optimizer": sgd(network())},
        "The optimiser holds none of the module's parameters",
    ),
    "optimiser in use": (used, "The optimiser has taken steps already"),
    "scheduler of another optimiser": (
        lambda: {"torch_scheduler": with_scheduler()["torch_scheduler"]},
        "The scheduler belongs to another optimiser",
    ),
    "optimiser with a closure": (
        lambda: plain(module := network(), torch_optimizer=torch.optim.LBFGS(module.parameters())),
        "The optimiser cannot take a step without a closure",
    ),
    "no batches": (lambda: {"batches": []}, "There are no batches"),
    "several inputs": (
        lambda: {"batches": [((x, x), y) for x, y in batches_of()]},
        "The inputs of a batch must be one array, and so must its targets; got a tuple",
    ),
    "a module of several inputs": (
        lambda: plain(nn.Sequential(nn.Bilinear(3, 3, 2))),
        "The module cannot be called with the inputs of a batch",
    ),
    "several optimisers": (
        lambda: {"torch_optimizer": [sgd(network())]},
        r"torch_optimizer must be one torch\.optim\.Optimizer; got a list",
    ),
    "scheduler of a metric": (plateau, "A ReduceLROnPlateau scheduler is set by a metric"),
    "complex parameters": (complex_parameters, "must be real floating-point numbers; w are"),
    "a loss with a parameter": (trained_loss, "also trains tensors of shapes"),
    "a run with a counter outside": (counting, "The torch run cannot be repeated"),
    "a hook that fails": (
        lambda: {"torch_before_step": in_place},
        "torch_before_step, called with the list of parameters, fails",
    ),
    "a port that fixes float32": (
        lambda: {"apply": fixed_carry},
        "The port cannot be run in float64: it makes a float32 array",
    ),
    "activations of no submodule": (
        lambda: {"activations": lambda params, x: {"relu": x}},
        "activations names relu, which torch's module does not have; its submodules are 0, 1, 2",
    ),
    "batches of words": (
        lambda: {"batches": [(x, np.full(4, "a")) for x, _ in batches_of()]},
        "A batch must hold real numbers",
    ),
    "from_torch that narrows": (
        lambda: {"from_torch": narrowing},
        "from_torch makes float32 of float64 arrays; it must keep the type",
    ),
    "from_torch that scales": (
        lambda: {"from_torch": lambda t: {k: 0.5 * v for k, v in t.items()}},
        "from_torch changes the parameters' values",
    ),
    "from_torch that doubles": (
        lambda: {"from_torch": lambda t: {"a": t["0.bias"], "b": t["0.bias"]}},
        r"from_torch uses 0\.bias more than once\. Where torch ties two layers",
    ),
    "from_torch of an unknown tensor": (
        lambda: {"from_torch": lambda t: {"a": t["first.bias"]}},
        r"from_torch asks for 'first\.bias', which torch's module does not have; its parameters "
        r"are 0\.weight, 0\.bias, 2\.weight, 2\.bias",
    ),
    "a port's loss of each example": (
        lambda: {"loss": lambda output, y: (output - y) ** 2},
        r"The port's loss must be a scalar; it has shape \(4, 2\)\. Take its mean or its sum",
    ),
    "a network that is no module": (
        lambda: {"torch_module": jnp.tanh},
        r"torch_module must be a torch\.nn\.Module; got a ",
    ),
    "a class for a loss": (
        lambda: {"torch_loss": nn.MSELoss},
        r"torch_loss must be a function of output and target, or a module such as nn\.MSELoss\(\)",
    ),
    "a class for a scheduler": (
        lambda: {"torch_scheduler": torch.optim.lr_scheduler.StepLR},
        r"torch_scheduler must be a scheduler of torch\.optim\.lr_scheduler, .*; got a type\.",
    ),
    "a function for a scheduler": (
        lambda: {"torch_scheduler": lambda step: 0.1},
        "torch_scheduler must be a scheduler of .*; got a function",
    ),
    "a lazy module": (
        lambda: plain(module := nn.Sequential(nn.LazyLinear(2)), torch_optimizer=sgd(module)),
        r"0\.weight, 0\.bias have no shape yet; call the module once",
    ),
    "an output and a state": (
        lambda: plain(module := nn.GRU(3, 2), torch_optimizer=sgd(module)),
        "The module must return one tensor; it returns tuple",
    ),
    "a detached output": (
        lambda: {"torch_loss": lambda output, y: ((output.detach() - y) ** 2).mean()},
        "The loss depends on no parameter that requires a gradient",
    ),
    "activations in a list": (
        lambda: {"activations": lambda params, x: [x]},
        "The port's activations must be a mapping .*; it returns a list",
    ),
    "no float32 state": (
        lambda: {"samples": 0, "precisions": ("float64", "float32")},
        "samples must be a whole number, of at least 1 if float32 decides; got 0",
    ),
    "unknown precision": (
        lambda: {"precisions": ("float16",)},
        r"precisions must be of 'float64' and 'float32'; got \('float16',\)",
    ),
    "no precision": (lambda: {"precisions": ()}, "precisions must be of"),
    "no steps": (lambda: {"steps": 0}, "steps must be a whole number of at least 1; got 0"),
    "accumulation of none": (lambda: {"accumulate": 0}, "must be at least 1"),
    "epochs of no steps": (lambda: {"steps_per_epoch": 0}, "must be at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused(name: str) -> None:
    case, says = REFUSED[name]
    with pytest.raises(ValueError, match=says) as raised:
        check(**case())
    assert "\n" not in str(raised.value)


PARAMS = (
    r"params {'0': {'bias': float64\[4\], 'kernel': float64\[3, 4\]}, "
    r"'2': {'bias': float64\[2\], 'kernel': float64\[4, 2\]}}"
)

RAISING: dict[str, tuple[dict[str, Any], str]] = {
    "apply": ({"apply": lambda params, x: params["fc"]}, rf"{PARAMS}, x float64\[4, 3\]\."),
    "loss": (
        {"apply": lambda params, x: (x, 1), "loss": lambda output, y: jnp.mean(output - y)},
        r"output \(float64\[4, 3\], int\[\]\), target float64\[4, 2\]\.",
    ),
    "activations": (
        {"activations": lambda params, x: {"0": params["fc"]}},
        rf"{PARAMS}, x float64\[4, 3\]\.",
    ),
}


@pytest.mark.parametrize("function", RAISING)
def test_error_of_the_ports_functions_is_told_with_its_call(function: str) -> None:
    """The error may come from deep inside a library, and be about a wrong argument."""
    given, called_with = RAISING[function]
    with pytest.raises((KeyError, TypeError)) as raised:
        check(**given)
    note = "\n".join(raised.value.__notes__)
    says = f"raised in the port's {function}, which was called with {called_with}"
    assert re.search(says, note), note


def test_a_module_in_float64_passes() -> None:
    module = network().double()
    assert check(module).verdict == "pass"


def test_without_torch_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    given = arguments()
    hidden = [name for name in sys.modules if name.partition(".")[0] in ("reference_torch",)]
    for name in hidden:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"install jaxdnn\[torch\].*reference_torch.record") as e:
        parity.check_port(**given)
    assert "\n" not in str(e.value)


def clipping_to(largest: float) -> dict[str, Any]:
    return {"torch_before_step": lambda ps: nn.utils.clip_grad_norm_(ps, largest)}


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (lambda: clipping_to(1e3), "torch_before_step changed no gradient and no parameter"),
        (
            lambda: with_scheduler(20) | {"optimizer": optim.sgd(0.1)},
            "the scheduler changed nothing within these 5 steps",
        ),
    ],
)
def test_what_had_no_effect_is_noted(given: Callable[[], dict[str, Any]], note: str) -> None:
    """The port that leaves it out passes, so the report says that it was not put to the test."""
    report = check(**given(), steps=5)
    assert report.verdict == "pass"
    assert [said for said in report.notes if said.startswith(note)]


@pytest.mark.parametrize(("compared", "missing"), [("float64", "float32"), ("float32", "float64")])
def test_a_precision_that_was_not_compared_is_noted(compared: str, missing: str) -> None:
    [said] = check(precisions=(compared,)).notes
    assert said.startswith(f"{missing} was not compared")


@pytest.mark.parametrize(
    "given", [lambda: clipping_to(1e-3), lambda: with_scheduler(2) | {"optimizer": optim.sgd(0.1)}]
)
def test_what_had_an_effect_is_compared(given: Callable[[], dict[str, Any]]) -> None:
    report = check(**given(), steps=5)
    assert report.verdict == "fail"
    assert not report.notes


def test_error_in_single_precision_is_told_in_its_own_unit() -> None:
    """A multiple of torch's rounding error is no relative error."""

    def half(params: Any, x: Array) -> Array:
        if x.dtype == jnp.float64:
            return apply(params, x)
        return apply(jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(p.dtype), params), x)

    report = check(apply=half, precisions=("float32",))
    found = report.first_divergence
    assert found is not None
    assert f"{found.error:.1f} times torch's rounding error in float32" in str(found)
    assert "relative error" not in str(found)


def test_torchs_optimiser_for_the_port_is_refused() -> None:
    """Unwrapped, since the tests' own type check would come first."""
    with pytest.raises(ValueError, match="must be the port's, an optax transformation; got a SGD"):
        inspect.unwrap(parity.check_port)(**arguments(optimizer=sgd(network())))
