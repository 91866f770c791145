"""The command ``jaxdnn verify``: every workflow against torch and against the printed figures."""

import importlib.util
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from jaxdnn.cli import terminal
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue
from jaxdnn.runtime import startup

if TYPE_CHECKING:
    from rich.console import Console

    from jaxdnn.verification.verify import Figures, Outcome

__all__ = ["Verify", "run"]

_RECORDED_STEPS = 20


@dataclass(frozen=True)
class Verify:
    """Compare the workflows with torch, step by step, and with the documents' printed figures.

    Exit code: 0 pass, 1 fail, 2 bad usage, 3 inconclusive.
    """

    workflows: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[WORKFLOW ...]")
    ] = ()
    """Which ones; by default all. 'jaxdnn list' names them."""

    precision: Literal["float64", "float32", "all"] = "all"
    """float64: the same mathematics; float32: rounded no worse than torch; by default both."""

    steps: int | None = None
    """At most so many of each training run; by default 200, and 100 of those on MNIST."""

    json: Path | None = None
    """Everything that was measured, as JSON."""

    html: Path | None = None
    """A page to read."""

    data_dir: Path | None = None
    """Folder with the four MNIST files."""

    record: Path | None = None
    """Run torch only, and record it (20 steps unless --steps)."""

    replay: Path | None = None
    """Run JAX only, and compare with a recording."""

    device: startup.Device = "auto"
    """Where JAX computes; auto takes a GPU if JAX finds one."""

    compile_cache: bool = True
    """Cache compiled programs in the user's cache folder for the next start."""


def run(options: Verify, interruption: Interruption) -> int:
    """Verify the workflows and print a table.

    Args:
      options: the command line.
      interruption: handles signals while programs run.

    Returns:
      0 if everything passes, 1 if something fails, 3 if something is inconclusive and nothing
      fails.

    Raises:
      JaxdnnError: a flag, a file or the data is invalid.
      OSError: an output file could not be written.
    """
    _check(options)
    console = terminal.console()
    chosen = options.workflows or list(catalogue.WORKFLOWS)
    # The sharded step needs two devices; by default a process has one CPU device.
    startup.two_cpu_devices()
    machine = startup.Machine(device=options.device, compile_cache=options.compile_cache)
    startup.prepare_environment(machine)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # two processes share a GPU
    if options.device == "gpu":
        startup.start(machine)
    # For torch: its spinning threads slow the other workers down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if set(catalogue.LONG) & set(chosen):
        from jaxdnn.data import mnist

        with terminal.download_bars(console) as bars:
            mnist.load(options.data_dir, progress=bars)
    if options.record is not None:
        return interruption.wait_for(lambda: _record(options, chosen, console))
    from jaxdnn.verification.verify import Figures, Outcome

    began = time.perf_counter()
    with terminal.Tally(console) as tally:
        results = interruption.wait_for(lambda: list(_results(options, chosen, tally)))
    outcomes = [result for result in results if isinstance(result, Outcome)]
    figures = [result for result in results if isinstance(result, Figures)]
    terminal.show_verification(console, outcomes, figures, seconds=time.perf_counter() - began)
    _write(options, outcomes, figures)
    verdicts = {result.verdict for result in results}
    return 1 if "fail" in verdicts else 3 if "inconclusive" in verdicts else 0


def _check(options: Verify) -> None:
    """Raise ConfigError if the flags contradict each other or a file is unusable."""
    from jaxdnn.data.files import check_writable, refuse_to_replace
    from jaxdnn.data.mnist import files_read

    for name in options.workflows:
        catalogue.require(name)
    if options.steps is not None and options.steps < 2:
        raise ConfigError(f"--steps must be at least 2; got {options.steps}.")
    if options.record is not None and options.replay is not None:
        raise ConfigError("--record runs torch, --replay runs JAX; give one of them.")
    if options.record is not None and (options.json or options.html):
        raise ConfigError("--record compares nothing; leave out --json and --html.")
    read = files_read(options.data_dir)
    read += [options.replay] if options.replay is not None else []
    for name in ("record", "json", "html"):
        path = getattr(options, name)
        if path is not None:
            check_writable(path, option=f"--{name}")
            refuse_to_replace(path, read, option=f"--{name}")
    if options.replay is None and importlib.util.find_spec("torch") is None:
        raise ConfigError(
            "torch is not installed here: install jaxdnn[torch], or record the runs where it is "
            "(jaxdnn verify --record FILE) and give --replay FILE."
        )
    if options.replay is not None and not options.replay.is_file():
        raise ConfigError(f"--replay {options.replay} is not a file.")


def _rows(chosen: Sequence[str]) -> list[str]:
    from jaxdnn.verification.cases import CASES

    return [row for row, case in CASES.items() if case.workflow in chosen]


def _record(options: Verify, chosen: Sequence[str], console: "Console") -> int:
    from jaxdnn.data import mnist
    from jaxdnn.verification import verify
    from jaxdnn.verification.cases import CASES, TITLES

    rows = _rows(chosen)
    needs_mnist = any(CASES[row].needs_mnist for row in rows)
    assert options.record is not None
    verify.record(
        options.record,
        rows,
        data=mnist.load(options.data_dir)[0] if needs_mnist else None,
        steps=options.steps or _RECORDED_STEPS,
        samples=32,
        on_row=lambda row: console.print(
            f"recording {CASES[row].workflow}, {TITLES[row]}", markup=False
        ),
    )
    size = options.record.stat().st_size / 1e6
    console.print(f"recording of {size:.0f} MB in {options.record}", markup=False)
    return 0


Task = tuple[str, str, bool]
"""Kind (row of the table, drawn data, figures), name, and whether to compare transforms."""


def _tasks(options: Verify, chosen: Sequence[str]) -> Iterator[Task]:
    """All tasks, in the order of the table."""
    from jaxdnn.runs import documented
    from jaxdnn.verification.cases import CASES

    recorded = None
    if options.replay is not None:
        from jaxdnn.parity.source import recorded_runs

        recorded = recorded_runs(options.replay)
    seen: set[str] = set()
    for row in _rows(chosen):
        if recorded is None or row in recorded:
            yield "row", row, CASES[row].workflow not in seen
            seen.add(CASES[row].workflow)
    for workflow_id in chosen:
        if documented.count(catalogue.WORKFLOWS[workflow_id].family)[1]:
            yield "figures", workflow_id, False
    if "data-loading" in chosen and recorded is None:
        yield "data", "data-loading", False


def _results(
    options: Verify, chosen: Sequence[str], tally: "terminal.Tally"
) -> Iterator["Outcome | Figures"]:
    tasks = list(_tasks(options, chosen))
    tally.start(len(tasks))
    # Long tasks first, so that the workers finish together.
    turns = sorted(tasks, key=lambda task: not _is_of_digits(task))
    context = multiprocessing.get_context("spawn")
    workers = min(len(tasks), max(1, min(4, os.cpu_count() or 1)))
    with ProcessPoolExecutor(workers, context, _prepare, (os.getpid(), workers)) as pool:
        futures = {pool.submit(_do, task, options): task for task in turns}
        for future in as_completed(futures):
            future.result()  # raises at once if a worker failed
            tally.advance(futures[future][1])
    results = {task: future.result() for future, task in futures.items()}
    yield from (results[task] for task in tasks)


def _is_of_digits(task: Task) -> bool:
    from jaxdnn.verification.cases import CASES

    kind, name, _ = task
    return CASES[name].needs_mnist if kind == "row" else name in catalogue.LONG


def _prepare(parent: int, workers: int) -> None:
    """Initialise a worker: pin it to its own cores, and exit when the parent exits."""
    startup.end_with(parent)
    if hasattr(os, "sched_setaffinity"):
        # Workers that share cores would wait for each other's threads.
        cores = sorted(os.sched_getaffinity(0))
        number = multiprocessing.current_process()._identity[0] - 1  # type: ignore[attr-defined]
        os.sched_setaffinity(0, cores[number % workers :: workers] or cores)


def _do(task: Task, options: Verify) -> Any:
    from jaxdnn.data import mnist
    from jaxdnn.verification import verify

    kind, name, with_forms = task
    of_digits = _is_of_digits(task)
    if kind == "data":
        return verify.verify_data_loading()
    if kind == "figures":
        data = mnist.load(options.data_dir)[0] if of_digits else None
        return verify.verify_figures(name, data)
    both = ("float64", "float32")
    needs_mnist = of_digits and options.replay is None
    return verify.verify_case(
        name,
        data=mnist.load(options.data_dir)[0] if needs_mnist else None,
        precisions=both if options.precision == "all" else (options.precision,),
        steps=options.steps,
        recording=options.replay,
        with_forms=with_forms,
    )


def _write(options: Verify, outcomes: list["Outcome"], figures: list["Figures"]) -> None:
    from jaxdnn.data.files import write_atomically
    from jaxdnn.parity.report import page

    if options.json is not None:
        contents = {
            "rows": [
                {
                    "workflow": outcome.workflow,
                    "row": outcome.row,
                    "title": outcome.title,
                    "verdict": outcome.verdict,
                    "forms": dict(outcome.forms),
                    "seconds": outcome.seconds,
                    "report": outcome.report.to_dict(),
                }
                for outcome in outcomes
            ],
            "figures": [figure._asdict() | {"verdict": figure.verdict} for figure in figures],
        }
        with write_atomically(options.json) as file:
            file.write(json.dumps(contents, allow_nan=False).encode() + b"\n")
    if options.html is not None:
        reports: list[tuple[str | None, Any]] = [
            (outcome.name, outcome.report) for outcome in outcomes
        ]
        with write_atomically(options.html) as file:
            file.write(page("jaxdnn beside torch", reports).encode())
