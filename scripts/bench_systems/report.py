"""The table and the plot of the measurements."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench_systems.figures import Row, Spread

__all__ = ["Section", "draw", "show"]


class Section(NamedTuple):
    """The results of a part.

    Attributes:
      title: the heading of the part.
      rows: the rows of the table.
      skipped: the reasons why systems were not measured, by system.
    """

    title: str
    rows: Sequence[Row]
    skipped: Mapping[str, str]


def show(sections: Sequence[Section], *, heading: str, remark: str) -> None:
    """Print all results as one table.

    Args:
      sections: the results of the parts.
      heading: a description of the machine.
      remark: a remark about the measurement.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "",
        "median (range)",
        "ratio (range)",
        "test accuracy",
        "target",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for section in sections:
        table.add_row(f"[bold]{section.title}")
        for row in section.rows:
            table.add_row(
                f"  {row.label}",
                _value(row.value, row.unit),
                _ratio(row.ratio),
                _accuracy(row.accuracy),
                _target(row),
            )
        table.add_section()
    # Not a terminal: a fixed width, so that a table in a file is not truncated.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(heading, remark, table, sep="\n")
    console.print("A ratio is a system's time over jaxdnn's, unless its row says otherwise.")
    for section in sections:
        for name, reason in section.skipped.items():
            console.print(f"Skipped: {name} ({section.title}): {reason}", markup=False)


def _value(value: Spread | None, unit: str) -> str:
    if value is None:
        return ""
    scale = 1.0
    if unit == "s" and value.median < 0.1:
        scale, unit = 1000.0, "ms"
    digits = 3 if scale * value.median < 1 else 2 if scale * value.median < 100 else 0
    median, low, high = (f"{scale * number:.{digits}f}" for number in value)
    return f"{median} {unit} ({low} - {high})"


def _ratio(ratio: Spread | None) -> str:
    return "" if ratio is None else "{:.2f} x ({:.2f} - {:.2f})".format(*ratio)


def _accuracy(accuracy: Spread | None) -> str:
    return "" if accuracy is None else "{:.2%} ({:.2%} - {:.2%})".format(*accuracy)


def _target(row: Row) -> str:
    if row.reached is None:
        return ""
    unit = "x" if row.judged == "ratio" else row.unit
    bound = f"{'≥' if row.at_least else '≤'} {row.target:g} {unit}"
    return f"{bound} [green]reached" if row.reached else f"{bound} [red]missed"


def draw(path: Path, sections: Sequence[Section], *, remark: str) -> None:
    """Draw the ratios as bars with their ranges.

    Args:
      path: a PNG, PDF or SVG file.
      sections: the results of the parts.
      remark: a remark about the measurement, for the title.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    groups = [
        (section.title, [row for row in section.rows if row.ratio is not None])
        for section in sections
    ]
    groups = [(title, rows) for title, rows in groups if rows]
    if not groups:
        return
    heights = [len(rows) for _, rows in groups]
    size = (9.0, 0.9 + 0.32 * sum(heights) + 0.62 * len(groups))
    figure, panels = plt.subplots(
        len(groups), squeeze=False, figsize=size, height_ratios=heights, layout="constrained"
    )
    for panel, (title, rows) in zip(panels[:, 0], groups, strict=True):
        _bars(panel, title, rows)
    figure.suptitle(
        f"Ratios, median and range; orange: the target; red: missed. {remark}",
        fontsize=9,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _bars(panel: Any, title: str, rows: Sequence[Row]) -> None:
    spreads = [row.ratio for row in rows if row.ratio is not None]
    medians = [ratio.median for ratio in spreads]
    around = [
        [ratio.median - ratio.low for ratio in spreads],
        [ratio.high - ratio.median for ratio in spreads],
    ]
    colours = ["#c0504d" if row.reached is False else "#4c78a8" for row in rows]
    places = range(len(rows))
    panel.barh(places, medians, height=0.62, color=colours)
    panel.errorbar(
        medians, places, xerr=around, fmt="none", ecolor="#333333", elinewidth=1, capsize=2.5
    )
    panel.axvline(1, color="#333333", linewidth=0.8)
    end = 1.0
    for place, row, ratio in zip(places, rows, spreads, strict=True):
        panel.annotate(
            f"{ratio.median:.2f}",
            (1, place),
            xycoords=("axes fraction", "data"),
            xytext=(34, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
        )
        end = max(end, ratio.high, row.target or 0 if row.judged == "ratio" else 0)
        if row.target is not None and row.judged == "ratio":
            panel.plot([row.target] * 2, [place - 0.4, place + 0.4], color="#e08a00", linewidth=2)
    panel.set_xlim(0, 1.03 * end)
    panel.set_yticks(places, [row.of or row.label for row in rows], fontsize=8)
    panel.invert_yaxis()
    panel.set_title(title, fontsize=9, loc="left", fontweight="bold")
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
