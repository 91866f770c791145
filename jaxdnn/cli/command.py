"""Entry point of the command ``jaxdnn``: dispatch, error messages and exit codes."""

import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

import tyro

import jaxdnn
from jaxdnn.cli import predict, run, study, verify
from jaxdnn.cli.interruption import Interruption
from jaxdnn.cli.predict import Predict
from jaxdnn.cli.study import Study
from jaxdnn.cli.verify import Verify
from jaxdnn.errors import JaxdnnError, RunError
from jaxdnn.runs import catalogue
from jaxdnn.runtime import startup, xla_flags

__all__ = ["main"]

_Workflow = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="WORKFLOW")]


@dataclass(frozen=True)
class List:
    """List the workflows."""

    json: bool = False
    """Print a list of JSON objects."""


@dataclass(frozen=True)
class Run:
    """Run a workflow. 'jaxdnn run WORKFLOW --help' lists its flags."""

    workflow: _Workflow
    """A name that 'jaxdnn list' shows."""


@dataclass(frozen=True)
class Sweep:
    """Train many networks as one program. 'jaxdnn sweep WORKFLOW --help' lists the flags."""

    workflow: _Workflow
    """One whose runs can be swept: mnist-dnn or lenet."""


_COMMANDS = {
    "list": List,
    "run": Run,
    "sweep": Sweep,
    "predict": Predict,
    "verify": Verify,
    "study": Study,
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    Exit codes: 0 for success; 1 for an error of the system, such as a full disk, or a failed
    verification; 2 for bad input; 3 for an inconclusive verification; 128 plus the signal's number
    after a signal, so 130 for Ctrl-C.

    Args:
      argv: the arguments; by default those of the process.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (closed by the shell, >&-)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    interruption = Interruption()
    code = 0
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv), interruption)
        # A full disk must not look like success.
        sys.stdout.flush()
    except JaxdnnError as error:
        _complain(error)
        _leave(2)
    except RunError as error:
        _complain(error)
        _leave(1)
    except BrokenPipeError:
        _discard_output()
        sys.exit(1)
    except OSError as error:
        _complain(error)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        _leave(1)
    except MemoryError as error:
        _complain(f"out of memory ({error}); ask for fewer samples, epochs or a smaller batch")
        _leave(1)
    except BaseException:
        # An interrupted import can raise any exception.
        if interruption.signal is None:
            raise
        _complain("interrupted")
        sys.stderr.flush()
        os._exit(128 + interruption.signal)  # a running XLA program cannot be interrupted
    sys.exit(code)


def _dispatch(words: list[str], interruption: Interruption) -> int:
    """Parse the command line and call the command; returns the exit code."""
    if words == ["--version"]:
        print(f"jaxdnn {jaxdnn.__version__}")  # noqa: T201
        return 0
    if words[:1] in (["run"], ["sweep"]) and words[1:] and not words[1].startswith("-"):
        # The flags are those of the workflow, so they are parsed once it is known.
        catalogue.require(words[1])
        if words[0] == "run":
            run.run(words[1], words[2:], interruption)
        else:
            from jaxdnn.cli import sweep  # imports JAX

            sweep.run(words[1], words[2:], interruption)
        return 0
    options = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        prog="jaxdnn",
        description=jaxdnn.__doc__.partition("\n")[0],  # type: ignore[union-attr]
        args=words or ["--help"],
        config=(tyro.conf.OmitArgPrefixes,),
    )
    match options:
        case List():
            _list(as_json=options.json)
        case Predict():
            predict.run(options)
        case Verify():
            if said := xla_flags.set_flags():
                _complain(said)
            return verify.run(options, interruption)
        case Study():
            study.run(options, interruption)
    return 0


def _leave(code: int) -> NoReturn:
    """Exit. A failed process of several exits at once: JAX's shutdown would wait for the others."""
    if startup.many_processes():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _discard_output() -> None:
    """Keep Python from writing, as it exits, what could not be written: its exit code would win."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: object) -> None:
    print(f"jaxdnn: {message}", file=sys.stderr)  # noqa: T201


def _list(*, as_json: bool) -> None:
    from jaxdnn.runs import documented

    rows = []
    for workflow in catalogue.WORKFLOWS.values():
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

    table = Table("id", "document", "what it shows", "figures replayed", box=None, pad_edge=False)
    for row in rows:
        printed, replayed = row["figures_printed"], row["figures_replayed"]
        status = f"{replayed} of {printed}" if printed else "none printed"
        table.add_row(row["id"], " ".join(row["documents"]), row["summary"], status)
    console = Console()
    console.print(table)
    console.print()
    for name, title in catalogue.DOCUMENTS.items():
        console.print(f"{name}  {title}", highlight=False)
