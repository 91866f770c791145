"""Pictures: what is drawn for each kind of run, and files that are the same every time."""

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from jaxdnn.errors import ConfigError
from jaxdnn.runs import plots
from jaxdnn.runs.drawing import Panel, Scatter

FALLING = 1 / np.arange(1.0, 201)
NOISY = 2 + np.random.default_rng(0).normal(size=400) / 4
WAVE = 2 + np.sin(np.linspace(0, 3, 400))
EXTREME = np.array([1.0, 1e30, 3e38, np.inf, np.nan] * 30, np.float32)


@pytest.mark.parametrize(
    ("curves", "labels", "scale"),
    [
        ({"loss": FALLING}, ["loss"], "log"),
        ({"loss": FALLING[:50]}, ["loss"], "linear"),
        ({"loss": NOISY}, ["loss, mean of 8 steps"], "linear"),
        ({"one": FALLING, "two": NOISY}, ["one", "two, mean of 8 steps"], "log"),
        ({"loss": WAVE}, ["loss"], "linear"),
        ({"loss": FALLING[:100] * np.exp(NOISY[:100])}, ["loss"], "log"),
        ({"loss": np.tile(FALLING * np.exp(NOISY[:200]), 2)}, ["loss, mean of 8 steps"], "log"),
        ({"loss": np.array([0.5])}, ["loss"], "linear"),
        ({"loss": np.zeros(3)}, ["loss"], "linear"),
        ({"loss": np.full(400, np.nan)}, ["loss, mean of 8 steps"], "linear"),
        ({"loss": np.tile(EXTREME, 2)}, ["loss, mean of 6 steps"], "log"),
        ({"loss": EXTREME.astype(np.float64) ** 8}, ["loss"], "linear"),
        ({str(i): FALLING * (i + 1) for i in range(7)}, [*map(str, range(7))], "log"),
    ],
)
def test_every_curve_is_drawn_and_named(
    curves: dict[str, Any], labels: list[str], scale: str, tmp_path: Path
) -> None:
    figure = plots.loss_figure(curves, title="A run")
    [axes] = figure.axes
    assert legend(axes) == labels
    assert axes.get_yscale() == scale
    assert figure.get_suptitle() == "A run"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    assert axes.get_xlim()[1] == max(map(len, curves.values()))
    plots.save(figure, tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (660, 1050)


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_legend_covers_no_curve() -> None:
    figure = plots.loss_figure({"one": FALLING, "two": NOISY[:200]})
    figure.canvas.draw()
    [axes] = figure.axes
    box = axes.get_legend()
    assert box
    assert box.get_window_extent().y1 < axes.get_window_extent().y0


def test_panels_have_their_own_curves_scales_and_axes() -> None:
    """An axis counts epochs where the document does; a later curve begins where it was taken."""
    panels = (
        Panel("by epochs", ("a", "b"), {"a": 4, "b": 1}),
        Panel("by steps", ("c", "d"), steps_before={"d": 17}),
    )
    curves = {"a": FALLING[:40], "b": FALLING[:10], "c": NOISY[:17], "d": NOISY[:55]}
    figure = plots.loss_figure(curves, panels)
    epochs, steps = figure.axes
    assert (epochs.get_xlabel(), steps.get_xlabel()) == ("epoch", "step")
    assert (epochs.get_title(), steps.get_title()) == ("by epochs", "by steps")
    places = [np.asarray(line.get_xdata()) for line in (*epochs.get_lines(), *steps.get_lines())]
    assert [(x[0], x[-1]) for x in places] == [(0.25, 10), (1, 10), (1, 17), (18, 72)]
    assert legend(epochs) == ["a", "b"]


def test_running_mean_is_the_mean() -> None:
    faint, mean = plots.loss_figure({"loss": NOISY}).axes[0].get_lines()
    np.testing.assert_array_equal(faint.get_ydata(), NOISY)
    np.testing.assert_allclose(np.asarray(mean.get_ydata())[0], NOISY[:8].mean())
    np.testing.assert_allclose(np.asarray(mean.get_ydata())[-1], NOISY[-8:].mean())
    np.testing.assert_array_equal(np.asarray(mean.get_xdata())[[0, -1]], [5, 397])


def test_accuracies_and_points_are_drawn_where_there_are_some() -> None:
    scatter = Scatter(np.arange(3.0), np.array([2.0, 0, 1]), "feature", "label")
    figure = plots.loss_figure(
        {"loss": NOISY}, test_accuracy=np.array([0.5, 0.75]), scatter=scatter
    )
    losses, points, accuracy = figure.axes
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_ydata(), [50, 75])
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_xdata(), [200, 400])
    assert (points.get_xlabel(), points.get_ylabel()) == ("feature", "label")
    np.testing.assert_array_equal(points.collections[0].get_offsets(), [[0, 2], [1, 0], [2, 1]])
    assert legend(losses)[-1] == "test accuracy after an epoch"
    # A single evaluation is no line.
    assert len(plots.loss_figure({"a": NOISY}, test_accuracy=np.array([0.5])).axes) == 1


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "jpg", "webp", "PNG"])
def test_same_run_draws_the_same_bytes(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    plots.check_format(path, option="--plot")
    pictures = set()
    for _ in range(2):
        plots.save(plots.loss_figure({"loss": FALLING}, title="A run"), path)
        pictures.add(path.read_bytes())
    assert len(pictures) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a", "a.txt", ".png", "a.png.gz"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--plot .*: name a file that ends in \.png, \.pdf"):
        plots.check_format(Path(name), option="--plot")
