"""The report as text, JSON and HTML."""

import dataclasses
import html.parser
import json
import math
from typing import Any

import pytest

from jaxdnn.parity import TRAPS, Divergence, Report, Tier
from jaxdnn.parity.report import page

NAME = "net.<b>&\"'.weight"

ERRORS = {
    "batch/x": 0.0,
    "loss": 2e-16,
    f"grad/{NAME}": 3.25e-3,
    "grad/other": 1e-3,
    "param/other": math.inf,
}
FOUND = Divergence(7, "grad", NAME, (1, 2), 0.5, -0.125, 3.25e-3)
ALSO = Divergence(7, "param", "other", (0,), 1.0, 2.0, 1.0)
DOUBLE = Tier("float64", 8, ERRORS, 1e-12, (FOUND, ALSO))
SINGLE = Tier("float32", 64, {"loss": 1.5, "param/w": 0.5}, 3.0, horizon=12)
RIGHT = Tier(
    "float64",
    9,
    {"loss": 2e-16, "param/w": 1e-15},
    1e-12,
    movement={"w": 4e-15},
    resynchronised=(3, 5),
)
ENVIRONMENT = {"torch": {"torch": "2", "threads": 1}, "jax": {"jax": "0", "x64": False}}

REPORTS = {
    "pass": Report("pass", (RIGHT, SINGLE), notes=("a note",), environment=ENVIRONMENT),
    "fail": Report(
        "fail",
        (DOUBLE,),
        traps=("gelu-tanh", "adam-epsilon"),
        mended="the two agree",
        environment=ENVIRONMENT,
    ),
    "unknown": Report("fail", (DOUBLE,)),
    "single": Report(
        "fail",
        (
            dataclasses.replace(
                SINGLE, differing=(dataclasses.replace(FOUND, error=4.5, phase="param"),)
            ),
        ),
    ),
    "inconclusive": Report("inconclusive", (RIGHT,), reasons=("nothing moved " * 20, "<i>")),
    "nan": Report(
        "fail",
        (
            dataclasses.replace(
                DOUBLE,
                differing=(Divergence(0, "loss", "loss", (), math.nan, math.inf, math.inf),),
            ),
        ),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_text_is_narrow_and_begins_with_the_verdict(name: str) -> None:
    lines = str(REPORTS[name]).splitlines()
    assert lines[0] == REPORTS[name].verdict.upper()
    assert lines[1].split() == ["precision", "phase", "worst", "tensor", "error"]
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)


def flat(report: Report) -> str:
    return " ".join(str(report).split())


def test_text_of_a_failure_says_where_and_what_and_why() -> None:
    said = flat(REPORTS["fail"])
    assert f"step 7, grad {NAME}[1, 2]: expected 0.5, got -0.125, a relative error of" in said
    trap = TRAPS["gelu-tanh"]
    assert f"cause gelu-tanh: {trap.explanation}" in said
    assert f"torch computes {trap.torch}" in said
    assert f"the port computes {trap.port}" in said
    assert f"fix {trap.mend}" in said
    assert "cause adam-epsilon: " in said
    assert "in the same step param other (1.0e+00)" in said
    assert "without the mistakes the two agree" in said
    assert f"float64 grad {NAME} 3.2e-03" in said
    # What comes after the divergence follows from it.
    assert "float64 param" not in said
    assert "cause unknown: no mistake in the catalogue explains it" in flat(REPORTS["unknown"])


def test_text_of_single_precision_compares_with_torch() -> None:
    said = flat(REPORTS["single"])
    assert f"param {NAME}[1, 2]: 4.5 times as far from float64 as torch" in said
    assert "furthest at step 7, where float64 gives 0.5 and the port -0.125" in said


def test_text_of_a_pass_says_what_was_compared() -> None:
    said = flat(REPORTS["pass"])
    assert "9 steps compared, at most 1e-12 apart" in said
    assert "up to 4.0e-15 of their movement (w)" in said
    assert "torch's own twins parted by rounding 2 times (first at step 3)" in said
    assert "one step from each of 64 states" in said
    assert "part at step 12" in said
    assert "float32 loss loss 1.50 x torch's" in said
    assert "note a note" in said
    assert "environment torch: torch 2, threads 1" in said
    assert "cause" not in said


def test_text_of_what_is_inconclusive_gives_every_reason() -> None:
    assert f"inconclusive {('nothing moved ' * 20).strip()} inconclusive <i>" in flat(
        REPORTS["inconclusive"]
    )


@pytest.mark.parametrize("name", REPORTS)
def test_json_is_strict_and_whole(name: str) -> None:
    report = REPORTS[name]
    found: dict[str, Any] = json.loads(report.to_json(), parse_constant=pytest.fail)
    assert found == report.to_dict()
    assert (found["verdict"], found["ok"]) == (report.verdict, name == "pass")
    assert found["trap"] == report.trap
    assert found["reasons"] == list(report.reasons)
    assert [tier["precision"] for tier in found["tiers"]] == [t.precision for t in report.tiers]
    divergence = report.first_divergence
    if divergence is None:
        assert found["first_divergence"] is None
    else:
        assert found["first_divergence"]["tensor"] == divergence.tensor
        assert found["first_divergence"]["index"] == list(divergence.index)
    if report.trap is not None:
        assert found["explanation"]["mend"] == TRAPS[report.trap].mend
    if name == "nan":
        assert found["first_divergence"] is not None
        assert found["first_divergence"]["expected"] == "nan"
        assert found["first_divergence"]["actual"] == "inf"


class Reader(html.parser.HTMLParser):
    """Sees that every element is closed, in its order, and keeps the text."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert text.startswith("<!doctype html>")
    assert not {"b", "i", "script"} & set(reader.seen)
    assert "http" not in text
    return reader


@pytest.mark.parametrize("name", REPORTS)
def test_page_is_well_formed_and_says_the_same(name: str) -> None:
    report = REPORTS[name]
    reader = read(report.to_html(title="a < b & c"))
    assert "a < b & c" in reader.text
    assert report.verdict in reader.text
    for cells in report.rows():
        assert all(cell in reader.text for cell in cells)
    for heading, text in report.explanation():
        assert heading in reader.text
        assert text in reader.text


def test_page_of_several_has_a_section_each() -> None:
    reader = read(page("all", [(f"row <{name}>", report) for name, report in REPORTS.items()]))
    assert reader.seen.count("section") == len(REPORTS)
    assert all(f"row <{name}>" in reader.text for name in REPORTS)
