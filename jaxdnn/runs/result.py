"""What a workflow leaves: for the terminal, the picture, the checkpoint and the JSON file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdnn.models import Params
from jaxdnn.runtime.device import device_and_precision

__all__ = ["Network", "Result", "Scatter", "Training", "exact_fractions"]


def exact_fractions(
    fractions: Float[np.ndarray, "*shape"], samples: int
) -> Float[np.ndarray, "*shape"]:
    """Fractions of a number of samples in float64, where float32 rounded them.

    Example:
      >>> exact_fractions(np.array([0.1, 0.97], np.float32), 100).tolist()
      [0.1, 0.97]
    """
    return np.rint(np.asarray(fractions, np.float64) * samples) / samples


@dataclass(frozen=True)
class Scatter:
    """Points for a picture."""

    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Training:
    """How a compiled run went.

    Attributes:
      data_source: where the data came from, in words.
      samples: how many were used, each time counted.
      compile_seconds: wall time spent compiling, but for what went on beside training.
      train_seconds: wall time spent training and evaluating.
      test_accuracy_by_epoch: between 0 and 1; after every epoch, or after the last one only; None
        where there are no classes.
    """

    data_source: str
    samples: int
    compile_seconds: float
    train_seconds: float
    test_accuracy_by_epoch: Float[np.ndarray, " evaluations"] | None = None

    @property
    def test_accuracy(self) -> float | None:
        """After the last epoch."""
        accuracies = self.test_accuracy_by_epoch
        return None if accuracies is None else float(accuracies[-1])


@dataclass(frozen=True)
class Network:
    """What a checkpoint holds.

    Attributes:
      params: the trained parameters.
      preprocessing: what `jaxdnn.runs.prediction` needs to know of the data, as JSON holds it.
    """

    params: Params
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished workflow.

    Attributes:
      workflow: its id.
      seed: what decided everything that is random.
      config: the workflow's configuration.
      figures: what was computed, by the names of `jaxdnn.runs.documented`; arrays given here
        become lists of Python's numbers, unrounded.
      remarks: where the document is not what it says, each a line: what differs, and by how much.
      curves: losses of every step of each run, by a run's name; the first is the main one.
      training: how a compiled run went.
      network: what a checkpoint holds.
      scatter: points to be drawn beside the losses.
    """

    workflow: str
    seed: int
    config: Any
    figures: Mapping[str, Mapping[str, Any]]
    remarks: tuple[str, ...] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    network: Network | None = None
    scatter: Scatter | None = None

    def __post_init__(self) -> None:
        curves = {name: np.asarray(losses).ravel() for name, losses in self.curves.items()}
        object.__setattr__(self, "figures", _plain(self.figures))
        object.__setattr__(self, "curves", curves)

    @property
    def losses(self) -> Float[np.ndarray, " steps"]:
        """Of every step of the main run."""
        return next(iter(self.curves.values()))

    @property
    def divergences(self) -> dict[str, int]:
        """For each curve that has one, the first step, from 1, with a loss that is not finite.

        A main run whose last parameters are not finite diverged at its last step.
        """
        steps = {name: np.flatnonzero(~np.isfinite(c)) for name, c in self.curves.items()}
        first = {name: int(found[0]) + 1 for name, found in steps.items() if len(found)}
        leaves = jax.tree.leaves(self.network.params if self.network else None)
        if not all(np.isfinite(np.asarray(leaf)).all() for leaf in leaves):
            main = next(iter(self.curves))
            first.setdefault(main, len(self.curves[main]))
        return first

    def to_dict(self) -> dict[str, Any]:
        """All but the parameters, as JSON holds it; what is not finite becomes None."""
        device, precision = device_and_precision()
        measured: dict[str, Any] = {
            "workflow": self.workflow,
            "config": {**dataclasses.asdict(self.config), "seed": self.seed},
            "device": device,
            "precision": precision,
            "figures": self.figures,
            "remarks": list(self.remarks),
        }
        if self.curves:
            measured["losses"] = self.losses
            measured["curves"] = self.curves
        if self.training:
            measured["test_accuracy"] = self.training.test_accuracy
            measured |= {
                field.name: getattr(self.training, field.name)
                for field in dataclasses.fields(self.training)
            }
        return _finite(_plain(measured))


def _plain(value: Any) -> Any:
    """Arrays and NumPy's scalars as Python's numbers and lists of them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    return value


def _finite(value: Any) -> Any:
    """The same with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
