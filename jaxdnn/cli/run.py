"""The command ``jaxdnn run``: a workflow's flags, its run, and what it leaves."""

import dataclasses
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jaxdnn import workflows
from jaxdnn.cli import flags, outputs
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import RunError
from jaxdnn.runtime import startup
from jaxdnn.workflows import Workflow

if TYPE_CHECKING:
    from rich.console import Console

    from jaxdnn.runs.result import Result

__all__ = ["run"]

C = TypeVar("C")
I = TypeVar("I")  # noqa: E741 (inputs)
F = TypeVar("F")
P = TypeVar("P")


@dataclass(frozen=True)
class NoInputs:
    """Nothing is read."""


@dataclass(frozen=True)
class OneProcess:
    """Nothing is shared out."""


@dataclass(frozen=True)
class Figures:
    """What is written."""

    json: Path | None = None
    """Everything the run computed, unrounded, as JSON."""


@dataclass(frozen=True)
class Curves(Figures):
    """What is written."""

    plot: Path | None = None
    """Picture of the losses; None for no picture."""


@dataclass(frozen=True)
class Network(Curves):
    """What is written."""

    checkpoint: Path | None = None
    """Trained parameters, as safetensors under torch's names."""


@dataclass(frozen=True)
class LongRun(Network):
    """What is written."""

    resume: Path | None = None
    """The run as it is after each epoch: written after every one, and gone on from if it is there.
    """


_FILES = {"figures": Figures, "curves": Curves, "network": Network}


@dataclass(frozen=True)
class Arguments(Generic[C, I, F, P]):
    """The flags of ``jaxdnn run``: the workflow's own, the seed, and files."""

    config: C
    inputs: I
    files: F
    machine: startup.Machine
    processes: P

    seed: int = 0
    """Decides everything that is random."""


def run(workflow_id: str, words: Sequence[str], interruption: Interruption) -> None:
    """Parse a workflow's flags, run it, and write what was asked for.

    Args:
      workflow_id: a key of `jaxdnn.workflows.WORKFLOWS`.
      words: the command line after it.
      interruption: hears a signal while a compiled program runs.

    Raises:
      JaxdnnError: a flag, a file or the data is not as it should be.
      OSError: what was computed could not be written, after all that could be is.
      MemoryError: the run does not fit into the device's memory.
      RunError: another process of the run is gone.
      SystemExit: a flag is unknown or misspelt, or help was asked for.
    """
    import jax

    from jaxdnn.cli import terminal
    from jaxdnn.runtime.device import device_and_precision
    from jaxdnn.workflows.config import require_seed

    workflow, module = workflows.WORKFLOWS[workflow_id], workflows.load(workflow_id)
    arguments = _parse(workflow, module, words)
    require_seed(arguments.seed)
    paths = {
        field.name: path
        for field in dataclasses.fields(arguments.files)
        if (path := getattr(arguments.files, field.name)) is not None
    }
    keywords: dict[str, Any] = {}
    if isinstance(arguments.processes, startup.Processes):
        keywords["mesh"] = startup.start_processes(arguments.processes, arguments.machine)
        keywords["resume"] = paths.get("resume")
    else:
        startup.start(arguments.machine)

    first = jax.process_index() == 0  # of several processes one speaks and writes
    if first:
        read = [path for path in vars(arguments.inputs).values() if isinstance(path, Path)]
        outputs.check(paths, read)
    console = terminal.console(quiet=not first)
    inputs: tuple[Any, ...] = ()
    if hasattr(module, "Inputs"):
        with terminal.download_bars(console) as bars:
            data, source = arguments.inputs.load(arguments.seed, bars)
        inputs, keywords["data_source"] = (data,), source
    device, precision = device_and_precision()
    console.print(f"{workflow_id} on {device}, {precision}", markup=False, end="")
    console.print(f", {keywords['data_source']}" if keywords else "", markup=False)

    with terminal.RunProgress(console) as progress:
        if "progress" in inspect.signature(module.run).parameters:
            keywords["progress"] = progress
        try:
            result = interruption.wait_for(
                lambda: module.run(arguments.seed, arguments.config, *inputs, **keywords)
            )
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
    _report(console, result, as_documented=_is_documented(module, arguments))
    for description, path in written:
        console.print(f"{description} in {path}", markup=False)
    if failures:
        raise OSError("; ".join(failures))


def _parse(workflow: Workflow, module: ModuleType, words: Sequence[str]) -> Arguments:
    import tyro

    inputs = getattr(module, "Inputs", NoInputs)
    long = "resume" in inspect.signature(module.run).parameters
    files = LongRun if long else _FILES[workflow.kind]
    processes = startup.Processes if long else OneProcess
    plot = {} if workflow.kind == "figures" else {"plot": Path(f"{workflow.id}.png")}
    return tyro.cli(
        Arguments[module.Config, inputs, files, processes],
        prog=f"jaxdnn run {workflow.id}",
        description=f"{workflow.title}: {workflow.summary}.",
        args=list(words),
        default=Arguments(
            module.Config(),
            inputs(),
            files(**plot),
            startup.Machine(),
            processes(),
            seed=module.SEED,
        ),
        registry=flags.real_parsers("FLOAT"),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _is_documented(module: ModuleType, arguments: Arguments) -> bool:
    """Whether everything is as the document has it, so that its figures are to be expected."""
    return arguments.config == module.Config() and (
        arguments.seed == module.SEED or hasattr(module, "Inputs")
    )


def _write(
    workflow: Workflow, result: "Result", paths: dict[str, Path]
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Write every file that was asked for, what cannot be made again first, whatever fails."""
    from jaxdnn.cli import plots
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
        plots.picture(path, result, title=workflow.title)

    return outputs.write(
        paths,
        {
            "checkpoint": ("checkpoint", write_checkpoint),
            "json": ("measurements", write_json),
            "plot": ("picture", write_plot),
        },
    )


def _report(console: "Console", result: "Result", *, as_documented: bool) -> None:
    from jaxdnn.cli import terminal

    terminal.show_figures(console, result.figures, as_documented=as_documented)
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
