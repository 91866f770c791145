"""Pictures of a run."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.figure import Figure

from jaxdnn.errors import ConfigError
from jaxdnn.files import write_atomically

__all__ = ["check_format", "loss_curve"]

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


def loss_curve(
    path: Path,
    losses: Float[np.ndarray, " steps"],
    *,
    title: str,
    test_accuracy_by_epoch: Float[np.ndarray, " epochs"],
) -> None:
    """Draw the loss of every step, its running mean, and the test accuracy after every epoch.

    Args:
      path: the picture to write; its ending decides the format.
      losses: of every step of the run.
      title: what was trained.
      test_accuracy_by_epoch: between 0 and 1.

    Raises:
      OSError: the folder is missing or not writable.

    Example:
      >>> import tempfile
      >>> picture = Path(tempfile.mkdtemp()) / "loss.png"
      >>> losses, accuracies = 1 / np.arange(1.0, 201), np.array([0.5, 0.75])
      >>> loss_curve(picture, losses, title="A run", test_accuracy_by_epoch=accuracies)
      >>> picture.stat().st_size > 1000
      True
    """
    steps = np.arange(1, len(losses) + 1)
    epoch_ends = np.linspace(0, len(losses), len(test_accuracy_by_epoch) + 1)[1:]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="#9ecae1", linewidth=0.6, label="loss of a batch")
    window = max(1, len(losses) // 50)
    if window > 1:
        mean = np.convolve(losses, np.full(window, 1 / window), mode="valid")
        middles = steps[window // 2 :][: len(mean)]
        axes.plot(middles, mean, color="#08519c", label=f"mean of {window} batches")
    axes.set(xlabel="step", ylabel="loss", title=title, xlim=(0, len(losses)))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    accuracy_axes = axes.twinx()
    accuracy_axes.plot(
        epoch_ends,
        100 * test_accuracy_by_epoch,
        "o--",
        color="#d95f0e",
        markersize=5,
        clip_on=False,
        label="test accuracy after an epoch",
    )
    accuracy_axes.set(ylabel="test accuracy (%)")
    handles = axes.get_lines() + accuracy_axes.get_lines()
    axes.legend(handles=handles, loc="center right", framealpha=0.9)
    ending = path.suffix[1:].lower()
    # The same run draws the same bytes.
    dated = {"pdf": "CreationDate", "svg": "Date"}
    metadata = {dated[ending]: None} if ending in dated else None
    with write_atomically(path) as file, rc_context({"svg.hashsalt": title}):
        figure.savefig(file, format=ending, dpi=150, metadata=metadata)
