"""The flag against a miscompile is set by importing the package, in processes of their own."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxdnn.runtime.xla_flags import REDUCTION_FLAG as FLAG

NAME = FLAG.partition("=")[0]

AFFECTED = """
import platform
import jaxlib.version

platform.machine = lambda: "x86_64"
jaxlib.version.__version__ = "0.10.2"
"""
"""Makes any machine one that needs the flag. JAX must not start with it where it is unknown."""

IMPORT = """
import json, os, warnings

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import jaxdnn
    from jaxdnn.workflows import lenet
    from jaxdnn import parity
warned = [w for w in caught if "jaxdnn" in str(w.message)]
print(json.dumps({
    "flags": os.environ.get("XLA_FLAGS"),
    "warnings": [[w.category.__name__, str(w.message), w.filename, w.lineno] for w in warned],
}))
"""

STARTED = "import jax\njax.devices()\n"

Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def python(clean_environment: dict[str, str], tmp_path: Path) -> Python:
    def run(program: str, flags: str | None = None) -> subprocess.CompletedProcess[str]:
        (tmp_path / "user.py").write_text(program)
        return subprocess.run(
            [sys.executable, "user.py"],
            env=clean_environment | ({} if flags is None else {"XLA_FLAGS": flags}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def imported(python: Python) -> Callable[..., dict[str, Any]]:
    """What the import leaves in XLA_FLAGS, and the warnings about it."""

    def run(before: str, flags: str | None = None) -> dict[str, Any]:
        result = python(before + IMPORT, flags)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run


@pytest.mark.parametrize(
    ("version", "machine", "before", "after"),
    [
        ("0.10.2", "x86_64", None, FLAG),
        ("0.10.2", "AMD64", "", FLAG),
        ("0.11.0", "x86_64", "--xla_a=1", f"{FLAG} --xla_a=1"),
        ("0.11.0", "x86_64", f" --xla_a=1\n{NAME}_b=2", f"{FLAG} --xla_a=1\n{NAME}_b=2"),
        # What the user has set wins, whatever it is.
        ("0.10.2", "x86_64", FLAG, FLAG),
        ("0.10.2", "x86_64", f"--xla_a=1 {NAME}=", f"--xla_a=1 {NAME}="),
        ("0.10.2", "x86_64", f"{NAME}=dot,reduce --xla_a=1", f"{NAME}=dot,reduce --xla_a=1"),
        # XLA ends a process whose flags it cannot read; the user sees that, and why.
        ("0.10.2", "x86_64", "no/such/file", "no/such/file"),
        # Another release may not know the flag, and ends if it is set.
        ("0.10.1", "x86_64", None, None),
        ("0.11.1", "x86_64", "--xla_a=1", "--xla_a=1"),
        ("0.10.20", "x86_64", None, None),
        ("1.0", "x86_64", None, None),
        # Another machine has another compiler.
        ("0.10.2", "aarch64", None, None),
        ("0.10.2", "arm64", "--xla_a=1", "--xla_a=1"),
    ],
)
def test_the_flag_is_set_where_it_is_needed_and_known(
    version: str, machine: str, before: str | None, after: str | None, python: Python
) -> None:
    program = (
        "import os, platform, jaxlib.version\n"
        f"platform.machine = lambda: {machine!r}\n"
        f"jaxlib.version.__version__ = {version!r}\n"
        "import jaxdnn\n"
        "print(repr(os.environ.get('XLA_FLAGS')))\n"
    )
    result = python(program, before)
    assert (result.stdout, result.stderr) == (f"{after!r}\n", "")


def test_flags_in_a_file_are_kept(python: Python, tmp_path: Path) -> None:
    """XLA_FLAGS may name a file, to whose name nothing can be appended."""
    (tmp_path / "flags").write_text("--xla_a=1\n--xla_b=2\n")
    program = AFFECTED + "import os, jaxdnn\nprint(os.environ['XLA_FLAGS'].split())"
    assert python(program, "flags").stdout == f"{[FLAG, '--xla_a=1', '--xla_b=2']}\n"


def test_without_jaxlib_the_import_works(python: Python) -> None:
    program = "import sys\nsys.modules['jaxlib'] = None\nimport jaxdnn\n"
    result = python(program)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "imports",
    [
        "import jaxdnn\nimport jax",
        "import jax, jax.numpy\nimport jaxdnn",
        "from jaxdnn import parity\nimport jax",
        "import optax, flax\nfrom jaxdnn.workflows import lenet\nimport jax",
    ],
)
def test_a_program_that_was_compiled_wrongly_is_right(imports: str, python: Python) -> None:
    program = (
        "import warnings\nwarnings.simplefilter('error', RuntimeWarning)\n"
        f"{imports}\n"
        "import numpy as np\n"
        "rows = np.zeros((32_769, 3), np.float32)\n"
        "rows[:, 0] = np.arange(len(rows))\n"
        "identity = np.eye(3, dtype=np.float32)\n"
        "with jax.default_matmul_precision('highest'):\n"
        "    sums = jax.jit(jax.vmap(lambda r: jax.numpy.sum((identity @ r) ** 2)))(rows)\n"
        "print(np.sum(np.asarray(sums) != rows[:, 0] ** 2))\n"
    )
    result = python(program)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "0\n"


def test_one_warning_where_jax_has_started(imported: Callable[..., dict[str, Any]]) -> None:
    found = imported(STARTED + AFFECTED, "--xla_force_host_platform_device_count=2")
    [[category, message, file, line]] = found["warnings"]
    assert category == "RuntimeWarning"
    assert "JAX has started before jaxdnn was imported" in message
    assert "jaxlib 0.10.2 computes some sums wrongly" in message
    assert f"set XLA_FLAGS={FLAG} before Python starts" in message
    assert "import jaxdnn before the first JAX computation" in message
    # It points at the user's first import of the package.
    lines = (STARTED + AFFECTED + IMPORT).splitlines()
    assert Path(file).name == "user.py"
    assert lines[line - 1] == "    import jaxdnn"
    # The compilation cache must not see a flag that the compiler has not.
    assert found["flags"] == "--xla_force_host_platform_device_count=2"


@pytest.mark.parametrize(
    ("machine", "flags"),
    [
        pytest.param('jaxlib.version.__version__ = "0.11.1"', None, id="another release"),
        pytest.param('platform.machine = lambda: "arm64"', None, id="another machine"),
        # Set where JAX has started already, since a release that does not know the flag would end.
        pytest.param(
            f"import os\nos.environ['XLA_FLAGS'] = '{NAME}=dot'",
            f"{NAME}=dot",
            id="the user's flag",
        ),
    ],
)
def test_no_warning_where_no_flag_is_missed(
    machine: str, flags: str | None, imported: Callable[..., dict[str, Any]]
) -> None:
    assert imported(f"{STARTED}{AFFECTED}{machine}\n") == {"flags": flags, "warnings": []}


@pytest.mark.parametrize(
    ("jax", "warnings", "flags"),
    [
        # Importing JAX, tracing and abstract evaluation start nothing.
        (
            "import jax\njax.eval_shape(jax.numpy.sin, jax.ShapeDtypeStruct((2,), 'float32'))",
            0,
            FLAG,
        ),
        # Releases without the function, or without anything that could be asked.
        ("import jax\ndel jax._src.xla_bridge.backends_are_initialized", 0, FLAG),
        (STARTED + "del jax._src.xla_bridge.backends_are_initialized", 1, None),
        (
            "import jax\ndel jax._src.xla_bridge.backends_are_initialized\n"
            "del jax._src.xla_bridge._backends",
            1,
            None,
        ),
    ],
)
def test_whether_jax_has_started_is_known(
    jax: str, warnings: int, flags: str | None, imported: Callable[..., dict[str, Any]]
) -> None:
    found = imported(f"{jax}\n{AFFECTED}")
    assert (len(found["warnings"]), found["flags"]) == (warnings, flags)


def test_the_command_says_what_was_set(python: Python) -> None:
    """Where the sums are verified; a lesson's reader need not know of it."""
    program = AFFECTED + "from jaxdnn import cli\ncli.main(['verify', 'no-such-workflow'])"
    lesson = program.replace("verify", "run")
    said = f"jaxdnn: XLA_FLAGS={FLAG} set, since jaxlib 0.10.2 computes some sums wrongly\n"
    result = python(program)
    assert result.returncode == 2
    assert result.stderr.startswith(said)
    assert result.stderr.count(FLAG) == 1
    assert FLAG not in python(program, FLAG).stderr + python(lesson).stderr
