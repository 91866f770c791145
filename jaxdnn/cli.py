"""The command ``jaxdnn``."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import jaxdnn
from jaxdnn import workflows
from jaxdnn.errors import ConfigError, JaxdnnError
from jaxdnn.interruption import Interruption

if TYPE_CHECKING:
    from jaxdnn.workflows.result import TrainingResult

__all__ = ["main"]

T = TypeVar("T")


@dataclass(frozen=True)
class Files:
    """What is read and what is written."""

    data_dir: Path | None = None
    """Folder with the four MNIST files, plain or .gz; by default the cache, then a download."""

    plot: Path | None = None
    """Picture of the loss curve; None for no picture."""

    checkpoint: Path | None = None
    """Trained parameters, as safetensors under torch's names."""

    json: Path | None = None
    """Everything the run measured, as JSON."""

    def check(self) -> None:
        """Raise ConfigError if a result could not be written."""
        from jaxdnn import plots
        from jaxdnn.files import check_writable

        options: dict[Path, str] = {}
        for option in ("--plot", "--checkpoint", "--json"):
            path = getattr(self, option[2:])
            if path is None:
                continue
            check_writable(path, option=option)
            if (other := options.setdefault(path.resolve(), option)) != option:
                raise ConfigError(f"{other} and {option} both name {path}; give each its own file.")
        if self.plot is not None:
            plots.check_format(self.plot, option="--plot")


@dataclass(frozen=True)
class Arguments(Generic[T]):
    """The flags of ``jaxdnn run``: the workflow's own, the seed, and files."""

    config: T
    files: Files

    seed: int = 0
    """Decides everything that is random."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    The code is 0 for success, 2 for bad input, 1 where the system refuses (a full disk), and 128
    plus the number of a signal to stop, so 130 for Ctrl-C.

    Args:
      argv: the arguments; by default those of the process.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (closed by the shell, >&-)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    interruption = Interruption()
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        match options.command:
            case "list":
                _list()
            case "run":
                _run(options.workflow, options.flags, interruption)
            case _:
                parser.print_help()
        # A full disk must not look like success.
        sys.stdout.flush()
    except JaxdnnError as error:
        _complain(error)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _complain(error)
        sys.exit(1)
    except BaseException:
        # An interrupted import can end in any exception.
        if interruption.signal is None:
            raise
        _complain("interrupted")
        sys.stderr.flush()
        os._exit(128 + interruption.signal)  # a compiled run cannot be stopped, only left
    sys.exit(0)


def _complain(message: object) -> None:
    print(f"jaxdnn: {message}", file=sys.stderr)  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdnn",
        description="Small deep networks as pure, jit-compiled JAX functions, "
        "each proved equal to its PyTorch mirror.",
    )
    parser.add_argument("--version", action="version", version=f"jaxdnn {jaxdnn.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    commands.add_parser("list", help="list the workflows")
    run = commands.add_parser(
        "run",
        help="run a workflow",
        usage="jaxdnn run [-h] WORKFLOW [flags]",
        epilog="'jaxdnn run WORKFLOW --help' lists the workflow's flags.",
    )
    run.add_argument(
        "workflow",
        metavar="WORKFLOW",
        choices=list(workflows.WORKFLOWS),
        help=f"one of: {', '.join(workflows.WORKFLOWS)}",
    )
    flags = run.add_argument("flags", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    flags.required = False
    return parser


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "document", "what it shows", box=None, pad_edge=False)
    for workflow in workflows.WORKFLOWS.values():
        table.add_row(workflow.id, workflow.document, workflow.summary)
    Console().print(table)


def _run(workflow_id: str, flags: Sequence[str], interruption: Interruption) -> None:
    import tyro

    from jaxdnn.workflows.config import require_seed

    module = workflows.load(workflow_id)
    defaults = Arguments(module.Config(), Files(plot=Path(f"{workflow_id}.png")))
    arguments = tyro.cli(
        Arguments[module.Config],
        prog=f"jaxdnn run {workflow_id}",
        description=workflows.WORKFLOWS[workflow_id].summary,
        args=list(flags),
        default=defaults,
        registry=_number_parsers(),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    require_seed(arguments.seed)
    arguments.files.check()
    _run_training(workflows.WORKFLOWS[workflow_id], arguments, interruption)


def _number_parsers() -> Any:
    """How tyro reads a hyperparameter that may be an array in a sweep: as a plain number."""
    import tyro.constructors

    from jaxdnn.workflows.config import Real

    parsers = tyro.constructors.ConstructorRegistry()

    @parsers.primitive_rule
    def parse_real(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type != Real:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="FLOAT",
            instance_from_str=lambda words: float(words[0]),
            is_instance=lambda value: isinstance(value, float),
            str_from_instance=lambda value: [str(value)],
        )

    return parsers


def _run_training(
    workflow: workflows.Workflow, arguments: Arguments, interruption: Interruption
) -> None:
    from jaxdnn import terminal
    from jaxdnn.data import mnist
    from jaxdnn.workflows.result import device_and_precision

    console = terminal.console()
    with terminal.download_bars(console) as bars:
        data, source = mnist.load(arguments.files.data_dir, progress=bars)
    device, precision = device_and_precision()
    console.print(f"{workflow.id} on {device}, {precision}, MNIST from {source}", markup=False)

    module, config = workflows.load(workflow.id), arguments.config
    with terminal.RunProgress(
        console,
        epochs=config.epochs,
        samples=len(data.train_labels),
        batch_size=config.batch_size,
    ) as progress:
        result = interruption.wait_for(
            lambda: module.run(arguments.seed, config, data, data_source=source, progress=progress)
        )

    written, failures = _write_files(workflow, result, arguments.files)
    console.print(f"test accuracy {result.test_accuracy:.2%}", style="bold")
    if result.diverged_at is not None:
        console.print(f"the loss is not finite from step {result.diverged_at} on; lower --lr")
    rate = config.epochs * len(data.train_labels) / result.train_seconds
    console.print(
        f"compiling {result.compile_seconds:.1f} s, training {result.train_seconds:.1f} s "
        f"({rate:,.0f} images/s)"
    )
    for description, path in written:
        console.print(f"{description} in {path}", markup=False)
    if failures:
        raise OSError("; ".join(failures))


def _write_files(
    workflow: workflows.Workflow, result: "TrainingResult", files: Files
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Write every file that was asked for, what cannot be made again first, whatever fails."""
    from jaxdnn import checkpoint, plots
    from jaxdnn.files import write_atomically

    measurements = result.to_dict()

    def write_checkpoint(path: Path) -> None:
        metadata = {"workflow": workflow.id, "config": measurements["config"]}
        checkpoint.save(path, result.params, metadata=metadata)

    def write_json(path: Path) -> None:
        with write_atomically(path) as file:
            file.write(json.dumps(measurements, allow_nan=False).encode() + b"\n")

    def write_plot(path: Path) -> None:
        plots.loss_curve(
            path,
            result.losses,
            title=workflow.title,
            test_accuracy_by_epoch=result.test_accuracy_by_epoch,
        )

    written, failures = [], []
    for description, path, write in (
        ("checkpoint", files.checkpoint, write_checkpoint),
        ("measurements", files.json, write_json),
        ("loss curve", files.plot, write_plot),
    ):
        if path is not None:
            try:
                write(path)
                written.append((description, path))
            except OSError as error:
                failures.append(f"the {description} could not be written to {path}: {error}")
    return written, failures
