"""Which package may import what: proved in processes of their own."""

import dataclasses
import importlib
import importlib.metadata
import inspect
import subprocess
import sys

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""

BLOCK = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
"""


def run(program: str) -> set[str]:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_jaxdnn_never_imports_torch() -> None:
    loaded = run(IMPORT_ALL.format(package="jaxdnn"))
    assert "jax" in loaded
    assert not {"torch", "reference_torch"} & loaded


def test_reference_torch_never_imports_jax() -> None:
    loaded = run(IMPORT_ALL.format(package="reference_torch"))
    assert "torch" in loaded
    assert not {"jax", "flax", "optax", "jaxdnn"} & loaded


def test_import_jaxdnn_loads_neither_jax_nor_a_device() -> None:
    loaded = run("import sys, jaxdnn, jaxdnn.cli; print(*sys.modules)")
    assert not {"jax", "numpy", "tyro", "rich", "matplotlib"} & loaded


def test_importing_every_module_touches_no_device() -> None:
    program = IMPORT_ALL.format(package="jaxdnn") + (
        "from jax._src import xla_bridge\nprint('backends', bool(xla_bridge._backends))"
    )
    assert "True" not in run(program)


def test_training_core_needs_no_library_of_the_command_line() -> None:
    blocked = ("tyro", "matplotlib", "pooch", "requests", "platformdirs", "pandas", "torch")
    core = "checkpoint data.batches data.mnist interop losses models parity training"
    core += " workflows.mnist_dnn"
    program = BLOCK.format(blocked=blocked) + "".join(
        f"import jaxdnn.{module}\n" for module in core.split()
    )
    run(program)


def test_plain_install_brings_no_torch() -> None:
    requirements = importlib.metadata.requires("jaxdnn") or []
    plain = [requirement for requirement in requirements if "extra ==" not in requirement]
    assert plain
    assert not [requirement for requirement in plain if requirement.startswith("torch")]


@pytest.mark.parametrize(
    ("module", "only_ours"),
    [
        ("losses", set()),
        ("models", set()),
        ("training", {"compile_and_run"}),
        ("workflows.mnist_dnn", {"run"}),
    ],
)
def test_mirrors_share_the_names_of_their_functions(module: str, only_ours: set[str]) -> None:
    ours = importlib.import_module(f"jaxdnn.{module}")
    theirs = importlib.import_module(f"reference_torch.{module}")

    def functions(side: object) -> set[str]:
        return {name for name in vars(side)["__all__"] if inspect.isfunction(getattr(side, name))}

    assert functions(theirs)
    assert functions(ours) == functions(theirs) | only_ours


def test_mirrors_share_their_settings() -> None:
    def settings(package: str) -> dict[str, object]:
        config = importlib.import_module(f"{package}.workflows.mnist_dnn").Config
        return {field.name: field.default for field in dataclasses.fields(config)}

    assert settings("jaxdnn") == settings("reference_torch")
