"""Pictures: what is drawn for each kind of run, and files that are the same every time."""

from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from jaxdnn.cli import plots
from jaxdnn.errors import ConfigError
from jaxdnn.runs.result import Result, Scatter, Training

FALLING = 1 / np.arange(1.0, 201)
NOISY = 2 + np.random.default_rng(0).normal(size=400) / 4
EXTREME = np.array([1.0, 1e30, 3e38, np.inf, np.nan] * 30, np.float32)


def result(curves: dict[str, Any], **more: Any) -> Result:
    return Result("test", 0, None, {}, curves=curves, **more)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = Figure.savefig

    def watch(figure: Figure, *arguments: Any, **keywords: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", watch)
    return figures


@pytest.mark.parametrize(
    ("curves", "labels", "scale"),
    [
        ({"loss": FALLING}, ["loss"], "log"),
        ({"loss": FALLING[:50]}, ["loss"], "linear"),
        ({"loss": NOISY}, ["loss, mean of 8 steps"], "linear"),
        ({"one": FALLING, "two": NOISY}, ["one", "two, mean of 8 steps"], "log"),
        ({"loss": np.array([0.5])}, ["loss"], "linear"),
        ({"loss": np.zeros(3)}, ["loss"], "linear"),
        ({"loss": np.full(200, np.nan)}, ["loss, mean of 4 steps"], "linear"),
        ({"loss": EXTREME}, ["loss, mean of 3 steps"], "log"),
        ({"loss": EXTREME.astype(np.float64) ** 8}, ["loss, mean of 3 steps"], "linear"),
        ({str(i): FALLING * (i + 1) for i in range(7)}, [*map(str, range(7))], "log"),
    ],
)
def test_every_curve_is_drawn_and_named(
    curves: dict[str, Any],
    labels: list[str],
    scale: str,
    drawn: list[Figure],
    tmp_path: Path,
) -> None:
    plots.picture(tmp_path / "a.png", result(curves), title="A run")
    [axes] = drawn[0].axes
    legend = axes.get_legend()
    assert legend
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert axes.get_yscale() == scale
    assert axes.get_title() == "A run"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss")
    assert axes.get_xlim()[1] == max(map(len, curves.values()))
    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (630, 1050)


def test_running_mean_is_the_mean(drawn: list[Figure], tmp_path: Path) -> None:
    plots.picture(tmp_path / "a.png", result({"loss": NOISY}), title="")
    faint, mean = drawn[0].axes[0].get_lines()
    np.testing.assert_array_equal(faint.get_ydata(), NOISY)
    np.testing.assert_allclose(np.asarray(mean.get_ydata())[0], NOISY[:8].mean())
    np.testing.assert_allclose(np.asarray(mean.get_ydata())[-1], NOISY[-8:].mean())
    np.testing.assert_array_equal(np.asarray(mean.get_xdata())[[0, -1]], [5, 397])


def test_accuracies_and_points_are_drawn_where_there_are_some(
    drawn: list[Figure], tmp_path: Path
) -> None:
    def training(*accuracies: float) -> Training:
        return Training("a test", 1, 0.0, 0.0, np.array(accuracies))

    scatter = Scatter(np.arange(3.0), np.array([2.0, 0, 1]), "feature", "label")
    run = result({"loss": NOISY}, training=training(0.5, 0.75), scatter=scatter)
    plots.picture(tmp_path / "a.png", run, title="")
    losses, points, accuracy = drawn[0].axes
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_ydata(), [50, 75])
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_xdata(), [200, 400])
    assert (points.get_xlabel(), points.get_ylabel()) == ("feature", "label")
    np.testing.assert_array_equal(points.collections[0].get_offsets(), [[0, 2], [1, 0], [2, 1]])
    legend = losses.get_legend()
    assert legend
    assert legend.get_texts()[-1].get_text() == "test accuracy after an epoch"
    assert matplotlib.image.imread(tmp_path / "a.png").shape[:2] == (630, 2100)
    # A single evaluation is no line.
    plots.picture(tmp_path / "b.png", result({"a": NOISY}, training=training(0.5)), title="")
    assert len(drawn[1].axes) == 1


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "jpg", "webp", "PNG"])
def test_same_run_draws_the_same_bytes(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    plots.check_format(path, option="--plot")
    pictures = set()
    for _ in range(2):
        plots.picture(path, result({"loss": FALLING}), title="A run")
        pictures.add(path.read_bytes())
    assert len(pictures) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a", "a.txt", ".png", "a.png.gz"])
def test_other_endings_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"--plot .*: name a file that ends in \.png, \.pdf"):
        plots.check_format(Path(name), option="--plot")
