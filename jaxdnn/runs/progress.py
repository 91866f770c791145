"""A progress bar for a workflow that is run from Python, on a terminal or in a notebook."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jaxdnn.runs.workflow import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

__all__ = ["progress_bar"]


class _Bar:
    """A `jaxdnn.runs.workflow.Progress` as a bar of rich, which draws in notebooks too."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._task: Any = None

    def on_start(self, *, epochs: int, samples: int) -> None:
        """Begin the bar."""
        self._task = self._bar.add_task("epoch", total=epochs)

    def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
        """Move the bar."""
        text = f"epoch {done}  loss {loss:.4f}"
        if test_accuracy is not None:
            text += f"  test accuracy {test_accuracy:.2%}"
        self._bar.update(self._task, completed=done, description=text)


@contextlib.contextmanager
def progress_bar(*, shown: bool) -> Iterator[Progress]:
    """A context with a progress bar, on a terminal or in a notebook; elsewhere it shows nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console()
    if not shown or not (console.is_terminal or console.is_jupyter):
        yield Silent()
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Bar(*columns, TimeElapsedColumn(), console=console) as bar:
        yield _Bar(bar)
