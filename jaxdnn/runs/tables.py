"""A result's figures as text: beside the printed ones, in brief or in full."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdnn.runs import documented

__all__ = ["Row", "epoch_lines", "full_lines", "number_text", "rows"]

_BRIEF = 3
"""Most numbers of a list that a cell shows without an ellipsis."""

_A_LINE = 6

_EPOCHS = 3
"""Epochs shown at either end of a long run, as torch shows the edges of a large tensor."""


class Row(NamedTuple):
    """A figure.

    Attributes:
      entry: what it belongs to, in words.
      name: of the figure, in words.
      place: where it is printed, as ``000 In [22]``; empty if no document prints it.
      printed: the document's numbers, in brief.
      here: the computed numbers, in brief, to the printed precision.
      same: whether they agree, in words.
      value: the computed numbers, unrounded.
      figure: the comparison; None if no document prints it.
    """

    entry: str
    name: str
    place: str
    printed: str
    here: str
    same: str
    value: Any
    figure: documented.Figure | None


def rows(figures: Mapping[str, Mapping[str, Any]], *, as_documented: bool) -> list[Row]:
    """A row for each figure.

    Args:
      figures: numbers, or nested lists of them, by entry and name.
      as_documented: whether the settings are the document's, so that its figures should come out.

    Example:
      >>> [row] = rows({"momentum_sgd.first_loss": {"value": 1.15591}}, as_documented=True)
      >>> row.place, row.printed, row.here, row.same
      ('000 In [19]', '1.1559', '1.1559', 'yes')
    """
    printed = {(f.entry, f.name): f for f in documented.compare(figures)} if as_documented else {}
    found = []
    for entry, values in figures.items():
        title = entry.partition(".")[2].replace("_", " ")
        for name, value in values.items():
            figure = printed.get((entry, name))
            found.append(
                Row(
                    title,
                    name.replace("_", " "),
                    figure.place if figure else "",
                    _first(figure.printed) if figure else "",
                    _first(figure.computed) if figure else _brief(value),
                    _verdict(figure) if figure else "",
                    value,
                    figure,
                )
            )
    return found


def full_lines(row: Row) -> Iterator[str]:
    """All numbers of a figure; those that differ from the printed ones are marked with a star.

    Example:
      >>> [row] = rows({"gradient_descent.quadratic_fit": {"w": [2.0, 2.97488811, 4.006]}},
      ...              as_documented=True)
      >>> list(full_lines(row))
      ['          2*   2.97488811        4.006*']
    """
    if row.figure is None:
        yield from _lines(row.value, row.value)
    else:
        yield from _lines(row.figure.computed, row.figure.printed)


def epoch_lines(series: Mapping[str, Any], *, full: bool) -> Iterator[str]:
    """A line for each epoch, or for the first and the last few: ``epoch 3  loss 0.1234``.

    Args:
      series: numbers of every epoch, by what they are.
      full: whether to show every epoch.

    Example:
      >>> list(epoch_lines({"loss": [2.5, 1.25]}, full=False))
      ['epoch 1  loss 2.5000', 'epoch 2  loss 1.2500']
    """
    epochs = min(map(len, series.values()), default=0)
    width = len(str(epochs))
    columns = {name: [_fixed(value) for value in values] for name, values in series.items()}
    for i in range(epochs):
        if not full and epochs > 2 * _EPOCHS + 1 and _EPOCHS <= i < epochs - _EPOCHS:
            if i == _EPOCHS:
                yield "..."
            continue
        cells = (f"{name} {cells[i]:>{max(map(len, cells))}}" for name, cells in columns.items())
        yield f"epoch {i + 1:{width}}  " + "  ".join(cells)


def _fixed(value: float) -> str:
    """Four digits after the point, as the documents print losses; more where all would be 0."""
    return f"{value:.4f}" if not 0 < abs(value) < 1e-3 else f"{value:.3e}"


def _verdict(figure: documented.Figure) -> str:
    if figure.reproduced == figure.size:
        tolerance = documented.entries()[figure.entry].tolerance
        if tolerance:
            return f"within {tolerance:g}, unseeded"
        return "yes" if figure.size <= _BRIEF else f"yes, all {figure.size}"
    if not figure.reachable:
        return "no, out of reach"
    text = f"{figure.reproduced} of {figure.size}"
    if figure.reproduced + figure.within_rounding == figure.size:
        text += ", the rest by float32's rounding"
    return text


def _first(value: Any) -> str:
    """As in `_brief`, but of many numbers the first one only, so that two columns fit."""
    numbers = list(documented.numbers(value))
    return f"{number_text(numbers[0])} ..." if len(numbers) > _BRIEF else _brief(value)


def _brief(value: Any) -> str:
    """Few numbers as they are; of more, the shape and both ends, as torch cuts a tensor."""
    if not isinstance(value, list):
        return number_text(value)
    numbers = list(documented.numbers(value))
    if numbers and all(type(number) is int for number in numbers) and numbers == value:
        return f"({', '.join(map(str, numbers))})" if len(numbers) <= 2 * _BRIEF else _ends(numbers)
    if len(numbers) <= _BRIEF:
        return " ".join(map(number_text, numbers))
    shape = _shape(value)
    return (f"{shape}: " if shape else "") + _ends(numbers)


def _ends(numbers: list[Any]) -> str:
    return f"{number_text(numbers[0])} {number_text(numbers[1])} ... {number_text(numbers[-1])}"


def _shape(value: list[Any]) -> str:
    """The shape of a tensor of two dimensions or more; nothing if a document cuts its last row."""
    try:
        shape = np.shape(value)
    except ValueError:
        return ""
    return " x ".join(map(str, shape)) if len(shape) > 1 else ""


def number_text(value: Any) -> str:
    """A number as the tables show it.

    Example:
      >>> number_text(0.25), number_text(1 / 3), number_text(9.3e-16), number_text(True)
      ('0.25', '0.333333', '9.3e-16', 'True')
    """
    if isinstance(value, float):
        return f"{value:.10g}" if value == round(value, 10) else f"{value:.6g}"
    return str(value)


def _lines(value: Any, printed: Any) -> Iterator[str]:
    """Lines of a nested list of numbers, one for each row where it fits."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        for row, printed_row in zip(value, printed, strict=False):
            yield from _lines(row, printed_row)
        return
    numbers = list(zip(*map(documented.numbers, (value, printed)), strict=False))
    for start in range(0, len(numbers), _A_LINE):
        cells = (
            f"{number_text(number):>11}{' ' if number == wanted else '*'}"
            for number, wanted in numbers[start : start + _A_LINE]
        )
        yield " ".join(cells).rstrip()
