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
    "activation glu": 2,
    "attention of torch": 1,
    "convolution 2d grouped": 0,
    "dense lora": 1,
    "embedding tied": 0,
    "image autoencoder": 1,
    "norm layer of flax": 0,
    "recurrent tanh of linen": 0,
    "table of positions": 0,
}
"""One of each kind of layer, with the seed that draws the rest."""

CONSTANTS = "torch holds constants of its derivatives in float32, which are not known"
SCALARS = "optax's float32 scalars are seen where they change an update, not a state alone"

KNOWN = {
    "activation-hardsigmoid-0": CONSTANTS,
    "activation-celu-0": CONSTANTS,
    "dense-residual-with-a-zero-gate-0": SCALARS,
    "norm-batch-of-flax-with-bias-0": SCALARS,
    "recurrent-gru-both-ways-0": SCALARS,
}
"""What does not pass today, and why."""


ONE_OF_EACH = [
    port
    for i, port in enumerate(table.PORTS[: len(table.FAMILIES)])
    if port.family != "size of a million" and (i % 2 or not port.family.startswith("activation"))
]
"""Of the activations, half."""


def fails(port: Any) -> str:
    report = table.check(port)
    return "" if report.ok else f"{table.compose(port)[1]}\n{report}"


@pytest.mark.parametrize("family", SAMPLE)
def test_a_right_port_passes(family: str) -> None:
    assert not fails(table.RightPort(family, SAMPLE[family]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "port",
    [
        pytest.param(
            port,
            id=port.id,
            marks=pytest.mark.xfail(port.id in KNOWN, strict=True, reason=KNOWN.get(port.id, "")),
        )
        for port in ONE_OF_EACH
        if SAMPLE.get(port.family) != port.seed
    ],
)
def test_one_of_each_family_passes(port: Any) -> None:
    """The others of the table are for ``scripts/clean_runs.py``, since all take a quarter-hour."""
    assert not fails(port)
