"""The command ``jaxdnn``."""

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import jaxdnn
from jaxdnn import workflows
from jaxdnn.errors import JaxdnnError

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

        for option in ("plot", "checkpoint", "json"):
            path = getattr(self, option)
            if path is not None:
                check_writable(path, option=f"--{option}")
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
    """Run the command and exit: 0 for success, 2 for bad input, 130 for an interruption.

    Args:
      argv: the arguments; by default those of the process.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        match options.command:
            case "list":
                _list()
            case "run":
                _run(options.workflow, options.flags)
            case _:
                parser.print_help()
        # A full disk or a closed pipe must not look like success.
        sys.stdout.flush()
    except JaxdnnError as error:
        print(f"jaxdnn: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        print(f"jaxdnn: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        print("jaxdnn: interrupted; no result was written", file=sys.stderr)  # noqa: T201
        sys.stderr.flush()
        os._exit(130)  # a compiled run cannot be stopped, only left
    sys.exit(0)


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


def _run(workflow_id: str, flags: Sequence[str]) -> None:
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
    _run_training(workflows.WORKFLOWS[workflow_id], arguments)


def _number_parsers() -> Any:
    """How tyro reads a hyperparameter that may be an array in a sweep: as a plain number."""
    import tyro.constructors

    from jaxdnn.workflows.config import Real

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
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

    return registry


def _run_training(workflow: workflows.Workflow, arguments: Arguments) -> None:
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
        result = _interruptible(
            lambda: module.run(arguments.seed, config, data, data_source=source, progress=progress)
        )

    written = list(_write_files(workflow, result, arguments.files))
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


def _write_files(
    workflow: workflows.Workflow, result: "TrainingResult", files: Files
) -> Iterator[tuple[str, Path]]:
    from jaxdnn import checkpoint, plots
    from jaxdnn.files import write_atomically

    if files.plot:
        plots.loss_curve(
            files.plot,
            result.losses,
            title=workflow.title,
            test_accuracy_by_epoch=result.test_accuracy_by_epoch,
        )
        yield "loss curve", files.plot
    measurements = result.to_dict()
    if files.checkpoint:
        metadata = {"workflow": workflow.id, "config": measurements["config"]}
        checkpoint.save(files.checkpoint, result.params, metadata=metadata)
        yield "checkpoint", files.checkpoint
    if files.json:
        with write_atomically(files.json) as file:
            file.write(json.dumps(measurements, allow_nan=False).encode() + b"\n")
        yield "measurements", files.json


def _interruptible(function: Callable[[], T]) -> T:
    """Call a function in a thread, so that Ctrl-C is heard while a compiled program runs."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future.result()
