"""What the command line shows while it works: download bars and the progress of a run."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
)

__all__ = ["RunProgress", "console", "download_bars"]


class _Console(Console):
    """A console that goes quiet when its reader leaves; the run, and its files, go on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        # What is still buffered must not raise when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Standard output, for lines that are not wrapped and numbers that are not coloured."""
    return _Console(highlight=False, soft_wrap=True)


class _DownloadBar:
    """One download, in the form in which pooch reports it."""

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
    """A function that starts a download's progress bar, for as long as the context lasts."""
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
    """The progress bar of a training run, and a line for each epoch.

    A `jaxdnn.training.Progress`: the compiled run calls it, from a thread of its own.

    Args:
      console: where to show it; on anything but a terminal only the lines are written.
      epochs: of the run.
      samples: of an epoch.
      batch_size: samples a step.
    """

    def __init__(self, console: Console, *, epochs: int, samples: int, batch_size: int) -> None:
        self._console = console
        self._epochs = epochs
        self._samples = samples
        self._batch_size = batch_size
        self._first_report: tuple[float, int] | None = None  # its time, and the images seen then
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images"),
            TextColumn("{task.fields[numbers]}"),
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

    def on_step(self, epoch: int, step: int, loss: float) -> None:
        """Move the bar."""
        seen = int(epoch) * self._samples + min((int(step) + 1) * self._batch_size, self._samples)
        now = time.perf_counter()
        if self._first_report is None:
            self._first_report = now, seen
        start, seen_at_start = self._first_report
        rate = (seen - seen_at_start) / max(now - start, 1e-9)  # 0 at the first report
        self._bar.update(
            self._task,
            description=f"epoch {int(epoch) + 1}/{self._epochs}",
            total=self._epochs * self._samples,
            completed=seen,
            numbers=f"loss {float(loss):.4f}" + (f"  {rate:,.0f} images/s" if rate else ""),
        )

    def on_epoch(self, epoch: int, test_accuracy: float) -> None:
        """Write the epoch's line."""
        self._bar.update(self._task, completed=(int(epoch) + 1) * self._samples)
        # A full disk behind standard output must not end the run; what is written after it says so.
        with contextlib.suppress(OSError):
            self._console.print(
                f"epoch {int(epoch) + 1}/{self._epochs}  test accuracy {float(test_accuracy):.2%}"
            )
