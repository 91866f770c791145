"""Rows of the table, computed from measurements: medians, ranges, ratios within a turn."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["Measured", "Row", "Spread", "compare", "fastest", "ratios", "spread", "values"]

Measured = Mapping[str, Sequence[Mapping[str, float]]]
"""The figures of each system's turns, by system."""


class Spread(NamedTuple):
    """The median and the range over several turns."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
      label: the name of the system or the figure.
      value: the figure, in ``unit``.
      unit: the unit of ``value``.
      ratio: the ratio to another figure of the same turn.
      of: a description of the ratio.
      accuracy: the test accuracy of the timed run.
      target: the bound for the ratio or the value.
      at_least: whether ``target`` is a lower bound; otherwise it is an upper bound.
      judged: whether ``target`` applies to the ratio or to the value.
    """

    label: str
    value: Spread | None = None
    unit: str = "s"
    ratio: Spread | None = None
    of: str = ""
    accuracy: Spread | None = None
    target: float | None = None
    at_least: bool = True
    judged: Literal["ratio", "value"] = "ratio"

    @property
    def reached(self) -> bool | None:
        """Whether the median satisfies the target; None without a target."""
        measured = self.ratio if self.judged == "ratio" else self.value
        if self.target is None or measured is None:
            return None
        median = measured.median
        return median >= self.target if self.at_least else median <= self.target

    def to_dict(self) -> dict[str, Any]:
        """The row as a JSON object."""
        content = {k: v for k, v in asdict(self).items() if v is not None}
        for name in ("value", "ratio", "accuracy"):
            if name in content:
                content[name] = content[name]._asdict()
        return content if self.target is None else content | {"reached": self.reached}


def spread(numbers: Sequence[float]) -> Spread:
    """Median and range.

    Example:
      >>> spread([3.0, 1.0, 2.0])
      Spread(median=2.0, low=1.0, high=3.0)
    """
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def values(measured: Measured, system: str, figure: str = "seconds") -> list[float]:
    """A figure of a system in each turn."""
    return [turn[figure] for turn in measured[system]]


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """Median and range of the ratios within a turn.

    Example:
      >>> ratios([2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
      Spread(median=3.0, low=2.0, high=4.0)
    """
    return spread([a / b for a, b in zip(theirs, ours, strict=True)])


def compare(
    measured: Measured,
    *,
    base: str,
    figure: str = "seconds",
    targets: Mapping[str, float] | None = None,
    row: Callable[..., Row] = Row,
) -> list[Row]:
    """A row for each system, with the ratio of its figure to that of a base system.

    Args:
      measured: the measurements of a part.
      base: the system by whose figure the others are divided.
      figure: the name of the figure.
      targets: lower bounds of the ratio, by system.
      row: the constructor of a row.
    """
    rows = []
    ours = values(measured, base, figure) if base in measured else None
    for system, turns in measured.items():
        times = values(measured, system, figure)
        beside = ours is not None and system != base
        rows.append(
            row(
                system,
                spread(times),
                ratio=ratios(times, ours) if beside and ours else None,
                of=f"{system} / {base}" if beside else "",
                accuracy=spread(values(measured, system, "accuracy"))
                if "accuracy" in turns[0]
                else None,
                target=(targets or {}).get(system) if beside else None,
            )
        )
    return rows


def fastest(measured: Measured, *, among: str, base: str, target: float) -> list[Row]:
    """A row for the fastest of the systems whose names begin with ``among``."""
    if base not in measured:
        return []
    ours = values(measured, base)
    found = {s: ratios(values(measured, s), ours) for s in measured if s.startswith(among)}
    if not found:
        return []
    best = min(found, key=lambda system: found[system].median)
    of = f"fastest {among} / {base}"
    return [Row(f"fastest {among}: {best}", ratio=found[best], of=of, target=target)]
