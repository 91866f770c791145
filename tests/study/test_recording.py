"""The recording that comes with the package is complete, and its numbers are plausible."""

import math
import re

import pytest

from jaxdnn.runs import catalogue, documented
from jaxdnn.study import examples, gather, recording
from jaxdnn.verification.cases import CASES

RECORDED = recording.load()


def test_it_says_when_and_with_what_it_was_made() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", RECORDED["date"])
    assert {"jax", "torch", "numpy", "python"} <= set(RECORDED["versions"])


def test_every_long_run_is_there_with_its_figures() -> None:
    assert set(RECORDED["runs"]) == set(catalogue.LONG)
    accuracy = RECORDED["runs"]["mnist-dnn"]["test_accuracy"]
    assert 0.95 < accuracy < 0.99
    theirs = RECORDED["torch_figures"]["mnist-dnn"]["mnist_dnn.test_accuracy"]["value"]
    assert theirs == pytest.approx(accuracy, abs=0.01)


@pytest.mark.parametrize("workflow_id", list(catalogue.WORKFLOWS))
def test_torch_reproduces_what_its_document_prints(workflow_id: str) -> None:
    figures = documented.compare(RECORDED["torch_figures"][workflow_id])
    _, printed = documented.count(catalogue.WORKFLOWS[workflow_id].family)
    assert sum(figure.size for figure in figures) == printed
    for figure in figures:
        if figure.reachable:
            assert figure.reproduced + figure.within_rounding == figure.size


def test_every_pair_of_curves_is_there() -> None:
    rows = [row for workflow_id in catalogue.WORKFLOWS for row in gather.rows_of(workflow_id)]
    assert list(RECORDED["losses"]) == rows
    for pair in RECORDED["losses"].values():
        assert pair["at"][0] == 0
        assert pair["at"][-1] == pair["steps"] - 1
        assert len(pair["at"]) <= gather.POINTS
        for precision, most in (("float32", 1.0), ("float64", 1e-8)):
            side = pair[precision]
            assert len(side["jax"]) == len(side["torch"]) == len(side["difference"])
            assert len(side["jax"]) == len(pair["at"])
            assert max(d for d in side["difference"] if d is not None) <= side["largest"] < most
            assert all(math.isfinite(loss) for loss in side["jax"])


def test_every_row_of_the_parity_table_passes() -> None:
    rows = {row["row"]: row for row in RECORDED["parity"]["rows"]}
    assert rows.keys() == {*CASES, "W21 W22"}
    assert {row["verdict"] for row in rows.values()} == {"pass"}
    for row in rows.values():
        for tier in row["tiers"]:
            assert tier["errors"]
            assert all(error <= 1e3 for error in tier["errors"].values())


def test_torchs_programs_are_there() -> None:
    assert set(RECORDED["torch_examples"]) == {c.torch.name for c in examples.pairs()}


def test_a_pair_of_curves_is_made_as_it_was_recorded() -> None:
    found = gather.losses("W10")
    assert found["steps"] == 20
    assert found["float64"]["largest"] < 1e-12
    assert found["float32"]["jax"] == pytest.approx(RECORDED["losses"]["W10"]["float32"]["jax"])
