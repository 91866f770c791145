"""A sample of the table of mistakes: they are found where they are, and right ports pass."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxdnn import parity

ROOT = Path(__file__).parents[2]

SAMPLE = ("decay-after-momentum",)
"""What the other tests of this folder do not make; the whole table takes minutes."""

for folder in (ROOT / "scripts", ROOT):
    sys.path.insert(0, str(folder))
clean_runs: Any = importlib.import_module("clean_runs")
evaluation: Any = importlib.import_module("tests.parity.mutations.evaluation")
table: Any = importlib.import_module("tests.parity.mutations.table")
del sys.path[:2]

MUTATIONS = {mutation.id: mutation for mutation in table.MUTATIONS}


def test_ids_are_unique() -> None:
    assert len(MUTATIONS) == len(table.MUTATIONS) >= 150


def test_every_mistake_of_the_catalogue_is_made() -> None:
    made = {trap for mutation in MUTATIONS.values() for trap in mutation.traps}

    assert made - {None} == set(parity.TRAPS)


def check(name: str) -> None:
    finding = evaluation.evaluate(MUTATIONS[name], right=False)

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


@pytest.mark.parametrize("seed", [pytest.param(i, marks=pytest.mark.slow) for i in (2, 3, 4)])
def test_a_right_port_passes(seed: int) -> None:
    assert clean_runs.run(seed) is None
