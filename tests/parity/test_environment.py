"""The environment of a comparison: the flag against a miscompile, and whether it is needed."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys

import jax
import pytest

from jaxdnn.parity import environment
from jaxdnn.runtime import xla_flags

FLAG = xla_flags.REDUCTION_FLAG
NAME = FLAG.partition("=")[0]


@pytest.mark.parametrize(
    ("version", "machine", "before", "after"),
    [
        ("0.10.2", "x86_64", None, FLAG),
        ("0.10.2", "AMD64", "", FLAG),
        ("0.11.0", "x86_64", "--xla_a=1", f"--xla_a=1 {FLAG}"),
        # What the user has set wins, whatever it is.
        ("0.10.2", "x86_64", FLAG, None),
        ("0.10.2", "x86_64", f"--xla_a=1 {NAME}=", None),
        # Another release may not know the flag, and ends if it is set.
        ("0.10.1", "x86_64", None, None),
        ("0.11.1", "x86_64", "--xla_a=1", None),
        ("0.10.20", "x86_64", None, None),
        ("1.0", "x86_64", None, None),
        # Another machine has another compiler.
        ("0.10.2", "aarch64", None, None),
        ("0.10.2", "arm64", "--xla_a=1", None),
    ],
)
def test_the_flag_is_set_where_it_is_needed_and_known(
    version: str,
    machine: str,
    before: str | None,
    after: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": version}.__getitem__)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("XLA_FLAGS", "")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    else:
        monkeypatch.setenv("XLA_FLAGS", before)

    said = xla_flags.set_flags()

    if after is None:
        assert said is None
        assert os.environ.get("XLA_FLAGS") == before
    else:
        assert said == f"XLA_FLAGS={FLAG} set, since jaxlib {version} computes some sums wrongly"
        assert os.environ["XLA_FLAGS"] == after
        assert xla_flags.set_flags() is None
        assert os.environ["XLA_FLAGS"] == after


def test_the_compiler_of_the_tests_can_be_trusted() -> None:
    assert environment.compiler_checks() == ()


def outside(flags: str) -> tuple[str, ...]:
    program = (
        "import json; from jaxdnn.parity import environment; "
        "print(json.dumps(environment.compiler_checks()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(json.loads(result.stdout))


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64")
    or importlib.metadata.version("jaxlib") != "0.10.2"
    or jax.default_backend() != "cpu",
    reason="the miscompile is of jaxlib 0.10.2 on x86-64 CPUs",
)
def test_without_the_flag_the_check_fails() -> None:
    [said] = outside("")
    assert said.startswith("the compiler cannot be trusted: of 32,769 sums of three squares")
    assert f"set XLA_FLAGS={FLAG} before Python starts" in said


def test_description_is_of_this_machine_and_fits_json() -> None:
    with jax.enable_x64(True), jax.default_matmul_precision("bfloat16"):
        described = environment.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["jax"] == jax.__version__
    assert described["jaxlib"] == importlib.metadata.version("jaxlib")
    assert (described["x64"], described["matmul_precision"]) == (True, "bfloat16")
    assert described["device"] == ("cpu" if jax.default_backend() == "cpu" else described["device"])
    assert isinstance(described["flushes_denormals"], bool)
    assert environment.describe()["x64"] is False
