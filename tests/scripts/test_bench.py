import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def bench(*arguments: object, fails: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "bench.py"), *map(str, arguments)]
    # Of the tests' two simulated devices XLA would make two threads on one core.
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert bool(result.returncode) is fails, result.stderr
    return result


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return lambda module: importlib.import_module(f"bench_systems.{module}")


@pytest.mark.slow
def test_a_small_run_measures_prints_writes_and_draws(mnist_folder: Path, tmp_path: Path) -> None:
    results, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    chosen = ["--only", "mnist", "regression", "--systems", "jaxdnn", "torch eager", "equinox"]
    small = ["--quick", "--samples", 640, "--threads", 1, "--data-dir", mnist_folder]
    shown = bench(*chosen, *small, "--json", results, "--plot", picture).stdout
    assert "NO EVIDENCE" in shown
    written = json.loads(results.read_text())
    mnist, regression = written["parts"]["mnist"], written["parts"]["regression"]
    ours, theirs = (mnist["measured"][s] for s in ("jaxdnn", "torch eager, preloaded"))
    assert len(ours) == len(theirs) == 2
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(ours, theirs, strict=True)]
    row = next(row for row in mnist["rows"] if row["label"] == "torch eager, preloaded")
    assert row["ratio"]["low"] == min(ratios)
    assert row["ratio"]["high"] == max(ratios)
    assert all(0 <= turn["accuracy"] <= 1 for turn in ours + theirs)
    if importlib.util.find_spec("equinox") is None:
        assert mnist["skipped"] == {
            "torch eager, one thread": "the same as torch eager, preloaded",
            "equinox, documented loop": "equinox is not installed",
        }
        assert "Skipped: equinox" in shown
    losses = [turn["loss"] for turns in regression["measured"].values() for turn in turns]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-3)  # they do the same job
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_a_thread_does_in_a_step_is_the_step(
    mnist_folder: Path, tmp_path: Path, systems: Any
) -> None:
    results = tmp_path / "bench.json"
    small = ["--quick", "--samples", 6400, "--threads", 1, "--data-dir", mnist_folder]
    bench("--only", "profile", *small, "--json", results)
    part = json.loads(results.read_text())["parts"]["profile"]
    for turn in part["measured"]["jaxdnn"]:
        step = turn.pop("step")
        assert min(turn.values()) >= 0
        assert min(turn[kind] for kind in systems("step_profile").KINDS) > 0
        assert sum(turn.values()) == pytest.approx(step, rel=0.01)  # of one thread
        assert turn["matrix products"] > step / 2
        assert turn["nothing"] < step / 10
    rate = next(row for row in part["rows"] if row["label"].startswith("rate"))
    assert 1 < rate["value"]["median"] < 10_000


def test_few_repetitions_are_no_evidence() -> None:
    assert "at least 7" in bench("--repetitions", 3, fails=True).stderr


def test_what_of_ours_fails_ends_the_bench(tmp_path: Path) -> None:
    missing = bench(
        "--quick", "--only", "mnist", "--systems", "jaxdnn", "--data-dir", tmp_path, fails=True
    )
    assert "bench: mnist: jaxdnn: DataError" in missing.stderr


def test_medians_ranges_and_targets(systems: Any) -> None:
    figures = systems("figures")
    measured = {
        "jaxdnn": [{"seconds": 1.0}, {"seconds": 2.0}, {"seconds": 1.0}],
        "torch eager": [{"seconds": 2.0}, {"seconds": 6.0}, {"seconds": 9.0}],
        "torch.compile": [{"seconds": 2.0}, {"seconds": 2.0}, {"seconds": 3.0}],
    }
    ours, eager, _ = figures.compare(measured, base="jaxdnn", targets={"torch eager": 3.5})
    assert ours.ratio is None
    assert eager.ratio == (3.0, 2.0, 9.0)
    assert eager.reached is False
    (fastest,) = figures.fastest(measured, among="torch", base="jaxdnn", target=2.0)
    assert fastest.label == "fastest torch: torch.compile"
    assert fastest.reached is True


def test_the_fastest_is_that_beside_which_the_ratio_is_least(systems: Any) -> None:
    times = {"jaxdnn": (1, 4, 2), "torch eager": (2, 8, 4), "torch.compile": (3, 3.5, 9)}
    measured = {system: [{"seconds": t} for t in turns] for system, turns in times.items()}
    (fastest,) = systems("figures").fastest(measured, among="torch", base="jaxdnn", target=2.5)
    # torch.compile has the lower median, 3.5 s, of turns in which all were fast.
    assert fastest.label == "fastest torch: torch eager"
    assert fastest.ratio.median == 2


def test_an_epoch_of_mnist_is_as_much_work_as_is_said(systems: Any) -> None:
    assert systems("digits").epoch_gflop(60_000) == pytest.approx(158.5, abs=0.05)


def test_every_system_is_a_function_that_exists(systems: Any) -> None:
    for part in systems("parts").PARTS.values():
        for system in part.systems:
            module, _, function = system.prepare.partition(":")
            assert f"def {function}(settings: Settings) -> Run" in (
                SCRIPTS / "bench_systems" / f"{module}.py"
            ).read_text(encoding="utf-8")
