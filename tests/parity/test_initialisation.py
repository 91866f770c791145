"""The distribution of initial parameters: equal ones pass, and the usual mistakes are named."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.nn import initializers
from jaxtyping import Array
from torch import nn

from jaxdnn import parity
from jaxdnn.parity.traps import TRAPS

INS, HIDDEN, OUTS = 24, 100, 100

Draw = Callable[[Array, tuple[int, ...]], Array]


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(INS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTS))


def torch_kernel(key: Array, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    bound = scale / math.sqrt(shape[0])
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def start(
    key: Array, kernel: Draw = torch_kernel, bias: Draw | None = None, split: bool = True
) -> Any:
    """By default as torch draws it."""
    params = {}
    keys = jax.random.split(key, 4) if split else [key] * 4
    for i, (name, ins, outs) in enumerate([("0", INS, HIDDEN), ("2", HIDDEN, OUTS)]):
        draw = bias or (lambda key, shape: torch_kernel(key, (ins, *shape))[0])  # noqa: B023
        params[name] = {
            "kernel": kernel(keys[2 * i], (ins, outs)),
            "bias": draw(keys[2 * i + 1], (outs,)),
        }
    return params


def check(init: Callable[[Array], Any], **given: Any) -> parity.Report:
    return parity.check_initialisation(given.pop("torch_init", module), init, **given)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_same_distribution_passes(seed: int) -> None:
    before = torch.get_rng_state()
    report = check(start, seed=seed)
    assert report.verdict == "pass", str(report)
    [tier] = report.tiers
    assert tier.precision == "draws"
    assert tier.steps >= 32
    assert set(tier.errors) == {f"start/{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}
    assert max(tier.errors.values()) < 0.05
    assert torch.equal(torch.get_rng_state(), before)


FAN_OUT = lambda *args: initializers.variance_scaling(1 / 3, "fan_out", "uniform")(*args)  # noqa: E731

MISTAKES: list[tuple[str | None, str, Callable[[Array], Any]]] = [
    ("init-lecun-normal", "0.weight", lambda key: start(key, initializers.lecun_normal())),
    ("init-zero-bias", "0.bias", lambda key: start(key, bias=lambda key, s: jnp.zeros(s))),
    ("init-key-reuse", "2.bias", lambda key: start(key, split=False)),
    ("init-key-reuse", "0.weight", lambda key: start(jax.random.key(0))),
    (None, "0.weight", lambda key: start(key, lambda k, s: torch_kernel(k, s, 0.95))),
    (None, "0.weight", lambda key: start(key, lambda k, s: torch_kernel(k, s) + 0.02)),
]

MORE: list[tuple[str | None, str, Callable[[Array], Any]]] = [
    ("init-kaiming-uniform", "0.weight", lambda key: start(key, initializers.kaiming_uniform())),
    ("init-glorot", "0.weight", lambda key: start(key, initializers.glorot_uniform())),
    ("init-fan-out", "0.weight", lambda key: start(key, FAN_OUT)),
    ("init-normal-std", "0.weight", lambda key: start(key, initializers.normal())),
    (None, "0.weight", lambda key: start(key, lambda k, s: torch_kernel(k, s, 1.05))),
    (None, "0.bias", lambda key: start(key, bias=lambda k, s: torch_kernel(k, (INS, *s), 0.95)[0])),
]


@pytest.mark.parametrize(
    ("trap", "tensor", "init"),
    [*MISTAKES, *(pytest.param(*row, marks=pytest.mark.slow) for row in MORE)],
)
def test_another_distribution_is_found_and_named(
    trap: str | None, tensor: str, init: Callable[[Array], Any]
) -> None:
    report = check(init)
    assert report.verdict == "fail", str(report)
    found = report.first_divergence
    assert found is not None
    assert found.phase == "start"
    assert report.trap == trap
    if trap != "init-key-reuse":
        assert found.tensor == tensor
        assert "standard deviation" in found.detail
    else:
        assert found.detail.startswith("holds the same numbers ")
    assert f"parts in draws step 0, start {found.tensor}" in " ".join(str(report).split())


def test_every_mistake_of_this_kind_is_in_the_table() -> None:
    assert {trap for trap, _, _ in [*MISTAKES, *MORE]} - {None} == {
        name for name, trap in TRAPS.items() if trap.kind == "initialisation"
    }


def test_constants_are_compared_exactly() -> None:
    norm = lambda: nn.Sequential(nn.BatchNorm1d(500))  # noqa: E731

    def init(key: Array, scale: float = 1.0) -> Any:
        return {"0": {"scale": jnp.full(500, scale), "bias": jnp.zeros(500)}}

    assert check(init, torch_init=norm).verdict == "pass"
    report = check(lambda key: init(key, 1.0 + 2e-7), torch_init=norm)
    assert report.verdict == "fail"


def test_parameters_that_do_not_correspond_are_refused() -> None:
    def wide(key: Array) -> Any:
        params = start(key)
        return {**params, "2": {**params["2"], "bias": jnp.zeros(OUTS + 1)}}

    with pytest.raises(ValueError, match=r"The parameters do not correspond: 2\.bias"):
        check(
            wide,
            to_torch=lambda p: {
                f"{i}.{n}": np.asarray(p[i][m]).T
                for i in ("0", "2")
                for n, m in (("weight", "kernel"), ("bias", "bias"))
            },
        )
