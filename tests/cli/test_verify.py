"""The command ``jaxdnn verify``: what it proves, writes and refuses."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxdnn import cli
from jaxdnn.cli import verify as verification
from jaxdnn.parity import environment
from jaxdnn.parity.port import take_step
from jaxdnn.verification import cases, verify

# One that trains in one step after the other, in a moment.
ROW = "W10"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["verify", *arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture
def serial(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row in this process, instead of all in others."""

    def results(options: Any, chosen: Sequence[str], tally: Any) -> Iterator[Any]:
        yield verification._do(("row", ROW, False), options)

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setattr(verification, "_results", results)


@pytest.mark.slow
def test_two_workflows_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jaxdnn", "verify", "gradient-descent", "data-loading"]
    command += ["--steps", "5", "--json", "out.json", "--html", "out.html"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert " pass in " in result.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"out.json", "out.html"}
    found = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    expected = [row for row, c in cases.CASES.items() if c.workflow == "gradient-descent"]
    assert {row["row"] for row in found["rows"]} == {*expected, "W21 W22"}
    for row in found["rows"]:
        assert row["verdict"] == row["report"]["verdict"] == "pass"
        assert row["report"]["first_divergence"] is None
        assert max(row["forms"].values(), default=0) <= 1e-12
    assert any(row["forms"].keys() == {"eager", "scan", "vmap", "sharded"} or row["forms"]
               for row in found["rows"])  # fmt: skip
    assert {f["workflow"] for f in found["figures"]} == {"gradient-descent", "data-loading"}
    assert all(f["reproduced"] == f["reachable"] > 0 for f in found["figures"])
    page = (tmp_path / "out.html").read_text()
    assert all(f"<h2>{row['workflow']}, {row['title']}</h2>" in page for row in found["rows"])


def test_a_row_that_passes(serial: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gradient-descent", "--steps", "4") == 0
    output = capsys.readouterr().out
    rows = [line.split() for line in output.splitlines()]
    assert [row[:2] for row in rows if row[:1] == ["gradient-descent"]] == [
        ["gradient-descent", "float64"]
    ]
    title = cases.TITLES[ROW].split()
    assert [row for row in rows if row[: len(title) + 1] == [*title, "float32"]]
    assert "\n1 pass in " in output


def test_a_step_that_is_broken_fails(
    serial: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = cases.CASES[ROW]

    def broken() -> Any:
        port = right.port()

        def step(state: Any, batch: Any) -> Any:
            state, *seen = take_step(port, state, batch)
            params = jax.tree.map(lambda leaf: leaf * (1 + 1e-9), state.params)
            return state._replace(params=params), *seen

        return port._replace(step=step)

    monkeypatch.setattr(verify, "CASES", {ROW: right._replace(port=broken)})
    assert run("gradient-descent", "--steps", "4") == 1
    output = capsys.readouterr().out
    assert "FAIL" in output
    assert "step 0, param " in output
    assert "\n1 fail in " in output


def test_a_compiler_that_is_wrong_is_inconclusive(
    serial: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "compiler_checks", lambda: ("the compiler cannot add",))
    assert run("gradient-descent", "--steps", "4") == 3
    output = capsys.readouterr().out
    assert "the compiler cannot add" in output
    assert "\n1 inconclusive in " in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mnist-cnn",), "There is no workflow 'mnist-cnn'; there are autograd"),
        (("--steps", "1"), "--steps must be at least 2; got 1."),
        (("--record", "a", "--replay", "b"), "--record runs torch, --replay runs JAX; give one"),
        (("--record", "a", "--json", "b"), "--record compares nothing"),
        (("--replay", "nowhere"), "--replay nowhere is not a file."),
        (("--json", "/nowhere/a.json"), "/nowhere does not exist"),
        (("--html", "/"), "--html / is a folder"),
        (("--record", "/nowhere/a"), "/nowhere does not exist"),
    ],
)
def test_bad_usage_is_one_sentence(
    arguments: Sequence[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.startswith("jaxdnn: ")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


BLOCKER = """
import importlib.machinery
found = importlib.machinery.PathFinder.find_spec
def find_spec(name, *args, **kwargs):
    return None if name.partition(".")[0] == "torch" else found(name, *args, **kwargs)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
"""


def without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where torch is not installed, in the processes that it starts too."""
    (folder / "path").mkdir()
    (folder / "path" / "sitecustomize.py").write_text(BLOCKER)
    path = os.pathsep.join([str(folder / "path"), str(Path(cli.__file__).parents[2])])
    return subprocess.run(
        [sys.executable, "-m", "jaxdnn", "verify", *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        cwd=folder,
    )


@pytest.mark.slow
def test_without_torch_a_recording_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    file = tmp_path / "torch.safetensors"
    assert run("gradient-descent", "--steps", "3", "--record", str(file)) == 0
    result = without_torch(tmp_path, "gradient-descent", "--replay", str(file), "--json", "a")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = json.loads((tmp_path / "a").read_text())["rows"]
    assert {row["report"]["tiers"][0]["steps"] for row in rows} == {3}
    assert {row["verdict"] for row in rows} == {"pass"}


def test_without_torch_it_is_said_what_to_do(tmp_path: Path) -> None:
    result = without_torch(tmp_path, "gradient-descent")
    assert result.returncode == 2
    assert result.stderr.startswith("jaxdnn: torch is not installed here: install jaxdnn[torch]")
    assert result.stderr.count("\n") == 1
