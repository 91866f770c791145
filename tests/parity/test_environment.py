"""The environment of a comparison, and whether its compiler can be trusted."""

import importlib.metadata
import json
import platform
import subprocess
import sys

import jax
import pytest

from jaxdnn.parity import environment
from jaxdnn.runtime.xla_flags import REDUCTION_FLAG as FLAG


def test_the_compiler_of_the_tests_can_be_trusted() -> None:
    assert environment.compiler_checks() == ()


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64")
    or importlib.metadata.version("jaxlib") != "0.10.2"
    or jax.default_backend() != "cpu",
    reason="the miscompile is of jaxlib 0.10.2 on x86-64 CPUs",
)
def test_without_the_flag_the_check_fails(clean_environment: dict[str, str]) -> None:
    # JAX starts before the package is imported, which sets the flag.
    program = (
        "import json, jax; jax.devices(); from jaxdnn.parity import environment; "
        "print(json.dumps(environment.compiler_checks()))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=clean_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    [said] = json.loads(result.stdout)
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
