"""The command ``jaxdnn``."""

import argparse
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jaxdnn
from jaxdnn import workflows
from jaxdnn.cli import run as running
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import ConfigError, JaxdnnError, RunError
from jaxdnn.runtime import xla_flags

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    The code is 0 for success, 2 for bad input, 1 where the system refuses (a full disk) or a
    verification fails, 3 where a verification is inconclusive, and 128 plus the number of a signal
    to stop, so 130 for Ctrl-C.

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
    code = 0
    try:
        if options.command in ("run", "sweep", "predict", "verify") and (
            said := xla_flags.set_flags()
        ):
            _complain(said)
        match options.command:
            case "list":
                _list(as_json=options.json)
            case "run":
                running.run(options.workflow, options.flags, interruption)
            case "sweep":
                from jaxdnn.cli import sweep as sweeping

                sweeping.run(options.workflow, options.flags, interruption)
            case "predict":
                _predict(options)
            case "verify":
                code = _verify(options, interruption)
            case _:
                parser.print_help()
        # A full disk must not look like success.
        sys.stdout.flush()
    except JaxdnnError as error:
        _complain(error)
        _leave(2)
    except RunError as error:
        _complain(error)
        _leave(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _complain(error)
        _leave(1)
    except MemoryError as error:
        _complain(f"out of memory ({error}); ask for fewer samples, epochs or a smaller batch")
        _leave(1)
    except BaseException:
        # An interrupted import can end in any exception.
        if interruption.signal is None:
            raise
        _complain("interrupted")
        sys.stderr.flush()
        os._exit(128 + interruption.signal)  # a compiled run cannot be stopped, only left
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """Exit; of several processes one that fails goes at once, not to wait for the others."""
    if "jax" in sys.modules:
        from jaxdnn.runtime import startup

        if startup.many_processes():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


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
    listing = commands.add_parser("list", help="list the workflows")
    listing.add_argument("--json", action="store_true", help="as a list of JSON objects")
    for name, does, which in (
        ("run", "run a workflow", f"one of: {', '.join(workflows.WORKFLOWS)}"),
        ("sweep", "train many networks as one program", "mnist-dnn or lenet"),
    ):
        command = commands.add_parser(
            name,
            help=does,
            usage=f"jaxdnn {name} [-h] WORKFLOW [flags]",
            epilog=f"'jaxdnn {name} WORKFLOW --help' lists the workflow's flags.",
        )
        choices = list(workflows.WORKFLOWS)
        command.add_argument("workflow", metavar="WORKFLOW", choices=choices, help=which)
        flags = command.add_argument("flags", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        flags.required = False
    predict = commands.add_parser(
        "predict",
        help="use a saved network on new samples",
        description="Write a table of what a saved network says of new samples, as CSV.",
    )
    predict.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="a file of 'run'")
    samples = predict.add_mutually_exclusive_group(required=True)
    samples.add_argument("--csv", type=Path, metavar="FILE", help="samples: a table, plain or .gz")
    samples.add_argument(
        "--images",
        type=Path,
        metavar="FILE",
        nargs="+",
        help="images of digits, light on dark: PNG, JPEG and others, or IDX files, plain or .gz",
    )
    predict.add_argument(
        "--index-column",
        metavar="COLUMN",
        help="the table's column of row names; by default the first one if it is no feature, "
        "and '' if there is none",
    )
    predict.add_argument("--invert", action="store_true", help="the images are dark on light")
    predict.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write; by default standard output"
    )
    _add_compile_cache(predict)
    verify = commands.add_parser(
        "verify",
        help="prove the workflows equal to torch",
        description="Compare every step of the workflows with torch, and the figures with those "
        "that the documents print. Exit code: 0 pass, 1 fail, 2 bad usage, 3 inconclusive.",
    )
    verify.add_argument(
        "workflows",
        metavar="WORKFLOW",
        nargs="*",
        help=f"of: {', '.join(workflows.WORKFLOWS)}; by default all",
    )
    verify.add_argument(
        "--precision",
        choices=("float64", "float32", "all"),
        default="all",
        help="float64: the same mathematics; float32: rounded no worse; by default both",
    )
    verify.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="at most so many of each row; by default 200, of digits 100",
    )
    verify.add_argument("--json", type=Path, metavar="FILE", help="everything that was measured")
    verify.add_argument("--html", type=Path, metavar="FILE", help="a page to read")
    verify.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with the four MNIST files"
    )
    verify.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="run torch only, and save what it does (20 steps unless --steps)",
    )
    verify.add_argument(
        "--replay", type=Path, metavar="FILE", help="run JAX only, beside what torch did"
    )
    verify.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where JAX computes; auto is a GPU if it finds one",
    )
    _add_compile_cache(verify)
    return parser


def _add_compile_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-compile-cache",
        dest="compile_cache",
        action="store_false",
        help="keep no compiled programs in the user's cache folder",
    )


def _verify(options: argparse.Namespace, interruption: Interruption) -> int:
    from jaxdnn.cli import verify as verification

    unknown = [name for name in options.workflows if name not in workflows.WORKFLOWS]
    if unknown:
        raise ConfigError(
            f"There is no workflow {unknown[0]!r}; there are {', '.join(workflows.WORKFLOWS)}."
        )
    fields = {k: v for k, v in vars(options).items() if k != "command"}
    return verification.run(verification.Options(**fields), interruption)


def _list(*, as_json: bool) -> None:
    from jaxdnn.runs import documented

    rows = []
    for workflow in workflows.WORKFLOWS.values():
        reachable, printed = documented.count(workflow.family)
        rows.append(
            {
                "id": workflow.id,
                "rows": workflow.rows,
                "documents": list(workflow.documents),
                "summary": workflow.summary,
                "figures_printed": printed,
                "figures_replayed": reachable,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=1))  # noqa: T201
        return

    from rich.console import Console
    from rich.table import Table

    table = Table(
        "id", "rows", "document", "what it shows", "figures replayed", box=None, pad_edge=False
    )
    for row in rows:
        printed, replayed = row["figures_printed"], row["figures_replayed"]
        status = f"{replayed} of {printed}" if printed else "none printed"
        document = " ".join(row["documents"])
        table.add_row(row["id"], row["rows"], document, row["summary"], status)
    console = Console()
    console.print(table)
    console.print()
    for name, title in workflows.DOCUMENTS.items():
        console.print(f"{name}  {title}", highlight=False)


def _predict(options: argparse.Namespace) -> None:
    from jaxdnn.runtime import startup

    startup.prepare_environment(startup.Machine(compile_cache=options.compile_cache))

    from jaxdnn.data.files import check_writable, refuse_to_replace, write_atomically
    from jaxdnn.runs import prediction

    inputs = options.images or [options.csv]
    if options.csv is not None and options.invert:
        raise ConfigError("--invert is for --images; leave it out with --csv.")
    if options.csv is None and options.index_column is not None:
        raise ConfigError("--index-column is for --csv; leave it out with --images.")
    if options.output is not None:
        check_writable(options.output, option="--output")
        refuse_to_replace(options.output, [options.checkpoint, *inputs], option="--output")
    network = prediction.load(options.checkpoint)
    if options.csv is not None:
        table = prediction.predict_csv(network, options.csv, index_column=options.index_column)
    else:
        table = prediction.predict_images(network, options.images, invert=options.invert)
    if options.output is None:
        sys.stdout.write(table)
        return
    with write_atomically(options.output) as file:
        file.write(table.encode(errors="backslashreplace"))  # as standard output does
