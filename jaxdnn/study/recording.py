"""Measurements that take too long for a build, or need torch: ``recorded.json``.

`record` makes them, with torch and MNIST, and takes a few minutes; `load` reads them.
"""

import datetime
import importlib.metadata
import importlib.resources
import json
import platform
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jaxdnn.data import mnist
from jaxdnn.data.files import write_atomically
from jaxdnn.parity.compare import PHASES, phase_of
from jaxdnn.parity.report import Tier
from jaxdnn.runs import catalogue, documented
from jaxdnn.study import examples, gather
from jaxdnn.verification import verify
from jaxdnn.verification.cases import CASES

__all__ = ["load", "record", "versions"]


@cache
def load() -> Mapping[str, Any]:
    """The recording that comes with the package.

    Returns:
      ``date``, ``versions``, ``machine``, and what `record` measured.

    Example:
      >>> sorted(load()["runs"])
      ['lenet', 'mnist-dnn']
    """
    file = importlib.resources.files("jaxdnn.study") / "recorded.json"
    return json.loads(file.read_text(encoding="utf-8"))


def versions() -> dict[str, str]:
    """The versions of what the measurements depend on, as far as it is installed here."""
    found = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def record(
    path: Path, *, data_dir: Path | None = None, on_part: Callable[[str], object] = lambda _: None
) -> None:
    """Measure everything that is recorded, and write it.

    Args:
      path: the file to write.
      data_dir: folder with MNIST; by default the cache.
      on_part: called with a description of each part before it is measured.

    Raises:
      DataError: MNIST is missing or damaged.
      OSError: the file cannot be written.
    """
    data, _ = mnist.load(data_dir)
    runs, torch_figures, losses, outcomes, counts = {}, {}, {}, [], []
    for workflow_id in catalogue.WORKFLOWS:
        on_part(f"figures of {workflow_id}")
        if workflow_id in catalogue.LONG:
            runs[workflow_id] = gather.run(workflow_id, data)
        torch_figures[workflow_id] = gather.torch_figures(workflow_id)
        for row in gather.rows_of(workflow_id):
            on_part(f"losses of {workflow_id}, {row}")
            losses[row] = gather.losses(row, data)
        if documented.count(catalogue.WORKFLOWS[workflow_id].family)[1]:
            of_digits = data if workflow_id in catalogue.LONG else None
            found = verify.verify_figures(workflow_id, of_digits)
            counts.append({**found._asdict(), "verdict": found.verdict})
    torch_figures["mnist-dnn"] = _torch_digits(data)
    for row, case in CASES.items():
        on_part(f"parity of {case.workflow}, {row}")
        outcomes.append(_outcome(verify.verify_case(row, data=data)))
    outcomes.append(_outcome(verify.verify_data_loading()))
    on_part("the examples in torch")
    programs = [concept.torch for concept in examples.pairs()]
    printed = examples.execute(programs)
    order = list(catalogue.WORKFLOWS)
    contents = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "runs": runs,
        "torch_figures": torch_figures,
        "losses": losses,
        "parity": {
            "rows": sorted(outcomes, key=lambda row: order.index(row["workflow"])),
            "figures": counts,
            "environment": outcomes[0]["environment"],
        },
        "torch_examples": {program.name: printed[str(program.path)] for program in programs},
    }
    for outcome in outcomes:
        del outcome["environment"]
    with write_atomically(path) as file:
        file.write(_json(contents).encode())


def _torch_digits(data: mnist.MNIST) -> dict[str, dict[str, float]]:
    """The accuracy of the document's longest run, in torch."""
    from reference_torch.workflows import mnist_dnn

    _, history = mnist_dnn.fit(0, mnist_dnn.Config(), data)
    assert history.test_accuracy is not None
    return {"mnist_dnn.test_accuracy": {"value": history.test_accuracy[-1].item()}}


def _outcome(outcome: verify.Outcome) -> dict[str, Any]:
    """A row of the parity table, with the largest error of each phase."""
    report = outcome.report
    return {
        "workflow": outcome.workflow,
        "row": outcome.row,
        "verdict": outcome.verdict,
        "forms": max(outcome.forms.values(), default=None),
        "notes": list(report.notes),
        "environment": {side: dict(values) for side, values in report.environment.items()},
        "tiers": [
            {
                "precision": tier.precision,
                "steps": tier.steps,
                "allowed": tier.allowed,
                "errors": _errors(tier),
                "resynchronised": len(tier.resynchronised),
            }
            for tier in report.tiers
        ],
    }


def _errors(tier: Tier) -> dict[str, float]:
    present = {phase_of(key) for key in tier.errors}
    worst = {phase: tier.largest(phase) for phase in PHASES if phase in present}
    return {phase: float(f"{found[1]:.3g}") for phase, found in worst.items() if found is not None}


def _json(contents: Mapping[str, Any]) -> str:
    """JSON with a line for each entry of the second level, so that differences can be read."""
    parts = []
    for name, value in contents.items():
        if isinstance(value, dict):
            entries = (f"  {json.dumps(k)}: {_compact(v)}" for k, v in value.items())
            parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(entries) + "\n }")
        else:
            parts.append(f" {json.dumps(name)}: {_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
