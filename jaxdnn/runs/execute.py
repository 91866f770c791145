"""A workflow, run in one call: what ``jaxdnn run`` and a notebook have in common."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Report, Request
from jaxdnn.runtime.progress import is_watched, progress_bar

__all__ = ["execute", "run", "run_as_documented"]


def execute(workflow_id: str, request: Request) -> Result:
    """Run a workflow as requested, and note whether the settings are the document's.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.
      request: what to run, with the data loaded.
    """
    report = catalogue.report(workflow_id)
    result = report.run(request)
    return dataclasses.replace(
        result,
        torch_seed=request.torch_seed,
        as_documented=_is_documented(report, request),
    )


def run_as_documented(workflow_id: str, data: Any = None) -> Result:
    """Run a workflow with its document's settings.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.
      data: MNIST, if it is loaded already; by default what the workflow reads.
    """
    report = catalogue.report(workflow_id)
    given, source = (data, "MNIST") if data is not None else report.Inputs().load(report.SEED)
    return execute(workflow_id, Request(report.SEED, report.Config(), given, source))


def run(
    workflow_id: str,
    *,
    seed: int | None = None,
    torch_seed: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Run a workflow with plain arguments, in a notebook for instance.

    Args:
      workflow_id: one of those that ``jaxdnn list`` shows, such as ``"mnist-dnn"``.
      seed: decides everything that is random; by default the document's.
      torch_seed: draws initial parameters and shuffles as torch does after
        ``torch.manual_seed``, in a workflow that otherwise draws them from JAX's keys.
      progress: whether to show a progress bar, on a terminal or in a notebook.
      **settings: hyperparameters and input files, the fields of the workflow's ``Config`` and
        ``Inputs``; by default the document's.

    Returns:
      The result, which a notebook shows as a table with a picture. ``result.figure()`` is the
      picture, ``result.network.params`` the trained parameters.

    Raises:
      ConfigError: there is no such workflow or setting, or a setting is out of range.
      DataError: the data are missing or unreadable.

    Example:
      >>> run("gradient-descent", lr=0.2, progress=False).figures["gradient_descent.by_hand"]["x"]
      -0.9939533824
    """
    catalogue.require(workflow_id)
    workflow, report = catalogue.WORKFLOWS[workflow_id], catalogue.report(workflow_id)
    if torch_seed is not None and not workflow.draws_from_keys:
        raise ConfigError(
            f"{workflow_id} draws from torch's generator anyhow: leave out torch_seed, give seed."
        )
    config, settings = _made(report.Config, settings)
    inputs, settings = _made(report.Inputs, settings)
    if settings:
        raise ConfigError(f"{workflow_id} has no setting {', '.join(settings)}.")
    chosen = report.SEED if seed is None else seed
    data, source = inputs.load(chosen)
    request = Request(chosen, config, data, source, torch_seed=torch_seed)
    if not progress or not is_watched():
        return execute(workflow_id, request)
    with progress_bar(getattr(config, "epochs", None), workflow_id) as update:
        return execute(workflow_id, request._replace(progress=_Bar(update)))


class _Bar:
    """A `jaxdnn.runs.workflow.Progress` that moves a progress bar."""

    def __init__(self, update: Callable[[int, str], None]) -> None:
        self._update = update

    def on_start(self, *, epochs: int, samples: int) -> None:
        """Nothing: the bar is there."""

    def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
        """Move the bar."""
        text = f"loss {loss:.4f}"
        if test_accuracy is not None:
            text += f"  test accuracy {test_accuracy:.2%}"
        self._update(done, text)


def _made(cls: Any, settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A dataclass from those settings that are its fields, and the other settings."""
    names = {field.name for field in dataclasses.fields(cls)}
    own = {name: value for name, value in settings.items() if name in names}
    return cls(**own), {name: value for name, value in settings.items() if name not in names}


def _is_documented(report: Report, request: Request) -> bool:
    """Whether the settings are the document's, so that its figures should come out."""
    reads_files = report.Inputs is not NoInputs  # the document's own data have no seed
    return request.config == report.Config() and (reads_files or request.seed == report.SEED)
