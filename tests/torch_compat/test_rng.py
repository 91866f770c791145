"""The same numbers as torch, drawn from the same stream."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, random_split

from jaxdnn import torch_compat
from jaxdnn.errors import ConfigError

pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors"),
    pytest.mark.filterwarnings("ignore:Length of split at index"),
]

FUSES = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
SEEDS = st.integers(0, 2**64 - 1)
SIZES = [0, 1, 15, 16, 17, 31, 33, 1000]


class Call(NamedTuple):
    ours: Callable[[torch_compat.Generator], object]
    theirs: Callable[[], object]


def layer(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in module.named_parameters()}


def split(n: int, lengths: Sequence[float]) -> list[torch.Tensor]:
    parts = random_split(range(n), lengths)  # pyright: ignore[reportArgumentType]
    return [torch.tensor(part.indices, dtype=torch.int64) for part in parts]


def loaded(n: int, *, shuffle: bool) -> torch.Tensor:
    samples: Any = range(n)
    loader = DataLoader(samples, batch_size=4, shuffle=shuffle)
    return torch.cat([torch.empty(0, dtype=torch.int64), *loader])


def left_after_the_first_batch(generator: torch.Generator | None = None) -> torch.Tensor:
    samples: Any = range(9)
    return next(iter(DataLoader(samples, batch_size=4, shuffle=True, generator=generator)))


CALLS = {
    "rand": Call(lambda g: g.rand(3, 5), lambda: torch.rand(3, 5)),
    "rand of no axes": Call(lambda g: g.rand(), lambda: torch.rand(())),
    "uniform": Call(
        lambda g: g.uniform(4, 9, low=-0.3, high=1.9),
        lambda: torch.empty(4, 9).uniform_(-0.3, 1.9),
    ),
    "uniform of one value": Call(
        lambda g: g.uniform(4, low=2, high=2), lambda: torch.empty(4).uniform_(2, 2)
    ),
    "uniform that rounds up to its bound": Call(
        lambda g: g.uniform(99, low=1.0, high=1.0 + 2**-22),
        lambda: torch.empty(99).uniform_(1.0, 1.0 + 2**-22),
    ),
    "randn, one by one": Call(lambda g: g.randn(3), lambda: torch.randn(3)),
    "randn of no axes": Call(lambda g: g.randn(), lambda: torch.randn(())),
    "randn, in blocks": Call(lambda g: g.randn(2, 10), lambda: torch.randn(2, 10)),
    "normal, one by one": Call(
        lambda g: g.normal(5, mean=-1.5, std=0.37), lambda: torch.normal(-1.5, 0.37, (5,))
    ),
    "normal, in blocks": Call(
        lambda g: g.normal(7, 7, mean=2, std=3), lambda: torch.empty(7, 7).normal_(2, 3)
    ),
    "normal without spread": Call(
        lambda g: g.normal(3, mean=0.1, std=0), lambda: torch.normal(0.1, 0.0, (3,))
    ),
    "randperm": Call(lambda g: g.randperm(11), lambda: torch.randperm(11)),
    "linear": Call(lambda g: g.linear(7, 3), lambda: layer(torch.nn.Linear(7, 3))),
    "linear without bias": Call(
        lambda g: g.linear(7, 3, bias=False), lambda: layer(torch.nn.Linear(7, 3, bias=False))
    ),
    "linear without inputs": Call(lambda g: g.linear(0, 3), lambda: layer(torch.nn.Linear(0, 3))),
    "conv2d": Call(lambda g: g.conv2d(2, 4, (3, 5)), lambda: layer(torch.nn.Conv2d(2, 4, (3, 5)))),
    "square conv2d without bias": Call(
        lambda g: g.conv2d(3, 2, 3, bias=False),
        lambda: layer(torch.nn.Conv2d(3, 2, 3, bias=False)),
    ),
    "split": Call(lambda g: g.random_split(10, [3, 0, 7]), lambda: split(10, [3, 0, 7])),
    "split of nothing": Call(lambda g: g.random_split(0, []), lambda: split(0, [])),
    "split in fractions": Call(
        lambda g: g.random_split(11, [0.5, 0.25, 0.25]), lambda: split(11, [0.5, 0.25, 0.25])
    ),
    "split in all and nothing": Call(lambda g: g.random_split(4, [1, 0]), lambda: split(4, [1, 0])),
    "pass": Call(lambda g: g.loader_order(9, shuffle=False), lambda: loaded(9, shuffle=False)),
    "shuffled pass with an explicit generator": Call(
        lambda g: g.loader_order(9, shuffle=True, explicit_generator=True)[:4],
        lambda: left_after_the_first_batch(torch.default_generator),
    ),
    "shuffled pass": Call(
        lambda g: g.loader_order(9, shuffle=True), lambda: loaded(9, shuffle=True)
    ),
    "pass over nothing": Call(
        lambda g: g.loader_order(0, shuffle=False), lambda: loaded(0, shuffle=False)
    ),
    "pass left early": Call(
        lambda g: g.loader_order(9, shuffle=True)[:4], left_after_the_first_batch
    ),
} | {
    f"randint({low}, {high})": Call(
        lambda g, low=low, high=high: g.randint(low, high, (2, 3)),
        lambda low=low, high=high: torch.randint(low, high, (2, 3)),
    )
    for low, high in [
        (4, 5),
        (-3, 7),
        (0, 2**28 - 1),
        (0, 2**28),
        (-5, 2**32),
        (-(2**63), 2**63 - 1),
    ]
}


def assert_same(actual: object, expected: object) -> None:
    """Down to the sign of a zero; where torch does not fuse, its floats are only near."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert list(actual) == list(expected)
        actual, expected = list(actual.values()), list(expected.values())
    if isinstance(expected, list):
        assert isinstance(actual, list)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other)
        return
    assert isinstance(actual, np.ndarray)
    assert isinstance(expected, torch.Tensor)
    theirs = expected.numpy()
    np.testing.assert_allclose(actual, theirs, rtol=1e-5, atol=1e-5, strict=True)
    if FUSES or actual.dtype.kind != "f":
        assert actual.tobytes() == theirs.tobytes()


def assert_same_stream(seed: int, calls: Sequence[Call]) -> None:
    generator = torch_compat.Generator(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for call in [*calls, CALLS["rand"]]:
            assert_same(call.ours(generator), call.theirs())


@pytest.mark.parametrize("name", CALLS)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_each_call(name: str, seed: int) -> None:
    assert_same_stream(seed, [CALLS[name]])


@given(seed=SEEDS, names=st.lists(st.sampled_from(sorted(CALLS)), max_size=12))
@settings(max_examples=20)
def test_calls_share_one_stream(seed: int, names: list[str]) -> None:
    assert_same_stream(seed, [CALLS[name] for name in names])


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, 2**64 - 1])
def test_seeds_at_the_ends(seed: int) -> None:
    assert_same_stream(seed, [])


@pytest.mark.parametrize("size", SIZES)
@given(seed=SEEDS)
@settings(max_examples=5)
def test_sizes(size: int, seed: int) -> None:
    assert_same_stream(
        seed,
        [
            Call(lambda g: g.rand(size), lambda: torch.rand(size)),
            Call(lambda g: g.randn(size), lambda: torch.randn(size)),
            Call(
                lambda g: g.normal(size, mean=0.1, std=0.7),
                lambda: torch.normal(0.1, 0.7, (size,)),
            ),
            Call(
                lambda g: g.uniform(size, low=-1, high=3),
                lambda: torch.empty(size).uniform_(-1, 3),
            ),
            Call(lambda g: g.randperm(size), lambda: torch.randperm(size)),
            Call(lambda g: g.randint(0, 9, (size,)), lambda: torch.randint(0, 9, (size,))),
            Call(lambda g: g.linear(size, 2), lambda: layer(torch.nn.Linear(size, 2))),
            Call(lambda g: g.linear(2, size), lambda: layer(torch.nn.Linear(2, size))),
        ],
    )


def test_second_normal_waits_through_other_draws() -> None:
    """Until a scalar call takes it; a call in blocks leaves it where it is."""
    names = ["randn of no axes", "rand", "randn, in blocks", "shuffled pass", "normal, one by one"]
    assert_same_stream(3, [CALLS[name] for name in names])
    generator = torch_compat.Generator(3)
    first = generator.randn(2)
    np.testing.assert_array_equal(torch_compat.Generator(3).randn(), first[0])
    assert generator.randn() != first[1]


def test_a_million_values() -> None:
    """As many as show every branch of the logarithm, the sine and the cosine."""
    assert_same_stream(
        5,
        [
            Call(lambda g: g.randn(2**20 + 7), lambda: torch.randn(2**20 + 7)),
            Call(lambda g: g.linear(784, 500), lambda: layer(torch.nn.Linear(784, 500))),
            Call(lambda g: g.randperm(60_000), lambda: torch.randperm(60_000)),
        ],
    )


@given(
    seed=SEEDS,
    n=st.integers(0, 60),
    shares=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
)
@example(seed=0, n=7, shares=[1, 6, 3, 3])
@settings(max_examples=20)
def test_fractions(seed: int, n: int, shares: list[int]) -> None:
    """Their floating-point sum is 1, just below it or, as in the example and refused, above it."""
    fractions = [share / sum(shares) for share in shares]
    call = Call(lambda g: g.random_split(n, fractions), lambda: split(n, fractions))
    if sum(fractions) > 1:
        with pytest.raises(ConfigError):
            call.ours(torch_compat.Generator(seed))
        with pytest.raises(ValueError, match="Sum of input lengths"):
            call.theirs()
    else:
        assert_same_stream(seed, [call])


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (
            lambda g: g.uniform(2, low=1, high=0),
            lambda: torch.empty(2).uniform_(1, 0),
            "uniform values from 1 to 0",
        ),
        (
            lambda g: g.uniform(2, low=-3e38, high=3e38),
            lambda: torch.empty(2).uniform_(-3e38, 3e38),
            "not a range of float32",
        ),
        (
            lambda g: g.uniform(2, low=0, high=math.nan),
            lambda: torch.empty(2).uniform_(0, math.nan),
            "from 0 to nan",
        ),
        (
            lambda g: g.randint(3, 3, (0,)),
            lambda: torch.randint(3, 3, (0,)),
            "integers from 3 to below 3",
        ),
        (
            lambda g: g.randint(0, 2**63, (1,)),
            lambda: torch.randint(0, 2**63, (1,)),
            "not a range of int64",
        ),
        (
            lambda g: g.normal(3, std=-1),
            lambda: torch.normal(0.0, -1.0, (3,)),
            "standard deviation -1",
        ),
        (lambda g: g.randperm(-1), lambda: torch.randperm(-1), "0 to 214748363 indices, not -1"),
        (
            lambda g: g.random_split(5, [2, 2]),
            lambda: split(5, [2, 2]),
            r"\[2, 2\] must be whole with sum 5",
        ),
        (lambda g: g.random_split(5, [0.5, 0.4]), lambda: split(5, [0.5, 0.4]), "or fractions"),
        (lambda g: g.random_split(5, [1.5, -0.5]), lambda: split(5, [1.5, -0.5]), "or fractions"),
        (lambda g: g.random_split(5, [2.0, 3.0]), lambda: split(5, [2.0, 3.0]), "must be whole"),
        (
            lambda g: g.loader_order(0, shuffle=True),
            lambda: loaded(0, shuffle=True),
            "cannot shuffle",
        ),
    ],
)
def test_what_torch_refuses_is_refused(
    ours: Callable[[torch_compat.Generator], object], theirs: Callable[[], object], message: str
) -> None:
    """And draws nothing."""
    generator = torch_compat.Generator(0)
    with pytest.raises(ConfigError, match=message):
        ours(generator)
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        theirs()
    assert_same(generator.rand(2), torch.from_numpy(torch_compat.Generator(0).rand(2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: torch_compat.Generator(-1), r"seed must be 0 to 2\*\*64 - 1, not -1"),
        (lambda: torch_compat.Generator(2**64), "not 18446744073709551616"),
        (lambda: torch_compat.Generator(0).normal(3, std=math.inf), "standard deviation inf"),
        (lambda: torch_compat.Generator(0).normal(3, mean=math.nan), "of mean nan"),
        (lambda: torch_compat.Generator(0).randperm(2**32 // 20), "not 214748364"),
        (lambda: torch_compat.Generator(0).random_split(3, [5, -2]), r"\[5, -2\] must be whole"),
    ],
)
def test_what_torch_would_do_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
