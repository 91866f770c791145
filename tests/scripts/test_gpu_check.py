import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jaxdnn.runtime.device

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gpu_check.py"


def check(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"rich", "tyro", "pooch", "platformdirs"}:
            frame = sys._getframe(1)
            while "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            if "site-packages" not in frame.f_code.co_filename:  # flax itself imports rich
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""
"""What a machine lacks that somebody has for minutes and that reaches no package index."""


@pytest.mark.slow
def test_a_trial_on_the_cpu_checks_prints_and_writes(tmp_path: Path) -> None:
    results = tmp_path / "check.json"
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    trial = ["--device", "cpu", "--rows", "W23", "--steps", 5, "--quick", "--parts", "import"]
    result = check(*trial, "--json", results, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "0 failed" in result.stdout
    assert "left out" not in result.stdout
    written = json.loads(results.read_text())
    passed = {entry["name"]: entry["passed"] for entry in written["checks"]}
    assert passed["parity of linear-regression W23"] is True
    assert passed["TF32 is reported, matmul precision not set"] is True
    [timed] = written["bench"]["import"]
    assert len(timed["measured"]["jaxdnn"]) == 2
    assert written["left_out"] == []


@pytest.mark.slow
def test_what_does_not_fit_into_the_budget_is_left_out_by_name(tmp_path: Path) -> None:
    results = tmp_path / "check.json"
    budget = ["--device", "cpu", "--seconds", 15, "--rows", "W23", "--parts", "table", "growth"]
    result = check(*budget, "--json", results)
    assert result.returncode == 0, result.stderr
    written = json.loads(results.read_text())
    assert written["checks"][0]["passed"] is True  # what comes first is there
    assert written["seconds"] < 20
    assert "bench growth" in written["left_out"][-1]
    assert f"left out after 15 s: {'; '.join(written['left_out'])}" in result.stdout


@pytest.mark.parametrize(
    ("setting", "rounds", "said", "passes"),
    [
        ("highest", False, "float32 with highest matrix products", True),
        ("highest", True, "float32 with highest matrix products", False),
        ("tensorfloat32", True, "float32 with tensorfloat32 matrix products", True),
        (None, True, "float32 with default (TF32 where the GPU has it) matrix products", True),
        (None, True, "float32", False),
        (None, False, "float32", True),
    ],
)
def test_rounded_products_that_are_not_said_fail(
    setting: str | None, rounds: bool, said: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    gpu_check = importlib.import_module("gpu_check")
    monkeypatch.setattr(gpu_check, "_rounds_factors", lambda: rounds)
    monkeypatch.setattr(jaxdnn.runtime.device, "device_and_precision", lambda: ("gpu", said))
    assert gpu_check._tf32_check(setting).passed is passes


@pytest.mark.slow
def test_a_failure_is_counted(tmp_path: Path) -> None:
    trial = ["--device", "cpu", "--rows", "W29", "--steps", 2, "--parts"]
    result = check(*trial, "--data-dir", tmp_path)
    assert result.returncode == 1, result.stderr
    assert "1 failed" in result.stdout
    assert "needs MNIST" in result.stdout


def test_without_a_gpu_it_says_so() -> None:
    result = check(CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert "JAX finds no GPU" in result.stderr


def test_an_unknown_row_is_named() -> None:
    result = check("--device", "cpu", "--rows", "W99")
    assert result.returncode == 2
    assert "W99" in result.stderr
