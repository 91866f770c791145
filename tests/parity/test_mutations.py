"""A sample of scripts/mutation_report.py: mistakes are found where they are, right ports pass."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxdnn import parity

SAMPLE = (
    "adam-epsilon-1.1e-8",
    "branch-stopped",
    "cosine-stays",
    "decay-after-momentum",
    "gelu-tanh",
    "ignore-index-from-40",
    "l1-at-zero",
    "log-of-softmax",
    "mse-per-example",
    "one-wrong-label",
    "bfloat16-inside",
    "zero-bias",
)
"""Of every kind."""

CLEAN = (2, 3)

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
clean_runs: Any = importlib.import_module("clean_runs")
mutation_report: Any = importlib.import_module("mutation_report")
sys.path.pop(0)

MUTATIONS = {mutation.id: mutation for mutation in mutation_report.MUTATIONS}


def test_ids_are_unique_and_every_kind_is_sampled() -> None:
    assert len(MUTATIONS) == len(mutation_report.MUTATIONS) >= 60
    assert {MUTATIONS[name].kind for name in SAMPLE} == {m.kind for m in MUTATIONS.values()}


def test_every_mistake_of_the_catalogue_is_made() -> None:
    made = {trap for mutation in MUTATIONS.values() for trap in mutation.traps}

    assert made - {None} == set(parity.TRAPS)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mistake_is_found_where_it_is_and_named(name: str) -> None:
    finding = mutation_report.run(MUTATIONS[name], right=False)

    assert finding.caught
    assert finding.place, finding.found
    assert finding.name, finding.trap


@pytest.mark.parametrize("seed", CLEAN)
def test_a_right_port_passes(seed: int) -> None:
    assert clean_runs.run(seed) is None
