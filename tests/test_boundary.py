"""Which package may import what, in processes of their own; and what lessons and mirrors share."""

import ast
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
from jaxdnn.runs import catalogue, reports
from jaxdnn.runs.workflow import NetworkReport, Report

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
    loaded = run("import sys, jaxdnn; print(*sys.modules)")
    assert not {"jax", "numpy", "tyro", "rich", "matplotlib"} & loaded


def test_the_command_lists_and_helps_without_jax() -> None:
    loaded = run("import sys, jaxdnn.cli; print(*sys.modules)")
    assert not {"jax", "flax", "optax", "pandas", "matplotlib"} & loaded


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
    core += " runs.documented runs.ensemble runs.digits"
    program = BLOCK.format(blocked=blocked) + "".join(
        f"import jaxdnn.{module}\n" for module in core.split()
    )
    program += (
        "from jaxdnn.runs import catalogue\nfor i in catalogue.WORKFLOWS: catalogue.report(i)\n"
        "from jaxdnn.runs.workflow import Request\n"
        "report = catalogue.report('momentum-sgd')\n"
        "report.run(Request(report.SEED, report.Config()))\n"
    )
    run(program)


def test_every_listed_workflow_is_a_lesson_with_a_report() -> None:
    listed = {workflow.module for workflow in catalogue.WORKFLOWS.values()}
    assert {module.name for module in pkgutil.iter_modules(workflows.__path__)} == {
        *listed,
        "config",
    }
    assert {module.name for module in pkgutil.iter_modules(reports.__path__)} == listed
    for workflow_id, workflow in catalogue.WORKFLOWS.items():
        module = catalogue.report(workflow_id)
        assert isinstance(module, Report)
        assert isinstance(module, NetworkReport) == (workflow.kind in ("network", "long"))


def test_lazy_submodules_are_all_that_are_public() -> None:
    names = set(jaxdnn.__all__) - {"__version__"}
    assert jaxdnn.run is importlib.import_module("jaxdnn.runs.execute").run
    for name in names - {"run"}:
        assert getattr(jaxdnn, name) is importlib.import_module(f"jaxdnn.{name}")
    found = {module.name for module in pkgutil.iter_modules(jaxdnn.__path__)}
    assert names - {"run"} == found - {"__main__", "cli", "errors", "study", "verification"}
    assert dir(jaxdnn) == sorted(jaxdnn.__all__)
    assert all(f"`jaxdnn.{name}`" in (jaxdnn.__doc__ or "") for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'cnn'"):
        jaxdnn.cnn  # noqa: B018


def test_plain_install_brings_no_torch() -> None:
    requirements = importlib.metadata.requires("jaxdnn") or []
    plain = [requirement for requirement in requirements if "extra ==" not in requirement]
    assert plain
    assert not [requirement for requirement in plain if requirement.startswith("torch")]


PAIRS = {
    "data.batches": "data.batches",
    "data.paired_files": "data.paired_files",
    "data.synthetic": "data.synthetic",
    "losses": "losses",
    "models": "models",
    "optim": "optim",
    "runs.checkpoint": "checkpoint",
    "training": "training",
}
"""Modules beside the lessons, in `jaxdnn` and in `reference_torch`."""

ONLY_JAX = {
    "data.batches": {"shuffle"},
    "models": {"from_flax", "torch_default_init"},
    # torch's own are in `torch.optim`.
    "optim": {
        *("adagrad", "adam", "adamw", "rmsprop", "sgd", "clip_grad_norm"),
        *("cosine_annealing_lr", "exponential_lr", "linear_lr", "one_cycle_lr", "step_lr"),
        *("from_settings", "from_torch", "per_epoch"),
    },
    "runs.checkpoint": {"read"},
    # A step and scans of steps; in torch they are the body of a loop over a loader, which also
    # knows the data set.
    "training": {"train_batches", "train_on_batch", "train_step", "train_steps"},
    # The optimiser's state is part of what is passed on; in torch the optimiser holds it.
    "workflows.sum_classifier": {"init"},
    "workflows.tabular_dnn": {"init"},
}
ONLY_TORCH = {
    "models": {"load_params", "scale_params"},
    # Loaders; JAX indexes arrays inside the program.
    "workflows.mnist_dnn": {"batches"},
    "workflows.tabular_dnn": {"batches"},
    # JAX has one function for both halves of the document.
    "workflows.linear_regression": {"layer_train"},
}
OTHER_NAMES = {
    # A loss of parameters, and a criterion, which sees outputs only.
    "loss": "criterion",
    "layer_loss": "layer_criterion",
    "sequential_loss": "sequential_criterion",
    "loss_from_logits": "criterion_from_logits",
    "loss_in_two_parts": "criterion_in_two_parts",
    # The samples of all epochs, and a loader that yields an epoch's.
    "layer_permutations": "layer_batches",
}
"""What a function of a JAX lesson is called in torch, where it is called otherwise."""


@pytest.mark.parametrize("module", PAIRS)
def test_mirrors_share_the_names_of_their_functions(module: str) -> None:
    def functions(name: str) -> set[str]:
        side = importlib.import_module(name)
        return {name for name in side.__all__ if inspect.isroutine(getattr(side, name))}

    ours, theirs = functions(f"jaxdnn.{module}"), functions(f"reference_torch.{PAIRS[module]}")
    assert ours - ONLY_JAX.get(module, set()) == theirs - ONLY_TORCH.get(module, set())
    assert ours >= ONLY_JAX.get(module, set())
    assert theirs >= ONLY_TORCH.get(module, set())


LESSONS = sorted(workflow.module for workflow in catalogue.WORKFLOWS.values())


def functions_in_order(package: str, lesson: str) -> list[str]:
    """The public functions of a lesson as they stand; what is assigned to a small name is one."""
    module = importlib.import_module(f"{package}.workflows.{lesson}")
    names = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.append(node.targets[0].id)
    found = [name for name in names if name.islower() and not name.startswith("_")]
    assert set(found) <= set(module.__all__)
    return found


def test_every_lesson_has_its_mirror() -> None:
    for package in ("jaxdnn.workflows", "reference_torch.workflows"):
        found = {m.name for m in pkgutil.iter_modules(importlib.import_module(package).__path__)}
        assert found - {"config"} == set(LESSONS)


@pytest.mark.parametrize("lesson", LESSONS)
def test_lesson_and_mirror_have_the_same_functions_in_the_same_order(lesson: str) -> None:
    ours, theirs = (functions_in_order(p, lesson) for p in ("jaxdnn", "reference_torch"))
    only_jax = ONLY_JAX.get(f"workflows.{lesson}", set())
    only_torch = ONLY_TORCH.get(f"workflows.{lesson}", set())
    assert only_jax <= set(ours)
    assert only_torch <= set(theirs)
    shared = [name for name in ours if name not in only_jax]
    expected = [name if name in theirs else OTHER_NAMES.get(name, name) for name in shared]
    assert expected == [name for name in theirs if name not in only_torch]


@pytest.mark.parametrize("lesson", LESSONS)
def test_lesson_and_mirror_share_their_settings(lesson: str) -> None:
    def settings(package: str) -> dict[str, object]:
        config = importlib.import_module(f"{package}.workflows.{lesson}").Config
        return {field.name: field.default for field in dataclasses.fields(config)}

    assert settings("jaxdnn") == settings("reference_torch")


# The other two train nothing that could be swept.
@pytest.mark.parametrize("lesson", sorted(set(LESSONS) - {"autograd", "data_loading"}))
def test_config_is_a_pytree_of_its_numbers(lesson: str) -> None:
    """One compiled run serves every learning rate; what shapes the program is static."""
    config = importlib.import_module(f"jaxdnn.workflows.{lesson}").Config()
    leaves, structure = jax.tree.flatten(config)
    numbers = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if isinstance(getattr(config, field.name), float)
    }
    assert sorted(leaves) == sorted(numbers.values())
    assert structure.unflatten(leaves) == config
    assert jax.tree.map(lambda leaf: leaf, config) == config
