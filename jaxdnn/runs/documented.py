"""The figures that the tutorials print, and which of them come out.

``documented.json`` holds each with its printed precision. A figure comes out when what was
computed, rounded to that precision, is the printed number. In two places a document prints five
significant digits of sums that cancel, of which float32 does not settle the fifth: there a number
also comes out within rounding, when it is no further from the printed one than two float32
computations may be apart.
"""

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Entry", "Figure", "compare", "count", "entries"]

# What an entry says about its figures, beside them.
_DESCRIPTIONS = frozenset(
    (
        *("_about", "after", "digits", "document", "note", "printed_shuffled_rows"),
        *("reachable", "significant", "state", "why"),
    )
)

# The entry that cannot come out calls its weight by what it is to the document.
_NAMES: Mapping[str, str] = {"printed": "w"}

# A run that the document did not seed: the printed accuracy, and three standard deviations of the
# accuracy over seeds.
_UNSEEDED = {"mnist_dnn.test_accuracy": 0.01}

# The distance of torch's float32 gradient from the float64 one is up to 2.7e-8 (torch 2.13), that
# of JAX's 3.0e-8; the weights after all steps hold it times 20 + 1.81.
_FLOAT32_ROUNDING = {
    "momentum_sgd.linear1_grad": 6e-8,
    "momentum_sgd.linear1_weight_after_momentum": 1.3e-6,
}

# torch prints four digits after the point, and Python all it has.
_TORCH_DIGITS = 4


class Entry(NamedTuple):
    """What a document prints in one place.

    Attributes:
      name: ``family.what``.
      document: the tutorial's short name.
      figures: the printed numbers, or lists of them, by name; a list's last row may be cut short.
      digits: after the point, if the entry says so.
      significant: digits in all, if the entry says so.
      reachable: whether its listing can print it.
      tolerance: how far an unseeded run may be off; 0 if it is seeded.
      rounding: how far float32 may carry two computations of the same number apart, where that is
        more than the printed precision; else 0.
    """

    name: str
    document: str
    figures: Mapping[str, Any]
    digits: int | None
    significant: int | None
    reachable: bool
    tolerance: float
    rounding: float


class Figure(NamedTuple):
    """A printed number, or list of numbers, beside what was computed.

    Attributes:
      entry: the entry's name.
      name: the figure's name in the entry.
      printed: as the document has it.
      computed: the same part of what was computed, rounded to the printed precision.
      size: how many numbers it holds.
      reproduced: how many of them came out, digit for digit.
      within_rounding: how many more came out within rounding.
      reachable: whether the document's listing can print it.
    """

    entry: str
    name: str
    printed: Any
    computed: Any
    size: int
    reproduced: int
    within_rounding: int
    reachable: bool


@functools.cache
def entries() -> Mapping[str, Entry]:
    """Every entry by name.

    Example:
      >>> entries()["momentum_sgd.first_loss"].figures
      {'value': 1.1559}
    """
    file = importlib.resources.files("jaxdnn.runs") / "documented.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return {
        name: Entry(
            name,
            entry["document"],
            {
                _NAMES.get(key, key): value
                for key, value in entry.items()
                if key not in _DESCRIPTIONS
            },
            entry.get("digits"),
            entry.get("significant"),
            entry.get("reachable", True),
            _UNSEEDED.get(name, 0.0),
            _FLOAT32_ROUNDING.get(name, 0.0),
        )
        for name, entry in content.items()
        if isinstance(entry, dict)
    }


def count(family: str) -> tuple[int, int]:
    """How many numbers a family's entries hold: those that can come out, and all.

    Args:
      family: what the entries' names begin with.

    Example:
      >>> count("gradient_descent")
      (16, 17)
    """
    chosen = [entry for name, entry in entries().items() if name.partition(".")[0] == family]
    sizes = [sum(len(list(_numbers(value))) for value in e.figures.values()) for e in chosen]
    reachable = sum(size for size, entry in zip(sizes, chosen, strict=True) if entry.reachable)
    return reachable, sum(sizes)


def compare(figures: Mapping[str, Mapping[str, Any]]) -> list[Figure]:
    """Every documented figure among some computed ones.

    Args:
      figures: numbers, or nested lists of them, by entry and name; what is not documented is left
        out.

    Returns:
      A `Figure` for each that the documents print.

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
            numbers = list(zip(*map(_numbers, (printed, rounded, computed)), strict=True))
            reproduced = [abs(p - r) <= entry.tolerance for p, r, _ in numbers]
            near = [abs(p - c) <= _half_digit(p, entry) + entry.rounding for p, _, c in numbers]
            within = sum(near) - sum(reproduced) if entry.rounding else 0
            compared.append(
                Figure(
                    name,
                    key,
                    printed,
                    rounded,
                    len(numbers),
                    sum(reproduced),
                    within,
                    entry.reachable,
                )
            )
    return compared


def _like(printed: Any, computed: Any) -> Any:
    """The part of a computed list that the document shows before it cuts off."""
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
    """Half a unit of the last significant digit."""
    if entry.significant is None or printed == 0:
        return 0.0
    return 0.5 * 10.0 ** (np.floor(np.log10(abs(printed))) - entry.significant + 1)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    else:
        yield value
