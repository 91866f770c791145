"""The numbers that the tutorials print, and their comparison with computed ones.

``documented.json`` holds the printed numbers with their precision and their place. A number is
reproduced if the computed value, rounded to that precision, equals it. In two entries a document
prints five significant digits of float32 sums with cancellation, and some of the numbers are small
beside the terms of their sum, so that float32 does not settle all their digits. In these entries a
number counts as reproduced within rounding if it differs from the printed one by no more than two
float32 computations may differ.
"""

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Entry", "Figure", "compare", "count", "entries", "numbers"]

# The keys of an entry that describe its figures; all other keys are figures.
_DESCRIPTIONS = frozenset(
    (
        *("_about", "after", "cell", "digits", "document", "note"),
        *("reachable", "significant", "state", "why"),
    )
)

# The one entry that cannot be reproduced has its weight under another key than the results have.
_NAMES: Mapping[str, str] = {"printed": "w"}

# The tolerance of a number from a run without a seed: three standard deviations over seeds.
_UNSEEDED = {"mnist_dnn.test_accuracy": 0.01}

# torch's float32 gradient differs from the float64 one by up to 2.7e-8 (torch 2.13), JAX's by up to
# 3.0e-8. The weights after all steps contain the gradient, and so its error, times 20 + 1.81.
_FLOAT32_ROUNDING = {
    "momentum_sgd.linear1_grad": 6e-8,
    "momentum_sgd.linear1_weight_after_momentum": 1.3e-6,
}

# torch prints four digits after the decimal point, Python as many as the number needs.
_TORCH_DIGITS = 4


class Entry(NamedTuple):
    """The printed numbers of one listing.

    Attributes:
      name: the entry's name, ``family.what``.
      places: the document and the cell or section, as ``000 In [22]``, of each figure.
      figures: the printed numbers, or lists of numbers, by name. A list may be truncated.
      digits: the number of digits after the decimal point; None if the entry does not state it.
      significant: the number of significant digits; None if the entry does not state it.
      reachable: whether the document's listing can print these numbers.
      tolerance: the permitted difference for a run without a seed; otherwise 0.
      rounding: the permitted difference between two float32 computations, if it exceeds the printed
        precision; otherwise 0.
    """

    name: str
    places: Mapping[str, str]
    figures: Mapping[str, Any]
    digits: int | None
    significant: int | None
    reachable: bool
    tolerance: float
    rounding: float


class Figure(NamedTuple):
    """A printed number, or list of numbers, and its computed counterpart.

    Attributes:
      entry: the entry's name.
      name: the figure's name in the entry.
      place: where it is printed, as ``000 In [22]``.
      printed: the printed value.
      computed: the corresponding part of the computed value, rounded to the printed precision.
      size: the number of numbers in the figure.
      reproduced: the number of those that are reproduced digit for digit.
      within_rounding: the number of others that are reproduced within rounding.
      reachable: whether the document's listing can print it.
    """

    entry: str
    name: str
    place: str
    printed: Any
    computed: Any
    size: int
    reproduced: int
    within_rounding: int
    reachable: bool


@functools.cache
def entries() -> Mapping[str, Entry]:
    """All entries by name, read from ``documented.json``.

    Example:
      >>> entries()["momentum_sgd.first_loss"].figures
      {'value': 1.1559}
    """
    file = importlib.resources.files("jaxdnn.runs") / "documented.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return {name: _entry(name, entry) for name, entry in content.items() if name != "_about"}


def _entry(name: str, entry: Mapping[str, Any]) -> Entry:
    figures = {
        _NAMES.get(key, key): value for key, value in entry.items() if key not in _DESCRIPTIONS
    }
    cell = entry["cell"]
    cells = cell if isinstance(cell, dict) else dict.fromkeys(figures, cell)
    return Entry(
        name,
        {key: f"{entry['document']} {cells[key]}" for key in figures},
        figures,
        entry.get("digits"),
        entry.get("significant"),
        entry.get("reachable", True),
        _UNSEEDED.get(name, 0.0),
        _FLOAT32_ROUNDING.get(name, 0.0),
    )


def count(family: str) -> tuple[int, int]:
    """The number of reachable numbers, and of all numbers, in a family's entries.

    Args:
      family: the part of the entries' names before the dot.

    Example:
      >>> count("gradient_descent")
      (17, 18)
    """
    chosen = [entry for name, entry in entries().items() if name.partition(".")[0] == family]
    sizes = [sum(len(list(numbers(value))) for value in e.figures.values()) for e in chosen]
    reachable = sum(size for size, entry in zip(sizes, chosen, strict=True) if entry.reachable)
    return reachable, sum(sizes)


def compare(figures: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Compare computed figures with the documented ones.

    Args:
      figures: numbers, or nested lists of numbers, by entry and name. Figures that are not
        documented are ignored.

    Returns:
      A `Figure` for each figure that is both computed and documented.

    Example:
      >>> [figure] = compare({"momentum_sgd.first_loss": {"value": 1.15591}})
      >>> figure.computed, figure.reproduced
      (1.1559, 1)
    """
    compared = []
    for name, entry in entries().items():
        for key, printed in entry.figures.items():
            if key not in figures.get(name, {}):
                continue
            computed = _like(printed, figures[name][key])
            rounded = _round(computed, printed, entry)
            triples = list(zip(*map(numbers, (printed, rounded, computed)), strict=True))
            reproduced = [abs(p - r) <= entry.tolerance for p, r, _ in triples]
            near = [abs(p - c) <= _half_digit(p, entry) + entry.rounding for p, _, c in triples]
            within = sum(near) - sum(reproduced) if entry.rounding else 0
            compared.append(
                Figure(
                    name,
                    key,
                    entry.places[key],
                    printed,
                    rounded,
                    len(triples),
                    sum(reproduced),
                    within,
                    entry.reachable,
                )
            )
    return compared


def _like(printed: Any, computed: Any) -> Any:
    """The part of a computed list that the document prints before its ellipsis."""
    if not isinstance(printed, list):
        return computed
    return [_like(p, c) for p, c in zip(printed, computed, strict=False)]


def _round(computed: Any, printed: Any, entry: Entry) -> Any:
    if isinstance(printed, list):
        return [_round(c, p, entry) for c, p in zip(computed, printed, strict=True)]
    if isinstance(printed, bool | int):
        return computed
    if entry.significant is not None:
        return float(f"{computed:.{entry.significant - 1}e}")
    decimals = len(np.format_float_positional(printed).partition(".")[2])
    digits = max(_TORCH_DIGITS, decimals) if entry.digits is None else entry.digits
    return round(computed, digits) + 0.0  # -0 is 0


def _half_digit(printed: float | int, entry: Entry) -> float:
    """Half a unit of the last significant digit; 0 without a number of significant digits."""
    if entry.significant is None or printed == 0:
        return 0.0
    return 0.5 * 10.0 ** (np.floor(np.log10(abs(printed))) - entry.significant + 1)


def numbers(value: Any) -> Iterator[Any]:
    """The numbers of a nested list, in order; or the number itself."""
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    else:
        yield value
