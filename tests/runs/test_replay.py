"""Every number that the tutorials print, replayed where torch cannot be imported.

Compared with rounding of this file's own, digit for digit.
"""

import decimal
import importlib.resources
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from jaxdnn.data.mnist import MNIST
from jaxdnn.runs import documented
from jaxdnn.runs.catalogue import WORKFLOWS
from jaxdnn.runs.reports import gradient_descent as report
from jaxdnn.runs.workflow import Request

ORACLE = json.loads((importlib.resources.files("jaxdnn.runs") / "documented.json").read_text())
ENTRIES = [name for name in ORACLE if not name.startswith("_")]

# What an entry says of itself, by itself: all other keys are printed figures.
ABOUT = {"cell", "document", "digits", "significant", "after", "state", "note", "reachable", "why"}

UNSEEDED = {"mnist_dnn.test_accuracy": 0.01}
UNREACHABLE = {"gradient_descent.linear_layer"}

# This entry calls its weight by what it is to the document.
COMPUTED = {"printed": "w"}

# Five digits of sums that cancel: float32 does not settle all of them.
UNSETTLED = {
    "momentum_sgd.linear1_grad": Decimal("6e-8"),
    "momentum_sgd.linear1_weight_after_momentum": Decimal("1.3e-6"),
}

REPLAY = """
import json, sys
sys.modules["torch"] = None
sys.modules["reference_torch"] = None
from jaxdnn.runs import catalogue
from jaxdnn.runs.workflow import Request
figures = {}
for workflow_id in sys.argv[1:]:
    report = catalogue.report(workflow_id)
    data, source = report.Inputs().load(report.SEED)
    figures |= report.run(Request(report.SEED, report.Config(), data, source)).figures
assert sys.modules["torch"] is None
print(json.dumps(figures))
"""


def replay(entries: list[str]) -> dict[str, dict[str, Any]]:
    """Every figure of the workflows that these entries belong to, with the default settings."""
    families = {name.partition(".")[0] for name in entries}
    ids = [workflow.id for workflow in WORKFLOWS.values() if workflow.family in families]
    assert {WORKFLOWS[i].family for i in ids} == families
    command = [sys.executable, "-c", REPLAY, *ids]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def printed_figures(entry: dict[str, Any]) -> dict[str, Any]:
    """The numbers that an entry prints, under the names that they are computed under."""
    return {COMPUTED.get(key, key): entry[key] for key in entry.keys() - ABOUT}


def pairs(printed: Any, computed: Any) -> Iterator[tuple[Any, Any]]:
    """Printed numbers beside computed ones; only a document may cut a list short."""
    if isinstance(printed, list):
        assert len(printed) <= len(computed)
        for p, c in zip(printed, computed, strict=False):
            yield from pairs(p, c)
    else:
        assert not isinstance(computed, list)
        yield printed, computed


def digit_for_digit(printed: Any, computed: Any, entry: dict[str, Any]) -> bool:
    """Whether a computed number, rounded to the printed precision, is the printed one."""
    if isinstance(printed, bool | int):
        return type(computed) is type(printed) and computed == printed
    exact, shown = Decimal(computed), Decimal(repr(printed))
    if "significant" in entry:
        with decimal.localcontext(prec=entry["significant"]):
            return +exact == shown
    places = entry.get("digits", max(4, -int(shown.as_tuple().exponent)))
    return exact.quantize(Decimal(1).scaleb(-places)) == shown


@pytest.mark.parametrize(
    ("without", "numbers"), [("mnist_dnn", 525), pytest.param(None, 526, marks=pytest.mark.slow)]
)
def test_every_printed_number_comes_out(
    mnist_data: MNIST, without: str | None, numbers: int
) -> None:
    """Digit for digit, none left out; and the package counts them as this file does."""
    entries = [name for name in ENTRIES if name.partition(".")[0] != without]
    replayed = replay(entries)
    compared = {}
    for name in entries:
        entry = ORACLE[name]
        figures = printed_figures(entry)
        assert figures, name
        matched = []
        for key, printed in figures.items():
            for p, c in pairs(printed, replayed[name][key]):
                matched.append(digit_for_digit(p, c, entry))
                if name in UNSEEDED:
                    matched[-1] = abs(p - c) <= UNSEEDED[name]
                if name in UNSETTLED and not matched[-1]:
                    half = Decimal(5).scaleb(Decimal(repr(p)).adjusted() - entry["significant"])
                    assert abs(Decimal(repr(p)) - Decimal(c)) <= half + UNSETTLED[name], (name, p)
        compared[name] = len(matched)
        if name in UNREACHABLE:
            assert not any(matched)
        elif name in UNSETTLED:
            assert sum(matched) >= 55
        else:
            assert all(matched), name
    assert list(compared) == entries
    assert sum(compared.values()) == numbers
    package_counts_alike(replayed, entries)


def test_unreachable_number_is_reported_beside_its_closed_form() -> None:
    result = report.run(Request(report.SEED, report.Config()))
    figures = result.figures["gradient_descent.linear_layer"]
    expected = 2 - (2 - figures["start"]) * (1 - 0.02 * 14 / 3) ** 30
    assert figures["closed_form"] == pytest.approx(expected, rel=1e-12)
    assert figures["w"] == pytest.approx(expected, abs=1e-6)
    assert abs(figures["w"] - 1.9871) > 0.01
    # Neither does the document's cell, run twice, from any initial weight.
    for initial in np.linspace(-1, 1, 2001).tolist():
        for steps in (30, 60):
            assert round(report.closed_form(initial, steps), 4) != 1.9871
    [figure] = documented.compare({"gradient_descent.linear_layer": figures})
    assert not figure.reachable
    assert figure.reproduced == 0
    assert any("1.9871 is out of reach" in line for line in result.remarks)


def package_counts_alike(replayed: dict[str, dict[str, Any]], entries: list[str]) -> None:
    figures = documented.compare(replayed)
    assert {figure.entry for figure in figures} == set(entries)
    for figure in figures:
        entry = ORACLE[figure.entry]
        printed = printed_figures(entry)[figure.name]
        both = list(pairs(printed, replayed[figure.entry][figure.name]))
        assert figure.size == len(both)
        assert figure.reachable == (figure.entry not in UNREACHABLE)
        if figure.entry not in UNSEEDED:
            assert figure.reproduced == sum(digit_for_digit(p, c, entry) for p, c in both)
        reached = figure.reproduced + figure.within_rounding
        assert reached == (0 if figure.entry in UNREACHABLE else figure.size)
        assert (figure.within_rounding > 0) <= (figure.entry in UNSETTLED)
    for family in {name.partition(".")[0] for name in entries}:
        sizes = [(f.size, f.reachable) for f in figures if f.entry.startswith(f"{family}.")]
        reachable = sum(size for size, is_reachable in sizes if is_reachable)
        assert documented.count(family) == (reachable, sum(size for size, _ in sizes))
