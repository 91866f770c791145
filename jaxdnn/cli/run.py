"""The command ``jaxdnn run``: a workflow's flags, its run, and the files it leaves."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from jaxdnn.cli import outputs
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import RunError
from jaxdnn.runs import catalogue
from jaxdnn.runs.catalogue import Workflow
from jaxdnn.runs.workflow import Report, Request
from jaxdnn.runtime import startup

if TYPE_CHECKING:
    from rich.console import Console

    from jaxdnn.runs.result import Result

__all__ = ["run"]

C = TypeVar("C")
I = TypeVar("I")  # noqa: E741 (inputs)
F = TypeVar("F")
P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True)
class OneProcess:
    """No sharding."""


@dataclass(frozen=True)
class OneSeed:
    """Everything random is drawn as torch draws it after the seed."""

    torch_seed = None


@dataclass(frozen=True)
class TorchSeed:
    """Random numbers."""

    torch_seed: int | None = None
    """Draw the initial parameters and the shuffles bit for bit as torch does after
    torch.manual_seed; None to draw them from JAX's keys."""


@dataclass(frozen=True)
class Figures:
    """Output files."""

    json: Path | None = None
    """Everything the run computed, unrounded, as JSON."""


@dataclass(frozen=True)
class Curves(Figures):
    """Output files."""

    plot: Path | None = None
    """Picture of the losses; None for no picture."""


@dataclass(frozen=True)
class Network(Curves):
    """Output files."""

    checkpoint: Path | None = None
    """Trained parameters, as safetensors under torch's names."""


@dataclass(frozen=True)
class LongRun(Network):
    """Output files."""

    resume: Path | None = None
    """File in which the run is saved after every epoch; if it exists, the run resumes from it."""


_FILES = {"figures": Figures, "curves": Curves, "network": Network, "long": LongRun}


@dataclass(frozen=True)
class Arguments(Generic[C, I, F, P, T]):
    """The flags of ``jaxdnn run WORKFLOW``."""

    config: C
    inputs: I
    files: F
    machine: startup.Machine
    processes: P
    torch: T

    seed: int = 0
    """Decides everything that is random."""

    full: bool = False
    """Print every number and every epoch, and mark the numbers that differ from the document's."""


def run(workflow_id: str, words: Sequence[str], interruption: Interruption) -> None:
    """Parse a workflow's flags, run it, and write the requested files.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.
      words: the command line after it.
      interruption: handles signals while a compiled program runs.

    Raises:
      JaxdnnError: a flag, a file or the data is invalid.
      OSError: an output file could not be written; the others have been.
      MemoryError: the run does not fit into the device's memory.
      RunError: another process of the run has died.
      SystemExit: a flag is unknown, or help was requested.
    """
    import jax

    from jaxdnn.cli import terminal
    from jaxdnn.runs.execute import execute
    from jaxdnn.runtime.device import device_and_precision
    from jaxdnn.workflows.config import require_seed

    workflow, report = catalogue.WORKFLOWS[workflow_id], catalogue.report(workflow_id)
    arguments = _parse(workflow, report, words)
    require_seed(arguments.seed)
    paths = {
        field.name: path
        for field in dataclasses.fields(arguments.files)
        if (path := getattr(arguments.files, field.name)) is not None
    }
    request = Request(
        arguments.seed,
        arguments.config,
        resume=paths.get("resume"),
        torch_seed=arguments.torch.torch_seed,
    )
    if request.torch_seed is not None:
        require_seed(request.torch_seed)
    if workflow.kind == "long":
        mesh = startup.start_processes(arguments.processes, arguments.machine)
        request = request._replace(mesh=mesh)
    else:
        startup.start(arguments.machine)

    first = jax.process_index() == 0  # only one of several processes prints and writes
    if first:
        outputs.check(paths, arguments.inputs.files())
    console = terminal.console(quiet=not first)
    with terminal.download_bars(console) as bars:
        data, source = arguments.inputs.load(arguments.seed, bars)
    request = request._replace(data=data, data_source=source)
    words_of_device = ", ".join(device_and_precision())
    console.print(f"{workflow_id} on {words_of_device}", markup=False, end="")
    if request.torch_seed is not None:
        console.print(f", torch seed {request.torch_seed}", markup=False, end="")
    console.print(f", {source}" if source else "", markup=False)

    with terminal.RunProgress(console) as progress:
        request = request._replace(progress=progress)
        try:
            result = interruption.wait_for(lambda: execute(workflow_id, request))
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            if "RESOURCE_EXHAUSTED" in reason:
                raise MemoryError(reason) from error
            if jax.process_count() == 1:
                raise
            raise RunError(
                f"Another process of the run is gone ({reason}). Start them all again; with "
                "--resume they go on after the last finished epoch."
            ) from error
    if not first:
        return

    written, failures = _write(workflow, result, paths)
    _report(console, result, full=arguments.full)
    for description, path in written:
        console.print(f"{description} in {path}", markup=False)
    if failures:
        raise OSError("; ".join(failures))


def _parse(workflow: Workflow, report: Report, words: Sequence[str]) -> Arguments:
    import tyro

    from jaxdnn.cli import flags

    files = _FILES[workflow.kind]
    processes = startup.Processes if workflow.kind == "long" else OneProcess
    torch = TorchSeed if workflow.draws_from_keys else OneSeed
    plot = {} if workflow.kind == "figures" else {"plot": Path(f"{workflow.id}.png")}
    return tyro.cli(
        Arguments[report.Config, report.Inputs, files, processes, torch],
        prog=f"jaxdnn run {workflow.id}",
        description=f"{workflow.title}: {workflow.summary}.",
        args=list(words),
        default=Arguments(
            report.Config(),
            report.Inputs(),
            files(**plot),
            startup.Machine(),
            processes(),
            torch(),
            seed=report.SEED,
        ),
        registry=flags.hyperparameters("FLOAT"),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _write(
    workflow: Workflow, result: "Result", paths: dict[str, Path]
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Write the requested files, the checkpoint first: it took longest to make."""
    from jaxdnn.data.files import write_atomically

    def write_checkpoint(path: Path) -> None:
        assert result.network
        outputs.save_network(
            path,
            result.network.params,
            workflow=workflow.id,
            config=result.to_dict()["config"],
            preprocessing=result.network.preprocessing,
        )

    def write_json(path: Path) -> None:
        with write_atomically(path) as file:
            file.write(json.dumps(result.to_dict(), allow_nan=False).encode() + b"\n")

    def write_plot(path: Path) -> None:
        from jaxdnn.runs import plots

        plots.save(result.figure(workflow.title), path)

    return outputs.write(
        paths,
        {
            "checkpoint": ("checkpoint", write_checkpoint),
            "json": ("measurements", write_json),
            "plot": ("picture", write_plot),
        },
    )


def _report(console: "Console", result: "Result", *, full: bool) -> None:
    from jaxdnn.cli import terminal

    terminal.show_figures(console, result, full=full)
    for remark in result.remarks:
        console.print(f"- {remark}", markup=False)
    for name, step in result.divergences.items():
        console.print(
            f"the loss is not finite from step {step} of {name} on; lower its learning rate"
        )
    if result.training is None:
        return
    training = result.training
    if training.test_accuracy_by_epoch is not None:
        console.print(f"test accuracy {training.test_accuracy:.2%}", style="bold")
    if not training.samples:
        console.print("nothing was left to train")
        return
    rate = training.samples / max(training.train_seconds, 1e-9)
    console.print(
        f"compiling {training.compile_seconds:.1f} s, training {training.train_seconds:.1f} s "
        f"({rate:,.0f} samples/s)"
    )
