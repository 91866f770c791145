"""A sample of the table of mistakes: they are found where they are, and right ports pass."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxdnn import parity

ROOT = Path(__file__).parents[2]

SAMPLE = ("decay-after-momentum", "unit-norm-squared")
"""What the other tests of this folder do not make; the whole table takes minutes."""

SAMPLE_PAIRS = ("mse-half+schedule-missing", "biased-variance+schedule-offset")
"""Likewise, of two mistakes at once."""

for folder in (ROOT / "scripts", ROOT):
    sys.path.insert(0, str(folder))
clean_runs: Any = importlib.import_module("clean_runs")
evaluation: Any = importlib.import_module("tests.parity.mutations.evaluation")
pairs: Any = importlib.import_module("tests.parity.mutations.pairs")
table: Any = importlib.import_module("tests.parity.mutations.table")
del sys.path[:2]

MUTATIONS = {mutation.id: mutation for mutation in table.MUTATIONS}
PAIRS = {pair.id: pair for pair in pairs.PAIRS}


def test_ids_are_unique() -> None:
    assert len(MUTATIONS) == len(table.MUTATIONS) >= 200
    assert len(PAIRS) == len(pairs.PAIRS) >= 20


def test_every_mistake_of_the_catalogue_is_made() -> None:
    made = {trap for mutation in MUTATIONS.values() for trap in mutation.traps}

    assert made - {None} == set(parity.TRAPS)


def check(name: str) -> None:
    finding = evaluation.evaluate(MUTATIONS[name], right=False, common=False)

    assert finding.caught
    assert finding.place, finding.found
    assert finding.name, finding.trap


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mistake_is_found_where_it_is_and_named(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(MUTATIONS) - set(SAMPLE)))
def test_every_mistake_is_found_where_it_is_and_named(name: str) -> None:
    check(name)


@pytest.mark.parametrize("name", SAMPLE_PAIRS)
def test_two_mistakes_at_once_are_both_named(name: str) -> None:
    assert pairs.named(PAIRS[name]) == PAIRS[name].traps


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PAIRS) - set(SAMPLE_PAIRS)))
def test_all_mistakes_made_at_once_are_named(name: str) -> None:
    assert pairs.named(PAIRS[name]) == PAIRS[name].traps


@pytest.mark.parametrize("seed", [pytest.param(i, marks=pytest.mark.slow) for i in (2, 3, 4)])
def test_a_right_port_passes(seed: int) -> None:
    assert clean_runs.run(seed) is None
