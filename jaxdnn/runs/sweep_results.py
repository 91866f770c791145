"""Results of a sweep: every network, the statistics of every setting, and the best."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxdnn.runs.grid import Grid
from jaxdnn.runs.result import exact_fractions

if TYPE_CHECKING:
    from jaxdnn.runs.ensemble import Ensemble

__all__ = ["Setting", "exact", "label", "settings_of", "summarise", "write_json"]


class Setting(NamedTuple):
    """Statistics of one combination of hyperparameters over its seeds; accuracies are in [0, 1].

    Attributes:
      values: of the hyperparameters that the sweep varies.
      mean: of the final test accuracies.
      spread: their standard deviation; None for one seed.
      lowest: the lowest of them.
      highest: the highest of them.
      best_seed: the first with the highest; None if all networks diverged.
      diverged: number of networks with losses or parameters that are not finite; their accuracies
        are included.
    """

    values: dict[str, float]
    mean: float
    spread: float | None
    lowest: float
    highest: float
    best_seed: int | None
    diverged: int


def summarise(networks: Grid, trained: "Ensemble") -> Iterator[Setting]:
    """Compute the statistics of every combination, in the order of the grid.

    Args:
      networks: the grid.
      trained: the trained networks.

    Yields:
      A `Setting` for each combination.
    """
    shape = networks.settings, len(networks.seeds)
    accuracies = np.asarray(trained.history.test_accuracy)[:, -1].reshape(shape)
    finite = trained.finite.reshape(shape)
    for number, (accuracy, is_finite) in enumerate(zip(accuracies, finite, strict=True)):
        best = int(np.where(is_finite, accuracy, -1).argmax())
        yield Setting(
            values=networks.values(number),
            mean=float(accuracy.mean()),
            spread=float(accuracy.std(ddof=1)) if len(accuracy) > 1 else None,
            lowest=float(accuracy.min()),
            highest=float(accuracy.max()),
            best_seed=networks.seeds[best] if is_finite.any() else None,
            diverged=int((~is_finite).sum()),
        )


def exact(trained: "Ensemble", *, test_samples: int) -> "Ensemble":
    """Replace the accuracies by exact ones; see `jaxdnn.runs.result.exact_fractions`."""
    history = trained.history
    accuracies = exact_fractions(np.asarray(history.test_accuracy), test_samples)
    return trained._replace(history=history._replace(test_accuracy=accuracies))


def label(values: Mapping[str, float | int]) -> str:
    """A setting in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())


def settings_of(networks: Grid, number: int) -> dict[str, Any]:
    """The configuration of one network, as ``jaxdnn run`` writes it."""
    config = networks.config_of(number)
    return {**dataclasses.asdict(config), "seed": networks.seed_of(number)}


def write_json(
    path: Path,
    networks: Grid,
    trained: "Ensemble",
    settings: list[Setting],
    about: dict[str, Any],
) -> None:
    """Write everything unrounded as JSON, one network at a time: the whole may not fit into memory.

    Args:
      path: the file, which appears whole or not at all.
      networks: the grid.
      trained: the trained networks.
      settings: from `summarise`.
      about: further entries, such as the device.

    Raises:
      OSError: the file cannot be written.
    """
    from jaxdnn.data.files import write_atomically

    best = {"network": trained.best, "config": settings_of(networks, trained.best)}
    winner = best if trained.finite.any() else None
    summary = [setting._asdict() for setting in settings]
    head = json.dumps({**about, "winner": winner, "settings": summary}, allow_nan=False)
    with write_atomically(path) as file:
        file.write(head[:-1].encode() + b', "networks": [')
        for number in range(networks.networks):
            text = json.dumps(_network(networks, trained, number), allow_nan=False)
            file.write(b",\n" * (number > 0) + text.encode())
        file.write(b"]}\n")


def _network(networks: Grid, trained: "Ensemble", number: int) -> dict[str, Any]:
    losses = np.ravel(trained.history.losses[number]).astype(object)
    losses[~np.isfinite(losses.astype(float))] = None
    accuracies = np.asarray(trained.history.test_accuracy)[number].tolist()
    return {
        "config": settings_of(networks, number),
        "test_accuracy": accuracies[-1],
        "test_accuracy_by_epoch": accuracies,
        "diverged": not trained.finite[number],
        "losses": losses.tolist(),
    }
