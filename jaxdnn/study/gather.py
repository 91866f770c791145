"""What the pages show, measured: runs in both frameworks, losses side by side, parameters.

All of it as JSON types: `jaxdnn.study.site` draws a page from them, and writes them beside it.
"""

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdnn import models, torch_compat
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity.port import State, take_step
from jaxdnn.parity.runner import precision
from jaxdnn.runs import catalogue, documented, execute
from jaxdnn.verification.cases import CASES, EPOCH
from jaxdnn.verification.sides import Case, TorchSide

__all__ = ["compare", "has_torch", "losses", "parameters", "rows_of", "run"]
__all__ += ["source", "torch_figures"]

STEPS = 300
"""Most steps of a pair of loss curves; rounding has parted them by then, if it does at all. MNIST's
take an epoch."""

POINTS = 240
"""Most points of a curve on a page."""

_PRECISIONS = ("float32", "float64")


def has_torch() -> bool:
    """Whether torch is installed here."""
    return importlib.util.find_spec("torch") is not None


def run(workflow_id: str, data: MNIST | None = None) -> dict[str, Any]:
    """Run a workflow as its document does.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.
      data: MNIST, for the workflows that need it.

    Returns:
      What ``jaxdnn run --json`` writes, without the losses.
    """
    result = execute.run_as_documented(workflow_id, data).to_dict()
    for name in ("losses", "curves", "printed_figures", "compile_seconds", "train_seconds"):
        result.pop(name, None)
    return result


def torch_figures(workflow_id: str) -> dict[str, dict[str, Any]]:
    """The documented figures of a workflow as torch computes them here."""
    from reference_torch.study import figures

    return figures.compute(catalogue.WORKFLOWS[workflow_id].module)


def compare(
    ours: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The printed figures beside both sides' own.

    Args:
      ours: figures of a run in JAX.
      theirs: of torch; some may be missing.

    Returns:
      For each printed figure: ``entry``, ``name``, ``place``, ``printed``, ``jax`` and ``torch``
      (rounded to the printed precision; torch's may be None), ``size``, and how many numbers each
      side reproduces.
    """
    torchs = {(figure.entry, figure.name): figure for figure in documented.compare(theirs)}
    rows = []
    for figure in documented.compare(ours):
        other = torchs.get((figure.entry, figure.name))
        rows.append(
            {
                "entry": figure.entry,
                "name": figure.name,
                "place": figure.place,
                "printed": figure.printed,
                "jax": figure.computed,
                "torch": None if other is None else other.computed,
                "size": figure.size,
                "jax_reproduced": int(figure.reproduced),
                "jax_within_rounding": int(figure.within_rounding),
                "torch_reproduced": None if other is None else int(other.reproduced),
                "reachable": figure.reachable,
                "tolerance": documented.entries()[figure.entry].tolerance,
            }
        )
    return rows


def rows_of(workflow_id: str) -> list[str]:
    """The rows of the parity table that train a workflow, whose losses can be drawn."""
    trained = catalogue.WORKFLOWS[workflow_id].kind != "figures"
    return [row for row, case in CASES.items() if trained and case.workflow == workflow_id]


def losses(row: str, data: MNIST | None = None) -> dict[str, Any]:
    """Train one row of the parity table in both frameworks, on the same batches.

    Args:
      row: a key of `jaxdnn.verification.cases.CASES`.
      data: MNIST, for the rows that need it.

    Returns:
      ``steps``, ``at`` (the steps of the points), and for each precision the losses ``jax`` and
      ``torch``, their ``difference`` relative to the largest loss so far, and the ``largest``
      difference of all steps.
    """
    case = CASES[row]
    side = case.torch(data, EPOCH if case.needs_mnist else STEPS)
    count = len(side.batches)
    at = np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))
    found: dict[str, Any] = {"steps": count, "at": at.tolist()}
    for dtype in _PRECISIONS:
        theirs, ours = _torch_losses(side, dtype), _jax_losses(case, side, dtype)
        # Relative to the largest loss so far: near an optimum the loss itself is rounding.
        apart = np.abs(ours - theirs) / np.maximum.accumulate(np.abs(theirs))
        found[dtype] = {
            "jax": _rounded(ours[at], 6),
            "torch": _rounded(theirs[at], 6),
            "difference": _rounded(apart[at], 3),
            "largest": _rounded([apart.max()], 3)[0],
        }
    return found


def _torch_losses(side: TorchSide, dtype: str) -> np.ndarray:
    from reference_torch.study import losses

    return losses.train(side.stepper(), side.batches, dtype)


def _jax_losses(case: Case, side: TorchSide, dtype: str) -> np.ndarray:
    with precision(dtype):
        port = case.port()
        initial = {name: np.asarray(array, dtype) for name, array in side.initial.items()}
        params = jax.device_put(port.from_torch(initial))
        state = State(params, port.optimizer.init(params), {})
        step: Callable[..., Any] = jax.jit(partial(take_step, port))
        found = []
        for batch in side.batches:
            arrays = tuple(_cast(array, dtype) for array in batch)
            state, info, _ = step(state, arrays)
            found.append(info.loss)
        return np.array(jax.device_get(found), np.float64)


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return np.asarray(array, dtype) if np.asarray(array).dtype.kind == "f" else np.asarray(array)


def _rounded(numbers: Sequence[float] | np.ndarray, digits: int) -> list[float | None]:
    """Numbers with so many significant digits; None where one is not finite."""
    return [float(f"{n:.{digits}g}") if math.isfinite(n) else None for n in np.asarray(numbers)]


def parameters(workflow_id: str) -> list[dict[str, Any]]:
    """A workflow's network in both layouts: names and shapes, and where torch's axes lie.

    Returns:
      For each parameter: ``jax`` and ``jax_shape``, ``torch`` and ``torch_shape``; empty if the
      workflow has no network.
    """
    params = _network(workflow_id)
    rows = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        tree: Any = np.zeros(leaf.shape, np.float32)
        for key in reversed(path):
            tree = {key.key: tree}
        if len(path) == 1:  # bare weights have the same name and layout in both
            name, shape = path[0].key, leaf.shape
        else:
            [(name, array)] = torch_compat.to_torch(tree).items()
            shape = array.shape
        rows.append(
            {
                "jax": " / ".join(str(key.key) for key in path),
                "jax_shape": list(leaf.shape),
                "torch": name,
                "torch_shape": list(shape),
            }
        )
    return rows


def _network(workflow_id: str) -> Any:
    """The shapes of a workflow's parameters, as an abstract tree."""
    lesson = catalogue.lesson(workflow_id)
    report = catalogue.report(workflow_id)
    key = jax.eval_shape(lambda: jax.random.key(0))
    if catalogue.WORKFLOWS[workflow_id].kind in ("network", "long"):
        features = 8  # of the generated table; the other networks' inputs are fixed
        return jax.eval_shape(report.network(features).init, key)  # type: ignore[attr-defined]
    found = [value for value in vars(lesson).values() if isinstance(value, models.Model)]
    return jax.eval_shape(found[0].init, key) if found else {}


def source(package: str, workflow_id: str) -> str:
    """The text of a lesson's module; torch's is read as a file, which needs no torch."""
    module = catalogue.WORKFLOWS[workflow_id].module
    if package == "jaxdnn":
        return inspect.getsource(importlib.import_module(f"jaxdnn.workflows.{module}"))
    spec = importlib.util.find_spec("reference_torch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder,) = spec.submodule_search_locations
    return Path(folder, "workflows", f"{module}.py").read_text(encoding="utf-8")
