"""Where and how precisely a command computes, and what it finds compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxdnn.errors import ConfigError
from jaxdnn.runtime import compilation_cache, startup
from jaxdnn.runtime.startup import Machine

SETTINGS = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"


def run(folder: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return jaxdnn(folder, "run", "sum-classifier", "--json", "run.json", *flags, **environment)


def jaxdnn(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key not in SETTINGS}
    return subprocess.run(
        [sys.executable, "-m", "jaxdnn", *arguments],
        cwd=folder,
        env={**inherited, "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
    )


MATMUL = "JAX_DEFAULT_MATMUL_PRECISION"


@pytest.mark.parametrize(
    ("machine", "before", "after"),
    [
        (Machine(), {}, {MATMUL: "highest", "JAX_PLATFORMS": None, "JAX_ENABLE_X64": None}),
        (Machine(device="cpu"), {}, {"JAX_PLATFORMS": "cpu"}),
        (Machine(precision="float32"), {}, {MATMUL: "highest", "JAX_ENABLE_X64": "False"}),
        (Machine(precision="float64"), {}, {MATMUL: "highest", "JAX_ENABLE_X64": "True"}),
        (Machine(precision="tf32"), {}, {MATMUL: "tensorfloat32", "JAX_ENABLE_X64": "False"}),
        (Machine(precision="bfloat16"), {}, {MATMUL: "BF16_BF16_F32", "JAX_ENABLE_X64": "False"}),
        # The user's own setting stays, unless a flag contradicts it.
        (Machine(), {MATMUL: "default"}, {MATMUL: "default"}),
        (Machine(precision="float32"), {MATMUL: "default"}, {MATMUL: "highest"}),
        (Machine(compile_cache=False), {}, {"JAX_ENABLE_COMPILATION_CACHE": "False"}),
    ],
)
def test_jax_is_told_what_the_flags_say(
    machine: Machine,
    before: dict[str, str],
    after: dict[str, str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    monkeypatch.setattr(os, "environ", cache | before)
    startup.prepare_environment(machine)
    assert {name: os.environ.get(name) for name in after} == after
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path)


def test_the_cache_is_bounded_and_loses_what_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platformdirs

    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    folder = tmp_path / "jaxdnn/compiled"
    folder.mkdir(parents=True)
    for name in ("whole-cache", "whole-atime", "cut-cache"):
        (folder / name).touch()
    settings = compilation_cache.settings()
    assert settings["jax_compilation_cache_dir"] == str(folder)
    assert settings["jax_compilation_cache_max_size"] == 2**30
    assert {"whole-cache", "whole-atime"} == {path.name for path in folder.glob("*-*")}


@pytest.mark.slow
def test_a_second_start_finds_its_programs(tmp_path: Path) -> None:
    folder = tmp_path / "cache/jaxdnn/compiled"
    assert run(tmp_path).returncode == 0
    programs = {path.name for path in folder.iterdir() if path.name.endswith("-cache")}
    assert any("train" in name for name in programs)
    # Another learning rate is the same program; another precision is not.
    assert run(tmp_path, "--lr", "0.01").returncode == 0
    assert {path.name for path in folder.iterdir() if path.name.endswith("-cache")} == programs
    assert run(tmp_path, "--precision", "float64").returncode == 0
    assert len([path for path in folder.iterdir() if "train" in path.name]) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "program", "another"),
    [
        (["run", "mnist-dnn", "--plot", "None"], "train", ["--seed", "7"]),
        (["sweep", "mnist-dnn", "--seeds", "0,1", "--plot", "None"], "train", ["--seeds", "7,8"]),
    ],
    ids=["run", "sweep"],
)
def test_another_seed_is_the_same_programs(
    command: list[str], program: str, another: list[str], mnist_folder: Path, tmp_path: Path
) -> None:
    few = ["--epochs", "1", "--batch-size", "6000", "--data-dir", str(mnist_folder)]
    folder = tmp_path / "cache/jaxdnn/compiled"
    assert jaxdnn(tmp_path, *command, *few).returncode == 0
    programs = {path.name for path in folder.iterdir() if path.name.endswith("-cache")}
    assert any(program in name for name in programs)
    assert jaxdnn(tmp_path, *command, *few, *another).returncode == 0
    assert {path.name for path in folder.iterdir() if path.name.endswith("-cache")} == programs


@pytest.mark.slow
def test_a_program_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache/jaxdnn/compiled"
    assert run(tmp_path).returncode == 0
    [program] = folder.glob("*train*-cache")
    program.write_bytes(program.read_bytes()[:100])
    program.with_name(program.name.removesuffix("-cache") + "-atime").unlink()
    result = run(tmp_path)
    assert result.returncode == 0
    assert "Warning" not in result.stderr
    assert len(program.read_bytes()) > 100


@pytest.mark.slow
def test_no_cache_leaves_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "--no-compile-cache").returncode == 0
    assert not (tmp_path / "cache/jaxdnn").exists()


@pytest.mark.slow
def test_the_users_own_cache_is_taken(tmp_path: Path) -> None:
    own = tmp_path / "own"
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(own),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    assert run(tmp_path, **settings).returncode == 0
    assert list(own.iterdir())
    assert not (tmp_path / "cache/jaxdnn").exists()


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    result = run(tmp_path)
    assert result.returncode == 2
    assert "The compilation cache" in result.stderr
    assert "--no-compile-cache" in result.stderr
    assert run(tmp_path, "--no-compile-cache").returncode == 0


@pytest.mark.parametrize(
    ("flags", "environment", "precision"),
    [
        pytest.param((), {}, "float32", marks=pytest.mark.slow),
        pytest.param((), {"JAX_ENABLE_X64": "1"}, "float64", marks=pytest.mark.slow),
        pytest.param(
            ("--precision", "float32"),
            {"JAX_ENABLE_X64": "1"},
            "float32",
            marks=pytest.mark.slow,
        ),
        (("--precision", "float64", "--device", "cpu"), {}, "float64"),
    ],
)
def test_the_precision_is_said(
    flags: tuple[str, ...], environment: dict[str, str], precision: str, tmp_path: Path
) -> None:
    result = run(tmp_path, "--epochs", "3", "--no-compile-cache", *flags, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"sum-classifier on cpu, {precision}")
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == precision


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (Machine(device="gpu"), "JAX finds no GPU here"),
        (Machine(precision="tf32"), "--precision tf32 is for a GPU"),
        (Machine(precision="bfloat16"), "--precision bfloat16 is for a GPU"),
    ],
)
def test_what_this_device_lacks_is_refused(machine: Machine, message: str) -> None:
    assert jax.default_backend() == "cpu"
    with pytest.raises(ConfigError, match=message):
        startup.start(machine)
