"""Pictures of a run and of a sweep, as matplotlib figures."""

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxdnn.data.files import write_atomically
from jaxdnn.errors import ConfigError
from jaxdnn.runs.drawing import Panel, Scatter

__all__ = ["Curves", "check_format", "loss_figure", "save", "sweep_figure"]

_ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".webp")


def check_format(path: Path, *, option: str) -> None:
    """Raise before a run if matplotlib cannot write such a file.

    Args:
      path: the picture; its suffix decides the format.
      option: the option that named it, for the message.

    Raises:
      ConfigError: the suffix is unknown.

    Example:
      >>> check_format(Path("loss.svg"), option="--plot")
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"{option} {path}: name a file that ends in {', '.join(_ENDINGS)}.")


class Picture(Figure):
    """A figure that a notebook shows, whether or not pyplot has been imported there."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=80)
        return image.getvalue()


def loss_figure(
    curves: Mapping[str, Float[np.ndarray, " steps"]],
    panels: Sequence[Panel] = (),
    *,
    title: str = "",
    test_accuracy: Float[np.ndarray, " epochs"] | None = None,
    scatter: Scatter | None = None,
) -> Picture:
    """The losses of a run, its test accuracies if there are several, and a scatter plot.

    A rough curve of many steps is faint, with its running mean on top. A panel whose losses span
    more than a factor of 100 has a logarithmic scale.

    Args:
      curves: losses of every step, by name.
      panels: which curves share their axes; by default all of them.
      title: of the picture.
      test_accuracy: after every epoch, between 0 and 1; drawn in the first panel.
      scatter: points for a panel of their own.

    Returns:
      The picture.

    Example:
      >>> figure = loss_figure({"by hand": 1 / np.arange(1.0, 201)}, title="A run")
      >>> figure.axes[0].get_xlabel(), figure.axes[0].get_yscale()
      ('step', 'log')
    """
    panels = panels or [Panel("", tuple(curves))]
    count = len(panels) + (scatter is not None)
    columns = count if count <= 3 else 2
    rows = -(-count // columns)
    figure = Picture(figsize=(7 if count == 1 else 5.6 * columns, 4.4 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, panel in enumerate(panels):
        accuracies = test_accuracy if i == 0 else None
        _draw_panel(all_axes[i], panel, curves, accuracies)
    if scatter is not None:
        _draw_scatter(all_axes[len(panels)], scatter)
    for axes in all_axes[count:]:
        axes.set_axis_off()
    figure.suptitle(title)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the same picture is always the same bytes.

    Args:
      figure: the picture.
      path: the file; its suffix decides the format.

    Raises:
      OSError: the folder is missing or not writable.
    """
    ending = path.suffix[1:].lower()
    # No date or random ids, so that the same run writes the same bytes.
    dated = {"pdf": "CreationDate", "svg": "Date"}
    metadata = {dated[ending]: None} if ending in dated else None
    with rc_context({"svg.hashsalt": "jaxdnn"}), write_atomically(path) as file:
        figure.savefig(file, format=ending, dpi=150, metadata=metadata)


class Curves(NamedTuple):
    """The curves of one setting of a sweep.

    Attributes:
      label: the setting in words.
      losses: of every step of the networks.
      test_accuracy: after every epoch, between 0 and 1.
    """

    label: str
    losses: Float[np.ndarray, "networks steps"]
    test_accuracy: Float[np.ndarray, "networks epochs"]


def sweep_figure(curves: Sequence[Curves], *, title: str) -> Picture:
    """Draw the losses and the test accuracies of a sweep, a line and a band for each setting.

    The line is the mean over the networks of a setting, the band goes from the lowest to the
    highest. Of many settings, those with the best last accuracies have colours and bands.

    Args:
      curves: at least one.
      title: what was trained.

    Returns:
      The picture.
    """
    figure = Picture(figsize=(12, 4.6), layout="constrained")
    losses_axes, accuracy_axes = figure.subplots(1, 2)
    ranks = sorted(range(len(curves)), key=lambda i: -curves[i].test_accuracy[:, -1].mean())
    coloured = sorted(ranks[:_MOST_COLOURED])
    colours = dict(zip(coloured, _scale(len(coloured)), strict=True))
    others = ranks[_MOST_COLOURED : _MOST_COLOURED + _MOST_GREY]
    for place, i in enumerate([*coloured, *others]):
        _draw_setting(losses_axes, accuracy_axes, curves[i], colours.get(i), place)
    steps, epochs = curves[0].losses.shape[1], curves[0].test_accuracy.shape[1]
    window = _window(steps)
    smoothed = f", mean of {window} steps" if window > 1 else ""
    losses_axes.set(xlabel="step", ylabel=f"loss{smoothed}", xlim=(min(1, steps - 1), steps))
    _scale_losses(losses_axes, [curves[i].losses for i in coloured])
    accuracy_axes.set(xlabel="epoch", ylabel="test accuracy (%)")
    for axes in (losses_axes, accuracy_axes):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    if epochs == 1:
        accuracy_axes.set(xlabel="setting, as listed", xticks=[])
    most = max(len(setting.losses) for setting in curves)
    figure.suptitle(f"{title}: mean and range of {most} networks" if most > 1 else title)
    heading = f"the best {len(coloured)} of {len(curves)}" if others else None
    handles, labels = losses_axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title=heading, fontsize="small")
    return figure


_MOST_COLOURED, _MOST_GREY = 10, 200


def _scale(count: int) -> list[Any]:
    """Colours from dark to light, in the order of the settings."""
    return list(colormaps["viridis"](np.linspace(0, 0.9, count)))


def _window(steps: int) -> int:
    return max(1, steps // 50)


def _smooth(losses: np.ndarray) -> np.ndarray:
    """Running means of every row; values too large or not finite become gaps."""
    window = _window(losses.shape[1])
    rows = np.where(np.abs(losses) < _LARGEST, losses, np.nan).astype(np.float64)
    return np.array([np.convolve(row, np.full(window, 1 / window), mode="valid") for row in rows])


def _draw_setting(
    losses_axes: Axes, accuracy_axes: Axes, setting: Curves, colour: Any, place: int
) -> None:
    smooth = _smooth(setting.losses)
    window = _window(setting.losses.shape[1])
    steps = np.arange(1, smooth.shape[1] + 1) + window // 2
    epochs = np.arange(1, setting.test_accuracy.shape[1] + 1)
    if len(epochs) == 1:  # side by side rather than above each other
        epochs = np.array([place])
    for axes, x, rows, label in (
        (losses_axes, steps, smooth, setting.label),
        (accuracy_axes, epochs, 100 * setting.test_accuracy, None),
    ):
        mean = rows.mean(0)
        if colour is None:
            style = "." if len(x) == 1 else "-"
            axes.plot(x, mean, style, color="0.8", linewidth=0.6, zorder=1)
            continue
        axes.plot(x, mean, color=colour, label=label, marker="o" * (axes is accuracy_axes))
        if len(rows) > 1 and len(x) > 1:
            axes.fill_between(x, rows.min(0), rows.max(0), color=colour, alpha=0.2, linewidth=0)
        elif len(rows) > 1:
            axes.vlines(x, rows.min(0), rows.max(0), color=colour, alpha=0.5)


def _scale_losses(axes: Axes, losses: Sequence[np.ndarray]) -> None:
    """Limits from 0 to slightly above the initial losses; diverging curves leave the plot."""
    smooth = [_smooth(rows) for rows in losses]
    starts = np.concatenate([rows[:, 0] for rows in smooth])
    values = np.concatenate([rows.ravel() for rows in smooth])
    positive = values[values > 0]
    starts = starts[np.isfinite(starts)]
    if not len(starts) or not len(positive):
        return
    top = 1.1 * float(np.median(starts))
    if top > 100 * positive.min():
        axes.set_yscale("log")
        axes.set_ylim(max(positive.min(), 1e-8 * top) / 2, 2 * top)
    else:
        axes.set_ylim(0, top)


_COLOURS = (("#9ecae1", "#08519c"), ("#fdae6b", "#a63603"), ("#a1d99b", "#006d2c"))
_MORE_COLOURS = ("#756bb1", "#636363")
_LARGEST = 1e38
_SHORTEST_MEAN = 5
"""Steps; the mean of fewer is as rough as the curve."""


def _draw_panel(
    axes: Axes,
    panel: Panel,
    curves: Mapping[str, np.ndarray],
    test_accuracy: np.ndarray | None,
) -> None:
    colours = [*_COLOURS, *((colour, colour) for colour in _MORE_COLOURS)]
    # matplotlib's scales overflow near the largest float.
    drawn = {
        name: np.where(np.abs(curves[name]) < _LARGEST, curves[name], np.nan).astype(np.float64)
        for name in panel.curves
    }
    losses = np.concatenate(list(drawn.values()))
    positive = losses[losses > 0]
    logarithmic = len(positive) > 0 and bool(positive.max() > 100 * positive.min())
    first, last = np.inf, 0.0
    for (name, values), (faint, strong) in zip(
        drawn.items(), itertools.cycle(colours), strict=False
    ):
        per_epoch = panel.steps_per_epoch.get(name, 1)
        places = (panel.steps_before.get(name, 0) + np.arange(1, len(values) + 1)) / per_epoch
        first, last = min(first, places[0]), max(last, places[-1])
        window = len(values) // 50
        if window < _SHORTEST_MEAN or not _is_rough(values, logarithmic=logarithmic):
            axes.plot(places, values, color=strong, label=name)
            continue
        axes.plot(places, values, color=faint, linewidth=0.6)
        mean = np.convolve(values, np.full(window, 1 / window), mode="valid")
        middles = places[window // 2 :][: len(mean)]
        axes.plot(middles, mean, color=strong, label=f"{name}, mean of {window} steps")
    unit = "epoch" if panel.steps_per_epoch else "step"
    axes.set(xlabel=unit, ylabel="loss", title=panel.title)
    axes.set_xlim(first if first < last else 0, last)
    if logarithmic:
        # Losses at the level of rounding would compress the rest of the curve.
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(positive.min(), 1e-8 * positive.max()) / 2)
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    if test_accuracy is not None and len(test_accuracy) > 1:
        accuracy_axes = axes.twinx()
        handles += accuracy_axes.plot(
            np.linspace(0, last, len(test_accuracy) + 1)[1:],
            100 * test_accuracy,
            "o--",
            color="#d95f0e",
            markersize=5,
            clip_on=False,
            label="test accuracy after an epoch",
        )
        accuracy_axes.set(ylabel="test accuracy (%)")
    # Below the axes, where it covers no curve.
    columns = 1 if len(handles) > 3 or max(len(str(h.get_label())) for h in handles) > 26 else 3
    axes.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=columns,
        frameon=False,
    )


def _is_rough(losses: np.ndarray, *, logarithmic: bool) -> bool:
    """Whether a curve goes up and down much more than a curve with a bump or two would."""
    values = losses[losses > 0] if logarithmic else losses[np.isfinite(losses)]
    if len(values) < 2:
        return True
    values = np.log(values) if logarithmic else values
    return bool(np.abs(np.diff(values)).sum() > 3 * np.ptp(values))


def _draw_scatter(axes: Axes, scatter: Scatter) -> None:
    axes.scatter(scatter.x, scatter.y, s=4, color="#08519c", linewidths=0)
    axes.set(xlabel=scatter.x_label, ylabel=scatter.y_label, title="the data")
    axes.grid(alpha=0.3)
