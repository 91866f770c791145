"""The catalogue of mistakes: each is reachable, and torch with a layer's computes what it says."""

import re
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.optim import lr_scheduler

from jaxdnn.parity import TRAPS
from jaxdnn.parity.mistakes import losses as loss_mistakes
from jaxdnn.parity.mistakes import optimizers as optimizer_mistakes
from jaxdnn.parity.traps import Kind
from reference_torch import TorchRun
from reference_torch.parity import mistakes
from reference_torch.parity.description import describe

CLASSES = {"weight": [1.0, 2.0], "ignore_index": -100, "reduction": "mean"}

LOSSES: list[tuple[str, dict[str, Any]]] = [
    *((name, {"reduction": r}) for name in loss_mistakes.NAMES for r in ("mean", "sum")),
    ("bce_with_logits", {"reduction": "mean", "pos_weight": [2.0]}),
    ("cross_entropy", CLASSES),
    ("cross_entropy", CLASSES | {"weight": None, "label_smoothing": 0.1}),
]

SGD, ADAM, ADAMW = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
RMSPROP, ADAGRAD = torch.optim.RMSprop, torch.optim.Adagrad

OPTIMIZERS: list[tuple[Any, dict[str, Any]]] = [
    (SGD, {"momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    (SGD, {"momentum": 0.9, "dampening": 0.1}),
    (ADAM, {"weight_decay": 0.1, "amsgrad": True}),
    (ADAMW, {}),
    (RMSPROP, {"momentum": 0.9, "weight_decay": 0.1}),
    (ADAGRAD, {"lr_decay": 0.1}),
]

SCHEDULES: list[Callable[[Any], Any]] = [
    lambda o: lr_scheduler.StepLR(o, 2),
    lambda o: lr_scheduler.CosineAnnealingLR(o, 5, eta_min=0.01),
    lambda o: lr_scheduler.LinearLR(o),
    lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=10),
]


def run(**changed: Any) -> TorchRun:
    module = nn.Linear(3, 2)
    optimizer = changed.pop("optimizer", SGD)(
        module.parameters(), lr=0.1, **changed.pop("given", {})
    )
    batches = [(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32))]
    if "schedule" in changed:
        changed["scheduler"] = changed.pop("schedule")(optimizer)
    return TorchRun(module, nn.MSELoss(), optimizer, batches, **changed)


RUNS: list[dict[str, Any]] = [
    *({"optimizer": optimizer, "given": given} for optimizer, given in OPTIMIZERS),
    *({"schedule": s, "given": {"momentum": 0.9}, "steps_per_epoch": 2} for s in SCHEDULES),
    {"before_step": lambda params: nn.utils.clip_grad_norm_(params, 1.0)},
    {"accumulate": 2},
]

ELSEWHERE = {"unused-parameter", "frozen-parameter"} | {
    name for name, trap in TRAPS.items() if trap.kind in ("initialisation", "data", "precision")
}
"""Those that `jaxdnn.parity.naming` and `initialisation` look for themselves; test_check.py and
test_initialisation.py make each of them."""


def test_every_mistake_is_looked_for_and_every_one_looked_for_is_explained() -> None:
    of_losses = {
        trap for name, settings in LOSSES for trap, _ in loss_mistakes.candidates(name, settings)
    }
    of_optimizers = {
        trap
        for changed in RUNS
        for trap, _ in optimizer_mistakes.candidates(describe(run(**changed)))
    }
    of_layers = set(mistakes.LAYER_MISTAKES)
    assert of_losses | of_optimizers | of_layers | ELSEWHERE == set(TRAPS)
    assert {TRAPS[name].kind for name in of_losses} == {"loss", "layer"}
    assert {name for name in of_losses if TRAPS[name].kind == "layer"} == {"abs-derivative"}
    assert {TRAPS[name].kind for name in of_optimizers} == {"optimizer", "schedule"}
    assert {TRAPS[name].kind for name in of_layers} == {"layer"}
    assert {name for name in ELSEWHERE if TRAPS[name].kind in ("data", "precision")} == {
        "batch-order",
        "last-batch",
        "reduced-precision",
    }


@pytest.mark.parametrize("name", TRAPS)
def test_an_entry_is_whole(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    trap = TRAPS[name]
    assert trap.kind in get_args(Kind)
    for text in trap:
        assert text.strip() == text != ""
        assert "\n" not in text
    assert trap.torch != trap.port
    assert not trap.explanation.endswith(".")


# What torch computes with a layer's mistake.


def draws(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


VALUES, SQUARE, VECTOR = draws(5, 4), draws(4, 4), draws(4)
MAPS, KERNEL = draws(2, 3, 5, 5), draws(3, 3, 3, 3)


def correlated(maps: Any, kernel: Any, padding: str = "VALID") -> np.ndarray:
    with jax.enable_x64(True):
        dims = ("NCHW", "OIHW", "NCHW")
        out = jax.lax.conv_general_dilated(
            jnp.asarray(maps), jnp.asarray(kernel), (1, 1), padding, dimension_numbers=dims
        )
    return np.asarray(out)


def running(momentum: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def after(x: torch.Tensor) -> torch.Tensor:
        mean, variance = torch.zeros(4).double(), torch.ones(4).double()
        F.batch_norm(x, mean, variance, training=True, momentum=momentum)
        return torch.stack([mean, variance])

    return after


def averaged(new: float, ddof: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.stack([new * x.mean(0), 1 - new + new * x.var(0, ddof=ddof)])


def windows(x: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, (2, 2), axis=(2, 3)).max((4, 5))


def gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


Mistake = tuple[str, torch.Tensor, Callable[..., torch.Tensor], Callable[..., Any]]

FORWARD: list[Mistake] = [
    ("gelu-tanh", VALUES, F.gelu, gelu),
    (
        "layer-norm-epsilon",
        1e-3 * VALUES,
        nn.LayerNorm(4).double(),
        lambda x: (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6),
    ),
    ("batch-norm-variance", VALUES, running(0.1), averaged(0.1, 0)),
    ("batch-norm-momentum", VALUES, running(0.1), averaged(0.9, 0)),
    ("batch-norm-momentum/1", VALUES, running(0.1), averaged(0.01, 0)),
    ("batch-norm-momentum/2", VALUES, running(0.1), averaged(0.9, 1)),
    ("batch-norm-momentum/3", VALUES, running(0.1), averaged(0.01, 1)),
    (
        "linear-transposed",
        VALUES,
        lambda x: F.linear(x, SQUARE, VECTOR),
        lambda x: x @ SQUARE.numpy() + VECTOR.numpy(),
    ),
    (
        "conv-layout",
        MAPS,
        lambda x: F.conv2d(x, KERNEL),
        lambda x: correlated(x, KERNEL.numpy().transpose(0, 1, 3, 2)),
    ),
    (
        "conv-layout/1",
        MAPS,
        lambda x: F.conv2d(x, KERNEL),
        lambda x: correlated(x, KERNEL.numpy().transpose(1, 0, 2, 3)),
    ),
    (
        "conv-flipped",
        MAPS,
        lambda x: F.conv2d(x, KERNEL),
        lambda x: correlated(x, KERNEL.numpy()[:, :, ::-1, ::-1]),
    ),
    ("conv-padding", MAPS, lambda x: F.conv2d(x, KERNEL), lambda x: correlated(x, KERNEL, "SAME")),
    ("max-pool-stride", MAPS, lambda x: F.max_pool2d(x, 2), windows),
    ("max-pool-stride", MAPS, nn.MaxPool2d(2, 2), windows),
    ("flatten-order", MAPS, nn.Flatten(), lambda x: x.transpose(0, 2, 3, 1).reshape(2, -1)),
    (
        "flatten-order",
        MAPS,
        lambda x: x.reshape(2, -1),
        lambda x: x.transpose(0, 2, 3, 1).reshape(2, -1),
    ),
    (
        "flatten-order",
        MAPS,
        lambda x: x.view(2, -1),
        lambda x: x.transpose(0, 2, 3, 1).reshape(2, -1),
    ),
    ("dropout-masks", VALUES, nn.Dropout(), lambda x: x),
    ("dropout-masks", MAPS, nn.Dropout2d(), lambda x: x),
    ("biased-variance", VALUES, lambda x: x.std(), np.std),
    ("biased-variance", VALUES, lambda x: torch.std(x, 1), lambda x: x.std(1)),
    ("biased-variance", VALUES, lambda x: torch.var(x, dim=0), lambda x: x.var(0)),
    ("biased-variance", VALUES, lambda x: x.var(0, True), lambda x: x.var(0)),
    (
        "biased-variance",
        VALUES,
        lambda x: x.std(dim=0, keepdim=True, unbiased=True),
        lambda x: x.std(0, keepdims=True),
    ),
]


@pytest.mark.parametrize(("name", "values", "function", "expected"), FORWARD)
def test_torch_with_a_mistake_computes_what_the_port_does(
    name: str,
    values: torch.Tensor,
    function: Callable[..., torch.Tensor],
    expected: Callable[..., Any],
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        right = function(values)
        with mistakes.made(name):
            wrong = function(values)
        after = function(values) if "dropout" not in name else right
    np.testing.assert_allclose(wrong.detach(), expected(values.numpy()), rtol=1e-12, atol=1e-14)
    assert right.shape != wrong.shape or not torch.allclose(right, wrong, rtol=1e-6, atol=0)
    assert torch.equal(after, right)


Derivative = tuple[str, list[float], Callable[..., torch.Tensor], Callable[..., Any]]

KINKS: list[Derivative] = [
    ("abs-derivative", [-1, 0, 2], torch.abs, jnp.abs),
    ("abs-derivative", [-1, 0, 2], lambda x: x.absolute(), jnp.abs),
    ("clamp-derivative", [-2, -1, 0, 1, 2], lambda x: x.clamp(-1, 1), lambda x: jnp.clip(x, -1, 1)),
    ("clamp-derivative", [-1, 0, 1], lambda x: x.clamp(0), lambda x: jnp.clip(x, 0)),
    ("clamp-derivative", [-1, 0, 1], lambda x: torch.clip(x, max=0), lambda x: jnp.clip(x, max=0)),
    ("clamp-derivative", [-1, 0, 1, 3], F.hardtanh, lambda x: jnp.clip(x, -1, 1)),
    ("norm-derivative", [0, 0, 0], torch.linalg.vector_norm, jnp.linalg.norm),
    ("norm-derivative", [0, 0, 0], torch.norm, jnp.linalg.norm),
    ("norm-derivative", [0, 0, 0], lambda x: x.norm(), jnp.linalg.norm),
    ("norm-derivative", [0, 0, 0], lambda x: torch.linalg.norm(x), jnp.linalg.norm),
    ("max-tie-derivative", [1, 2, 2, 0], lambda x: x.max(0).values, jnp.max),
    ("max-tie-derivative", [1, 2, 2, 0], lambda x: torch.max(x, dim=0)[0], jnp.max),
]


@pytest.mark.parametrize(("name", "values", "function", "ported"), KINKS)
def test_torch_with_a_mistake_differentiates_as_jax_does(
    name: str,
    values: list[float],
    function: Callable[..., torch.Tensor],
    ported: Callable[..., Any],
) -> None:
    def slope(mistake: str | None) -> tuple[float, np.ndarray]:
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        with mistakes.made(mistake):
            total = function(x).sum()
            total.backward()
        assert x.grad is not None
        return total.item(), x.grad.numpy()

    value, right = slope(None)
    wrong_value, wrong = slope(name)
    with jax.enable_x64(True):
        expected = jax.grad(lambda x: ported(x).sum())(jnp.array(values, float))
    np.testing.assert_array_equal(wrong, expected)
    assert wrong_value == value
    assert not np.array_equal(right, wrong)
    np.testing.assert_array_equal(slope(None)[1], right)


def test_all_layer_mistakes_are_in_the_tables() -> None:
    made = {name.partition("/")[0] for name, *_ in [*FORWARD, *KINKS]}
    assert made == set(mistakes.LAYER_MISTAKES)
    made_ways = {name for name, *_ in FORWARD} | {name for name, *_ in KINKS}
    called = {
        function: 1
        for mistake in mistakes.LAYER_MISTAKES.values()
        for function in mistake.functions
    }
    assert {way.partition("@")[0] for way in mistakes.ways(called)} == made_ways


def test_a_mistake_in_one_call_leaves_the_others() -> None:
    with mistakes.made("gelu-tanh@1"):
        first, second, third = F.gelu(VALUES), F.gelu(VALUES), F.gelu(VALUES)
    assert torch.equal(first, F.gelu(VALUES))
    assert torch.equal(second, F.gelu(VALUES, approximate="tanh"))
    assert torch.equal(third, first)


def test_what_a_network_does_not_call_is_not_tried() -> None:
    assert list(mistakes.ways({"relu": 3, "linear": 1})) == ["linear-transposed"]
