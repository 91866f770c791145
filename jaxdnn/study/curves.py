"""Loss curves as pictures: both frameworks' losses, and below them their difference.

The pictures are SVG elements inside a page, drawn with the page's colours, so that they follow its
light or dark scheme.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

__all__ = ["picture"]

_WIDTH, _LOSS_HEIGHT, _GAP, _DIFFERENCE_HEIGHT = 640.0, 190.0, 34.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 12.0, 34.0

Number = float | None


class _Axis(NamedTuple):
    """A linear or logarithmic vertical axis."""

    low: float
    high: float
    log: bool
    top: float
    height: float

    def y(self, value: float) -> float:
        if self.log:
            value = math.log10(max(value, 10**self.low))
        return self.top + self.height * (1 - (value - self.low) / (self.high - self.low))

    def ticks(self) -> list[tuple[float, str]]:
        if self.log:
            low, high = math.ceil(self.low), math.floor(self.high)
            step = max(1, math.ceil((high - low) / 5))
            return [(10.0**k, f"1e{k}" if k else "1") for k in range(low, high + 1, step)]
        step = _nice((self.high - self.low) / 4)
        first = math.ceil(self.low / step)
        count = math.floor(self.high / step) - first + 1
        return [((first + i) * step, f"{(first + i) * step:.6g}") for i in range(count)]


def picture(row: dict[str, Any], *, title: str, identifier: str) -> Markup:
    """Draw a pair of loss curves.

    Args:
      row: what `jaxdnn.study.gather.losses` returns.
      title: what was trained, for readers who do not see the picture.
      identifier: of the element; unique on the page.

    Returns:
      An ``svg`` element.

    Example:
      >>> losses = {"jax": [2.0, 1.0], "torch": [2.0, 1.0]}
      >>> side = {**losses, "difference": [0.0, 1e-9], "largest": 1e-9}
      >>> row = {"steps": 2, "at": [0, 1], "float32": side, "float64": side}
      >>> "<svg" in picture(row, title="a run", identifier="run")
      True
    """
    at, steps = row["at"], max(row["steps"] - 1, 1)
    xs = [_LEFT + (_WIDTH - _LEFT - _RIGHT) * step / steps for step in at]
    losses = _loss_axis([*row["float32"]["jax"], *row["float32"]["torch"]])
    top = _TOP + _LOSS_HEIGHT + _GAP
    differences = [row[name]["difference"] for name in ("float32", "float64")]
    apart = _difference_axis([n for each in differences for n in each], top)
    height = top + _DIFFERENCE_HEIGHT + _BOTTOM
    parts = [
        _frame(losses, "loss"),
        _line(xs, row["float32"]["torch"], losses, "torch"),
        _line(xs, row["float32"]["jax"], losses, "jax"),
        _frame(apart, "relative difference"),
        _line(xs, differences[0], apart, "float32"),
        _line(xs, differences[1], apart, "float64"),
        _steps(row["steps"], height),
    ]
    description = (
        f"Above, the losses of torch and JAX over {row['steps']} steps. Below, their relative "
        f"difference on a logarithmic axis: at most {row['float32']['largest']:.1e} in float32 and "
        f"{row['float64']['largest']:.1e} in float64."
    )
    element = Markup(
        '<svg class="curve" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">'
        '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
    )
    label = identifier
    return element.format(
        *(_WIDTH, height, label, label, label, f"Losses: {title}", label, description),
        Markup("").join(parts),
    )


def _loss_axis(values: Sequence[Number]) -> _Axis:
    numbers = [v for v in values if v is not None]
    low, high = min(numbers), max(numbers)
    if low > 0 and high / low > 100:
        span = math.log10(high) - math.log10(low)
        return _Axis(
            math.log10(low) - 0.05 * span, math.log10(high) + 0.05 * span, True, _TOP, _LOSS_HEIGHT
        )
    margin = 0.06 * (high - low) or 1.0
    return _Axis(low - margin, high + margin, False, _TOP, _LOSS_HEIGHT)


def _difference_axis(values: Sequence[Number], top: float) -> _Axis:
    exponents = [math.log10(v) for v in values if v]
    low = min([-17.0, *(math.floor(e) for e in exponents)])
    high = max([-6.0, *(math.ceil(e) for e in exponents)])
    return _Axis(low, high, True, top, _DIFFERENCE_HEIGHT)


def _nice(size: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= size * 0.999)


def _frame(axis: _Axis, label: str) -> Markup:
    parts = []
    for value, name in axis.ticks():
        y = axis.y(value)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                _LEFT, _WIDTH - _RIGHT, y, y
            )
        )
        parts.append(
            Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                _LEFT - 7, y + 4, name
            )
        )
    middle = axis.top + axis.height / 2
    parts.append(
        Markup(
            '<text class="axis" x="12" y="{:.1f}" text-anchor="middle" '
            'transform="rotate(-90 12 {:.1f})">{}</text>'
        ).format(middle, middle, label)
    )
    return Markup("").join(parts)


def _line(xs: Sequence[float], ys: Sequence[Number], axis: _Axis, kind: str) -> Markup:
    """A line through the values; it has a gap where a logarithmic axis has no place for a 0."""
    pieces: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if y is None or (axis.log and y <= 0):
            pieces.append([])
        else:
            pieces[-1].append(f"{x:.1f},{axis.y(y):.1f}")
    # A point alone becomes a dot: a line of no length with round ends.
    drawn = (piece if len(piece) > 1 else piece * 2 for piece in pieces if piece)
    element = Markup('<polyline class="{}" points="{}"/>')
    return Markup("").join(element.format(kind, " ".join(points)) for points in drawn)


def _steps(count: int, height: float) -> Markup:
    y = height - 14
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    text = '<text x="{}" y="{}" text-anchor="{}">{}</text>'
    return Markup(text * 3).format(
        *(_LEFT, y, "start", "step 1", middle, y, "middle", "", _WIDTH - _RIGHT, y, "end", count)
    )
