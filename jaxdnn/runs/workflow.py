"""The protocol between a workflow and the commands that run it.

A workflow is a module of `jaxdnn.workflows`: pure functions, and a ``Config``. Beside it stands a
module of `jaxdnn.runs.reports` with the same name, the `Report`, which runs it at given settings
and says what came of it. `jaxdnn.runs.catalogue` lists them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxdnn.models import Model
    from jaxdnn.runs.result import Result

__all__ = [
    "Inputs",
    "NetworkReport",
    "NoInputs",
    "Progress",
    "Report",
    "Request",
    "Silent",
]


@runtime_checkable
class Progress(Protocol):
    """What the runner reports while a run goes on; the command line shows it."""

    def on_start(self, *, epochs: int, samples: int) -> None:
        """A run of so many epochs, each of so many samples, is about to start."""

    def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
        """So many epochs are done; the last loss, and the test accuracy if it was evaluated."""


class Silent:
    """A `Progress` that shows nothing."""

    def on_start(self, *, epochs: int, samples: int) -> None:
        """Nothing."""

    def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
        """Nothing."""


@runtime_checkable
class Inputs(Protocol):
    """The files that a workflow reads: a frozen dataclass, one flag for each field."""

    def load(self, seed: int, progress: Any = None) -> tuple[Any, str]:
        """The data, and where they came from in words; ``progress`` makes download bars."""
        ...

    def files(self) -> list[Path]:
        """The files that `load` may read; no result is written over one of them."""
        ...


@dataclass(frozen=True)
class NoInputs:
    """The workflow reads no files."""

    def load(self, seed: int, progress: Any = None) -> tuple[None, str]:
        """No data, from nowhere."""
        return None, ""

    def files(self) -> list[Path]:
        """No files."""
        return []


class Request(NamedTuple):
    """What a report is asked to run.

    Attributes:
      seed: decides everything that is random.
      config: the workflow's ``Config``.
      data: what ``Inputs.load`` returned.
      data_source: where the data came from, in words; empty if nothing was read.
      progress: is told how the run proceeds.
      mesh: devices over which every batch is sharded; None for the default device.
      torch_seed: draws the initial parameters and the shuffles as torch does after
        ``torch.manual_seed``; None to draw from JAX's keys what the workflow draws from them.
      resume: file in which the run is saved after every epoch, and from which it goes on.
    """

    seed: int
    config: Any
    data: Any = None
    data_source: str = ""
    progress: Progress = Silent()
    mesh: "Mesh | None" = None
    resume: Path | None = None
    torch_seed: int | None = None


@runtime_checkable
class Report(Protocol):
    """A module of `jaxdnn.runs.reports`.

    Attributes:
      SEED: the document's seed.
      Config: the workflow's settings, a frozen dataclass whose defaults are the document's.
      Inputs: the files it reads, `NoInputs` if none.
    """

    SEED: int
    Config: Any
    Inputs: Any

    def run(self, request: Request) -> "Result":
        """Run the workflow.

        Raises:
          ConfigError: the seed is negative or does not fit 31 bits.
        """
        ...


@runtime_checkable
class NetworkReport(Report, Protocol):
    """The report of a workflow that leaves a trained network."""

    def network(self, features: int) -> "Model":
        """The network that its checkpoints hold.

        Args:
          features: columns of the table; not used for images.
        """
        ...
