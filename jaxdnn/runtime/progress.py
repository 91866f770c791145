"""Progress bars for work that is started from Python: on a terminal, or in a notebook."""

import contextlib
from collections.abc import Callable, Iterator

__all__ = ["is_watched", "progress_bar"]

Update = Callable[[int, str], None]
"""``update(done, description)``."""

_WIDTH = 30
"""Characters of a bar in a notebook."""


def is_watched() -> bool:
    """Whether somebody looks: on a terminal, or in a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal or console.is_jupyter


@contextlib.contextmanager
def progress_bar(total: int | None, description: str) -> Iterator[Update]:
    """A context with a function that moves a bar; on a terminal the bar vanishes at the end.

    Args:
      total: the number of pieces of work; None if it is not known.
      description: what is done at first.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_jupyter:
        # rich's own bar needs ipywidgets there, which not every notebook has.
        yield _notebook_bar(total, description)
        return
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)

        def update(done: int, description: str) -> None:
            bar.update(task, completed=done, description=description)

        yield update


def _notebook_bar(total: int | None, description: str) -> Update:
    from IPython.display import display  # type: ignore[import-not-found]

    def shown(done: int, description: str) -> dict[str, str]:
        filled = 0 if not total else _WIDTH * done // total
        bar = f"{'█' * filled}{'░' * (_WIDTH - filled)} {done}/{total}  " if total else ""
        return {"text/plain": bar + description}

    handle = display(shown(0, description), raw=True, display_id=True)
    assert handle is not None

    def update(done: int, description: str) -> None:
        handle.update(shown(done, description), raw=True)

    return update
