"""A progress bar on a terminal or in a notebook, for comparisons that take a while."""

import contextlib
import random
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from jaxdnn.runtime.progress import is_watched, progress_bar

__all__ = ["reporting", "tracked"]

T = TypeVar("T")

_REPORTS: ContextVar[bool] = ContextVar("reports", default=False)


@contextlib.contextmanager
def reporting(wanted: bool | None) -> Iterator[None]:
    """Show progress inside the context.

    Args:
      wanted: None for wherever somebody looks: on a terminal, or in a notebook.
    """
    if wanted is None:
        # Importing rich draws from Python's generator, which is the caller's.
        state = random.getstate()
        wanted = is_watched()
        random.setstate(state)
    token = _REPORTS.set(wanted)
    try:
        yield
    finally:
        _REPORTS.reset(token)


def tracked(items: Iterable[T], total: int | None, description: str) -> Iterator[T]:
    """The items, with a bar that vanishes at the end, where progress is shown.

    Args:
      items: to go through.
      total: how many there are, if that is known.
      description: what is done.
    """
    if not _REPORTS.get():
        yield from items
        return
    with progress_bar(total, description) as update:
        for done, item in enumerate(items, 1):
            yield item
            update(done, description)
