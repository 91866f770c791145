"""Terminal output: progress bars, and tables of figures, sweeps and verifications."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from jaxdnn.runs import tables

if TYPE_CHECKING:
    from jaxdnn.runs.result import Result

__all__ = [
    "RunProgress",
    "Tally",
    "console",
    "download_bars",
    "show_figures",
    "show_sweep",
    "show_verification",
]


class _Console(Console):
    """A console that becomes silent when its pipe is closed; the run continues."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # Buffered output must not raise when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console(*, quiet: bool = False) -> Console:
    """A console on standard output, without wrapping and without highlighting of numbers."""
    return _Console(highlight=False, soft_wrap=True, quiet=quiet)


class _DownloadBar:
    """The progress bar of one download, with the interface that pooch expects."""

    def __init__(self, bars: Progress, description: str) -> None:
        self._bars = bars
        self._task: TaskID = bars.add_task(description, total=None, amount="")

    @property
    def total(self) -> int | None:
        total = self._bars.tasks[self._task].total
        return None if total is None else int(total)

    @total.setter
    def total(self, total: int | None) -> None:
        self._bars.update(self._task, total=total or None)

    def update(self, amount: int, /) -> None:
        self._bars.update(self._task, advance=amount)
        task = self._bars.tasks[self._task]
        of_total = "" if task.total is None else f" of {decimal(int(task.total))}"
        self._bars.update(self._task, amount=decimal(int(task.completed)) + of_total)

    def reset(self) -> None:
        self._bars.reset(self._task)

    def close(self) -> None:
        task = self._bars.tasks[self._task]
        self._bars.update(self._task, total=task.completed or 1, completed=task.completed or 1)


@contextmanager
def download_bars(console: Console) -> Iterator[Callable[[str], _DownloadBar]]:
    """A context with a function that starts the progress bar of a download."""
    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("fetching {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:

        def start(description: str) -> _DownloadBar:
            if not console.is_terminal:
                console.print(f"fetching {description}", markup=False)
            return _DownloadBar(bars, description)

        yield start


class RunProgress:
    """The progress bar of a training run, and a line for each epoch that is evaluated.

    A `jaxdnn.runs.workflow.Progress`.

    Args:
      console: where to show it; if it is not a terminal, only the lines are written.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._epochs = self._samples = 1
        self._first_report: tuple[float, int] | None = None  # its time, and the epochs done then
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("samples"),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=None, numbers="")

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_start(self, *, epochs: int, samples: int) -> None:
        """Set the length of the bar."""
        self._epochs, self._samples = epochs, samples
        self._bar.update(self._task, total=epochs * samples, completed=0)

    def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
        """Move the bar, and write the line of an epoch that was evaluated."""
        now = time.perf_counter()
        if self._first_report is None:
            self._first_report = now, done
        start, done_at_start = self._first_report
        # The first report comes after compiling, so that the rate is of training alone.
        rate = (done - done_at_start) * self._samples / max(now - start, 1e-9)
        self._bar.update(
            self._task,
            description=f"epoch {done}/{self._epochs}",
            completed=done * self._samples,
            numbers=f"loss {loss:.4f}" + (f"  {rate:,.0f} samples/s" if rate else ""),
        )
        if test_accuracy is None:
            return
        # A full disk must not end the run; writing its results reports the error.
        with contextlib.suppress(OSError):
            self._console.print(
                f"epoch {done}/{self._epochs}  loss {loss:.4f}  test accuracy {test_accuracy:.2%}"
            )


def show_figures(console: Console, result: "Result", *, full: bool) -> None:
    """Print the computed figures beside those that the document prints.

    Args:
      console: where to print it.
      result: of the run.
      full: whether to print every number of a tensor and every epoch, not only the ends.
    """
    for line in tables.epoch_lines(result.by_epoch, full=full):
        console.print(line, markup=False)
    rows = tables.rows(result.figures, as_documented=result.as_documented)
    lines = [("figure", "printed in", "printed", "here", "same")]
    for row in rows:
        name = f"{row.entry}: {row.name}" if row.name != "value" else row.entry
        lines.append((name, row.place, row.printed, row.here, row.same))
    # A rich table would break its cells on a narrow terminal; these lines wrap, and can be copied.
    columns = [column for column in zip(*lines, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for i in range(len(lines)):
        cells = (f"{column[i]:{width}}" for column, width in zip(columns, widths, strict=True))
        console.print("  ".join(cells).rstrip(), markup=False, style="bold" if i == 0 else None)
    for row in rows if full else ():
        if isinstance(row.value, list):
            console.print(f"{row.entry}, {row.name}:", markup=False)
            for line in tables.full_lines(row):
                console.print(f"  {line}", markup=False)


class Tally:
    """A progress bar of a number of tasks.

    Args:
      console: where to show it; if it is not a terminal, nothing is shown.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "Tally":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start(self, total: int, *, doing: str = "verifying") -> None:
        """Set the number of tasks, and what is being done."""
        self._bar.update(self._task, total=total, description=doing)

    def advance(self, done: str, *, by: int = 1) -> None:
        """Count tasks as done."""
        self._bar.update(self._task, advance=by, description=f"{done} done")


def show_verification(
    console: Console, outcomes: Sequence[Any], figures: Sequence[Any], *, seconds: float
) -> None:
    """Print the results of `jaxdnn.verification`: the table, the figures, and the failures.

    Args:
      console: where.
      outcomes: `jaxdnn.verification.verify.Outcome` of each row.
      figures: `jaxdnn.verification.verify.Figures` of each workflow whose document prints some.
      seconds: total wall time.
    """
    columns = (("activation", "output", "loss"), ("grad",), ("optimizer",), ("param",))
    headings = ("workflow", "precision", "steps", *("loss", "grad", "state", "param"))
    table = Table(*headings, "forms", "verdict", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    table.columns[1].min_width, table.columns[-1].min_width = len("precision"), len("inconclusive")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for outcome in outcomes:
        for i, tier in enumerate(outcome.report.tiers):
            found = [[e for e in map(tier.largest, phases) if e is not None] for phases in columns]
            cells = [_error(tier, max(e for _, e in each)) if each else "-" for each in found]
            first = i == 0
            names = (outcome.workflow, f"  {outcome.title}")
            apart = max(outcome.forms.values(), default=None) if first else None
            table.add_row(
                names[i],
                tier.precision,
                str(tier.steps),
                *cells,
                "" if apart is None else _units(apart),
                outcome.verdict if first else "",
            )
        if len(outcome.report.tiers) == 1:
            table.add_row(f"  {outcome.title}")
    # Broken lines on a narrow terminal are better than truncated numbers.
    console.print(table, width=max(console.width, 97))
    console.print(
        "\nfloat64: the largest relative error, in units of 1e-16. Up to 10000 passes, and more"
        "\nwhere torch's own runs part as far from rounding alone. float32: one step from each of"
        "\nmany states, in multiples of torch's rounding error; up to 3 passes."
        "\nforms: the jitted step against the eager, scanned, vmapped and sharded one, in units of"
        "\n1e-16.",
        markup=False,
    )
    resynchronised = [
        f"{outcome.name} ({len(tier.resynchronised)} of {tier.steps})"
        for outcome in outcomes
        for tier in outcome.report.tiers
        if tier.resynchronised
    ]
    if resynchronised:
        console.print(
            "\nSteps after which torch's own runs part by rounding, and JAX goes on from torch's "
            f"state: {'; '.join(resynchronised)}.",
            markup=False,
        )
    if figures:
        console.print()
    for figure in figures:
        missing = figure.printed - figure.reachable
        text = f"{figure.workflow}: {figure.reproduced} of {figure.reachable} printed figures"
        text += f", {missing} out of its listing's reach" if missing else ""
        console.print(f"{text}: {figure.verdict}", markup=False)
    for outcome in outcomes:
        if outcome.verdict != "pass":
            console.print(f"\n{outcome.name}", markup=False)
            console.print(str(outcome.report), markup=False)
            for form, apart in outcome.forms.items():
                console.print(f"jitted and {form}: {apart:.1e} apart", markup=False)
    verdicts = [result.verdict for result in (*outcomes, *figures)]
    counts = ", ".join(
        f"{verdicts.count(verdict)} {verdict}"
        for verdict in ("pass", "fail", "inconclusive")
        if verdict in verdicts
    )
    console.print(f"\n{counts} in {seconds:.0f} s", markup=False)


def show_sweep(console: Console, settings: Sequence[Any]) -> None:
    """Print the results of a sweep: one row for each combination of hyperparameters.

    Args:
      console: where.
      settings: of the sweep; if there are many, those with the best means are shown.
    """
    ranks = sorted(range(len(settings)), key=lambda i: -settings[i].mean)
    shown = sorted(ranks[:_MOST_SETTINGS])
    diverged = any(setting.diverged for setting in settings)
    table = Table(box=None, pad_edge=False)
    for name in settings[0].values:
        table.add_column(name.replace("_", " "), justify="right")
    for heading in ("accuracy", "sd", "lowest", "highest", "best seed"):
        table.add_column(heading, justify="right")
    if diverged:
        table.add_column("diverged", justify="right")
    table.add_column("")
    for i in shown:
        setting = settings[i]
        table.add_row(
            *(f"{value:.4g}" for value in setting.values.values()),
            f"{setting.mean:.2%}",
            "-" if setting.spread is None else f"{setting.spread:.2%}",
            f"{setting.lowest:.2%}",
            f"{setting.highest:.2%}",
            "-" if setting.best_seed is None else str(setting.best_seed),
            *([str(setting.diverged or "-")] if diverged else []),
            "best" if i == ranks[0] and len(settings) > 1 else "",
            style="bold" if i == ranks[0] and len(settings) > 1 else "",
        )
    console.print(table, soft_wrap=False)
    if len(shown) < len(settings):
        console.print(f"and {len(settings) - len(shown):,} settings that are worse", markup=False)


_MOST_SETTINGS = 40


def _error(tier: Any, error: float) -> str:
    return _units(error) if tier.precision == "float64" else f"{error:.2f}"


def _units(error: float) -> str:
    """In units of 1e-16."""
    units = error / 1e-16
    return f"{units:.1f}" if units < 10 else f"{units:.0f}" if units < 1e5 else f"{units:.0e}"
