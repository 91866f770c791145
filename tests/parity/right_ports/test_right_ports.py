"""Right ports pass: a sample, and one of each family where slow tests run."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests are not installed
table: Any = importlib.import_module("tests.parity.right_ports.table")
del sys.path[0]

SAMPLE = {
    "attention masked by infinity": 15,
    "attention of torch": 1,
    "convolution 2d grouped": 0,
    "embedding tied": 0,
    "norm layer of flax": 0,
    "recurrent tanh of linen": 0,
}
"""Of some kinds of layers one each, with the seed that draws the rest."""

NOISY = "norm batch 1d with bias", 8
HIDDEN = (
    NOISY,
    ("norm batch 1d with buffers and bias", 2),
    ("attention of torch padded", 2),
    ("attention of linen", 8),
    ("table of rotations", 1),
    ("activation celu", 0),
    ("activation hardsigmoid", 1),
    ("activation hardsigmoid", 16),
)
"""Gradients that are noise, or off by a constant in float32, under optimisers that keep what torch
does not show: the sum of several batches, a momentum of scaled gradients, Adagrad's first sums."""

EVERY_OTHER = [
    port
    for port in table.PORTS[: len(table.FAMILIES) : 2]
    if port.family != "size of a million" and SAMPLE.get(port.family) != port.seed
]
"""Of the families, half."""


def fails(port: Any) -> str:
    report = table.check(port)
    return "" if report.ok else f"{table.compose(port)[1]}\n{report}"


@pytest.mark.parametrize(("family", "seed"), [*SAMPLE.items(), NOISY])
def test_a_right_port_passes(family: str, seed: int) -> None:
    assert not fails(table.RightPort(family, seed))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "seed"), [row for row in HIDDEN if row != NOISY])
def test_a_state_that_torch_does_not_show_passes(family: str, seed: int) -> None:
    assert not fails(table.RightPort(family, seed))


@pytest.mark.slow
@pytest.mark.parametrize("port", EVERY_OTHER, ids=lambda port: port.id)
def test_every_other_family_passes(port: Any) -> None:
    """The others of the table are for ``scripts/clean_runs.py``, since all take a quarter-hour."""
    assert not fails(port)
