"""Pictures of a run."""

import itertools
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jaxdnn.errors import ConfigError
from jaxdnn.files import write_atomically
from jaxdnn.workflows.result import Result, Scatter

__all__ = ["check_format", "picture"]

_ENDINGS = (".png", ".pdf", ".svg", ".jpg", ".webp")


def check_format(path: Path, *, option: str) -> None:
    """Say now, rather than after the work is done, that matplotlib could not write such a file.

    Args:
      path: where a picture is to go; its ending decides the format.
      option: the option that named it, for the message.

    Raises:
      ConfigError: the ending is not a known one.

    Example:
      >>> check_format(Path("loss.svg"), option="--plot")
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"{option} {path}: name a file that ends in {', '.join(_ENDINGS)}.")


def picture(path: Path, result: Result, *, title: str) -> None:
    """Draw every curve of losses of a run, its test accuracies if there are several, its scatter.

    A curve of many steps is drawn faintly, with its running mean. Losses that span more than a
    factor of a hundred are drawn on a logarithmic scale.

    Args:
      path: the picture to write; its ending decides the format.
      result: of a workflow with curves.
      title: what was trained.

    Raises:
      OSError: the folder is missing or not writable.

    Example:
      >>> import tempfile
      >>> file = Path(tempfile.mkdtemp()) / "loss.png"
      >>> result = Result("a run", 0, None, {}, curves={"by hand": 1 / np.arange(1.0, 201)})
      >>> picture(file, result, title="A run")
      >>> file.stat().st_size > 1000
      True
    """
    panels = 2 if result.scatter else 1
    figure = Figure(figsize=(7 * panels, 4.2), layout="constrained")
    ending = path.suffix[1:].lower()
    # The same run draws the same bytes.
    dated = {"pdf": "CreationDate", "svg": "Date"}
    metadata = {dated[ending]: None} if ending in dated else None
    with rc_context({"svg.hashsalt": title}):
        all_axes = figure.subplots(1, panels, squeeze=False)[0]
        _draw_curves(all_axes[0], result, title)
        if result.scatter:
            _draw_scatter(all_axes[1], result.scatter)
        with write_atomically(path) as file:
            figure.savefig(file, format=ending, dpi=150, metadata=metadata)


_COLOURS = (("#9ecae1", "#08519c"), ("#fdae6b", "#a63603"), ("#a1d99b", "#006d2c"))
_MORE_COLOURS = ("#756bb1", "#636363")
_LARGEST = 1e38


def _draw_curves(axes: Axes, result: Result, title: str) -> None:
    colours = [*_COLOURS, *((colour, colour) for colour in _MORE_COLOURS)]
    # Of losses near the largest number, matplotlib finds no scale.
    curves = {
        name: np.where(np.abs(losses) < _LARGEST, losses, np.nan).astype(np.float64)
        for name, losses in result.curves.items()
    }
    for (name, losses), (faint, strong) in zip(
        curves.items(), itertools.cycle(colours), strict=False
    ):
        steps = np.arange(1, len(losses) + 1)
        window = len(losses) // 50
        if window < 2 or np.all(losses[1:] <= losses[:-1]):
            axes.plot(steps, losses, color=strong, label=name)
            continue
        axes.plot(steps, losses, color=faint, linewidth=0.6)
        mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        middles = steps[window // 2 :][: len(mean)]
        axes.plot(middles, mean, color=strong, label=f"{name}, mean of {window} steps")
    losses = np.concatenate(list(curves.values()))
    positive = losses[losses > 0]
    longest = max(map(len, curves.values()))
    axes.set(xlabel="step", ylabel="loss", title=title, xlim=(min(1, longest - 1), longest))
    if len(positive) and positive.max() > 100 * positive.min():
        # What has died out to rounding would leave no room for the rest.
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(positive.min(), 1e-8 * positive.max()) / 2)
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    handles = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    accuracies = result.training.test_accuracy_by_epoch if result.training else None
    if accuracies is not None and len(accuracies) > 1:
        accuracy_axes = axes.twinx()
        handles += accuracy_axes.plot(
            np.linspace(0, longest, len(accuracies) + 1)[1:],
            100 * accuracies,
            "o--",
            color="#d95f0e",
            markersize=5,
            clip_on=False,
            label="test accuracy after an epoch",
        )
        accuracy_axes.set(ylabel="test accuracy (%)")
    axes.legend(handles=handles, loc="best", framealpha=0.9)


def _draw_scatter(axes: Axes, scatter: Scatter) -> None:
    axes.scatter(scatter.x, scatter.y, s=4, color="#08519c", linewidths=0)
    axes.set(xlabel=scatter.x_label, ylabel=scatter.y_label, title="the data")
    axes.grid(alpha=0.3)
