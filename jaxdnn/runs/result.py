"""The result of a run: figures, losses, times, and the trained network."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdnn.models import Params
from jaxdnn.runs import documented
from jaxdnn.runs.drawing import Panel, Scatter
from jaxdnn.runtime.device import device_and_precision

if TYPE_CHECKING:
    from jaxdnn.runs.plots import Picture

__all__ = ["Network", "Result", "Training", "exact_fractions"]


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
class Training:
    """Samples, times and accuracies of a training run.

    Attributes:
      data_source: where the data came from, in words.
      samples: number of samples processed, counted in every epoch.
      compile_seconds: wall time spent compiling.
      train_seconds: wall time spent training and evaluating.
      test_accuracy_by_epoch: between 0 and 1, after every epoch or only after the last; None
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
    """The contents of a checkpoint.

    Attributes:
      params: the trained parameters.
      preprocessing: how the data were prepared, for `jaxdnn.runs.prediction`; JSON types.
    """

    params: Params
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a workflow.

    Attributes:
      workflow: its id.
      seed: of everything random.
      config: the workflow's configuration.
      figures: computed numbers, under the names of `jaxdnn.runs.documented`; arrays become lists
        of Python numbers, unrounded.
      remarks: one line for each mistake of the document: what differs, and by how much.
      curves: losses of every step, by the name of the run; the first is the main run.
      training: samples, times and accuracies.
      network: contents of the checkpoint.
      panels: which curves are drawn together; by default all.
      scatter: points drawn beside the losses.
      by_epoch: numbers of every epoch, by what they are, where the document prints them.
      torch_seed: of initial parameters and shuffles, where they were drawn as torch draws them.
      as_documented: whether the settings are the document's, so that its figures should come out.

    A notebook shows the figures as a table, and the picture.
    """

    workflow: str
    seed: int
    config: Any
    figures: Mapping[str, Mapping[str, Any]]
    remarks: tuple[str, ...] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    network: Network | None = None
    panels: tuple[Panel, ...] = ()
    scatter: Scatter | None = None
    by_epoch: Mapping[str, Any] = field(default_factory=dict)
    torch_seed: int | None = None
    as_documented: bool = False

    def __post_init__(self) -> None:
        curves = {name: np.asarray(losses).ravel() for name, losses in self.curves.items()}
        object.__setattr__(self, "figures", _plain(self.figures))
        object.__setattr__(self, "curves", curves)
        object.__setattr__(self, "by_epoch", _plain(self.by_epoch))

    def __repr__(self) -> str:
        """One line: what was run, and how it ended."""
        told = [f"{self.workflow!r}, seed={self.seed}"]
        if self.torch_seed is not None:
            told.append(f"torch_seed={self.torch_seed}")
        if self.curves:
            told.append(f"{len(self.losses):,} losses from {self.losses[0]:.4g}")
            told[-1] += f" to {self.losses[-1]:.4g}"
        if self.training and self.training.test_accuracy is not None:
            told.append(f"test accuracy {self.training.test_accuracy:.2%}")
        told.append(f"{sum(map(len, self.figures.values()))} figures")
        return f"Result({', '.join(told)})"

    def figure(self, title: str | None = None) -> "Picture":
        """The picture of the losses, as a matplotlib figure.

        Args:
          title: of the picture; by default the workflow's id.

        Raises:
          ValueError: the workflow trains nothing, so there are no losses.
        """
        from jaxdnn.runs import plots

        if not self.curves:
            raise ValueError(f"{self.workflow} has no losses to draw.")
        return plots.loss_figure(
            self.curves,
            self.panels,
            title=self.workflow if title is None else title,
            test_accuracy=self.training.test_accuracy_by_epoch if self.training else None,
            scatter=self.scatter,
        )

    def _repr_html_(self) -> str:
        from jaxdnn.runs import notebook, tables

        return notebook.result_html(
            f"{self.workflow}, seed {self.seed}",
            tables.rows(self.figures, as_documented=self.as_documented),
            list(tables.epoch_lines(self.by_epoch, full=False)),
            self.remarks,
            self.figure() if self.curves else None,
        )

    @property
    def losses(self) -> Float[np.ndarray, " steps"]:
        """Losses of every step of the main run.

        Raises:
          ValueError: the workflow trains nothing.
        """
        if not self.curves:
            raise ValueError(f"{self.workflow} trains nothing, so it has no losses.")
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
        """Everything except the parameters, as JSON; numbers that are not finite become None.

        With the document's settings, ``printed_figures`` has each printed figure beside the
        computed one, with its place in the documents.
        """
        device, precision = device_and_precision()
        drawn = {} if self.torch_seed is None else {"torch_seed": self.torch_seed}
        measured: dict[str, Any] = {
            "workflow": self.workflow,
            "config": {**dataclasses.asdict(self.config), "seed": self.seed} | drawn,
            "device": device,
            "precision": precision,
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "figures": self.figures,
            "remarks": list(self.remarks),
        }
        if self.as_documented:
            compared = documented.compare(self.figures)
            measured["printed_figures"] = [figure._asdict() for figure in compared]
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
    """Convert arrays and NumPy scalars to Python numbers and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return np.asarray(value).tolist()
    return value


def _finite(value: Any) -> Any:
    """Replace numbers that JSON lacks by None."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
