"""Which package may import what: proved in processes of their own."""

import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys

import jax
import pytest

import jaxdnn
from jaxdnn import workflows

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
    """Nor does any workflow, its table or its comparison with the documents."""
    blocked = ("tyro", "matplotlib", "pooch", "requests", "platformdirs", "pandas", "PIL", "torch")
    core = "data.batches data.mnist data.paired_files data.synthetic data.tabular torch_compat"
    core += " losses models optim parity training runs.checkpoint runs.prediction runs.result"
    core += " runs.documented cli.run"
    program = BLOCK.format(blocked=blocked) + "".join(
        f"import jaxdnn.{module}\n" for module in core.split()
    )
    program += "from jaxdnn import workflows\nfor i in workflows.WORKFLOWS: workflows.load(i)\n"
    program += "workflows.load('momentum-sgd').run()\n"
    run(program)


def test_every_listed_workflow_is_a_module_and_every_module_is_listed() -> None:
    loaded = {workflow.module for workflow in workflows.WORKFLOWS.values()}
    shared = {"config", "digits", "documented", "result"}
    found = {module.name for module in pkgutil.iter_modules(workflows.__path__)}
    assert found == loaded | shared
    for workflow_id in workflows.WORKFLOWS:
        module = workflows.load(workflow_id)
        assert {"Config", "SEED", "run"} <= set(module.__all__)


def test_lazy_submodules_are_all_that_are_public() -> None:
    names = set(jaxdnn.__all__) - {"__version__"}
    for name in names:
        assert getattr(jaxdnn, name) is importlib.import_module(f"jaxdnn.{name}")
    internal = {
        "cephes",
        "cli",
        "compilation_cache",
        "device",
        "execution",
        "errors",
        "files",
        "flags",
        "grid",
        "host_loop",
        "interruption",
        "memory",
        "outputs",
        "plots",
        "prediction",
        "resumption",
        "running",
        "startup",
        "sweep_results",
        "sweeping",
        "verification",
        "xla_flags",
    }
    internal |= {"terminal", "__main__"}
    found = {module.name for module in pkgutil.iter_modules(jaxdnn.__path__)}
    assert names == found - internal
    assert dir(jaxdnn) == sorted(jaxdnn.__all__)
    assert all(f"`jaxdnn.{name}`" in (jaxdnn.__doc__ or "") for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'cnn'"):
        jaxdnn.cnn  # noqa: B018


def test_plain_install_brings_no_torch() -> None:
    requirements = importlib.metadata.requires("jaxdnn") or []
    plain = [requirement for requirement in requirements if "extra ==" not in requirement]
    assert plain
    assert not [requirement for requirement in plain if requirement.startswith("torch")]


ONLY_OURS = {
    "checkpoint": {"read"},
    "data.batches": {"shuffle"},
    "data.paired_files": set(),
    "data.synthetic": set(),
    "losses": set(),
    "models": set(),
    # The mirror of the others is `torch.optim`.
    "optim": {
        *("adagrad", "adam", "adamw", "rmsprop", "sgd", "clip_grad_norm"),
        *("cosine_annealing_lr", "exponential_lr", "linear_lr", "one_cycle_lr", "step_lr"),
        *("from_settings", "from_torch", "per_epoch"),
    },
    "training": set(),
    "workflows.autograd": {"run"},
    "workflows.data_loading": {"run"},
    "workflows.gradient_descent": {"run"},
    "workflows.lenet": {"run"},
    "workflows.linear_regression": {"run"},
    "workflows.mnist_dnn": {"run"},
    "workflows.momentum_sgd": {"draw_network", "run"},
    "workflows.sum_classifier": {"init", "run"},
    "workflows.tabular_dnn": {"init", "run"},
    "workflows.two_layer_net": {"run"},
}
ONLY_THEIRS = {"models": {"load_start"}}
# What observes torch, for `jaxdnn.parity`.
ONLY_REFERENCE = {
    "description",
    "kinks",
    "mistakes",
    "observe",
    "recording",
    "training_run",
    "trajectory",
    "workflow_steps",
}


def test_table_of_mirrors_is_complete() -> None:
    def modules(package: str) -> set[str]:
        root = importlib.import_module(package)
        found = pkgutil.walk_packages(root.__path__, f"{package}.")
        return {module.name.partition(".")[2] for module in found} - {"data", "workflows"}

    pairs = modules("jaxdnn") & modules("reference_torch")
    assert set(ONLY_OURS) == pairs
    assert modules("reference_torch") - pairs == ONLY_REFERENCE


@pytest.mark.parametrize("module", ONLY_OURS)
def test_mirrors_share_the_names_of_their_functions(module: str) -> None:
    ours = importlib.import_module(f"jaxdnn.{module}")
    theirs = importlib.import_module(f"reference_torch.{module}")

    def functions(side: object) -> set[str]:
        return {name for name in vars(side)["__all__"] if inspect.isroutine(getattr(side, name))}

    only_theirs = ONLY_THEIRS.get(module, set())
    assert functions(ours) - ONLY_OURS[module] == functions(theirs) - only_theirs
    assert functions(ours) >= ONLY_OURS[module]
    assert functions(theirs) >= only_theirs
    assert set(ours.__all__) & set(theirs.__all__)


MODULES = [workflow.module for workflow in workflows.WORKFLOWS.values()]


# The other two have nothing in their settings that torch would be told.
@pytest.mark.parametrize("module", sorted(set(MODULES) - {"autograd", "data_loading"}))
def test_mirrors_share_their_settings(module: str) -> None:
    def settings(package: str) -> dict[str, object]:
        config = importlib.import_module(f"{package}.workflows.{module}").Config
        return {field.name: field.default for field in dataclasses.fields(config)}

    assert settings("jaxdnn") == settings("reference_torch")


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"autograd", "data_loading"}))
def test_config_is_a_pytree_of_its_numbers(module: str) -> None:
    """One compiled run serves every learning rate; what shapes the program is static."""
    config = importlib.import_module(f"jaxdnn.workflows.{module}").Config()
    leaves, structure = jax.tree.flatten(config)
    numbers = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if isinstance(getattr(config, field.name), float)
    }
    assert sorted(leaves) == sorted(numbers.values())
    assert structure.unflatten(leaves) == config
    assert jax.tree.map(lambda leaf: leaf, config) == config
