"""No slip passes: a sample, and the whole table where slow tests run."""

import importlib
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxdnn import parity

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests are not installed
table: Any = importlib.import_module("tests.parity.slips.table")
del sys.path[0]

SAMPLE = (
    "a hook on a gradient",
    "a bias of 0 that the port lacks",
    "a parameter that only torch trains",
    "an average in the module, left out",
    "ignored rows in the mean",
    "decay from step 20 on",
)

UNPROVED = "that a part of a parameter had no gradient is a note"

KNOWN = {
    "a feature that is always 0": UNPROVED,
    "a dead unit": UNPROVED,
    "a word that no batch has": UNPROVED,
    "an integer buffer": "that torch counts where the port does not is a note",
    "a rate after convergence": "that nothing moves any more is a note",
    "a table of small numbers off by 1e-3": "beside a table in float32, 1e-6 is allowed for",
    "scaled unless in float64": "that float32 was not compared is a note",
    "dropout left out, not training": "that the module is not in training mode is a note",
}
"""What passes today, and why."""


def rows(*, sample: bool) -> list[Any]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.xfail(name in KNOWN, strict=True, reason=KNOWN.get(name, "")),
        )
        for name in table.SLIPS
        if (name in SAMPLE) == sample
    ]


def check(name: str) -> None:
    with jax.numpy_rank_promotion("allow"):
        report = parity.check_port(**table.SLIPS[name]())
    assert report.verdict in ("fail", "inconclusive"), str(report)


@pytest.mark.parametrize("name", rows(sample=True))
def test_a_slip_does_not_pass(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", rows(sample=False))
def test_no_slip_passes(name: str) -> None:
    check(name)


def test_the_table_has_all_that_is_known() -> None:
    assert table.SLIPS.keys() >= {*KNOWN, *SAMPLE}
    assert len(table.SLIPS) >= 40
