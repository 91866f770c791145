"""Where torch's run comes from: torch itself, or a recording of it."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxdnn.errors import CheckpointError
from jaxdnn.parity.compare import under
from jaxdnn.parity.port import BATCH, Arrays, Port, precision

if TYPE_CHECKING:
    import torch

__all__ = ["Batches", "Live", "Recording", "Source", "live", "recorded_runs"]

Batches = Sequence[tuple[np.ndarray, np.ndarray]]


@runtime_checkable
class Source(Protocol):
    """A torch run, as `reference_torch.parity.recording` describes it."""

    @property
    def header(self) -> Mapping[str, Any]:
        """What is trained how, and where."""
        ...

    def start(self) -> Arrays:
        """The parameters and buffers before the first step."""
        ...

    def steps(self, *, mistake: str | None = None, samples: bool = False) -> Iterator[Arrays]:
        """What each step computed, if wanted with float32 states, or with a layer's mistake."""
        ...

    def batches(self) -> Iterator[Sequence[np.ndarray]]:
        """What it trains on."""
        ...

    def mistakes(self) -> Iterator[str]:
        """Mistakes that torch can make in the layers of its network."""
        ...


class Live:
    """Torch itself."""

    def __init__(self, run: Any) -> None:
        from reference_torch.parity import description

        self._run = run
        self.header = description.describe(run)

    def start(self) -> Arrays:
        """The parameters and buffers before the first step."""
        from reference_torch.parity import training_run

        return training_run.start(self._run)

    def steps(self, *, mistake: str | None = None, samples: bool = False) -> Iterator[Arrays]:
        """What each step computed, if wanted with float32 states, or with a layer's mistake."""
        from reference_torch.parity import training_run

        run = self._run if samples else dataclasses.replace(self._run, samples=0)
        return training_run.steps(run, mistake=mistake)

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What it trains on."""
        return iter(self._run.batches)

    def mistakes(self) -> Iterator[str]:
        """Mistakes that torch can make in the layers of its network."""
        from reference_torch.parity import mistakes

        return mistakes.ways(self.header["functions"])


def live(
    module: "torch.nn.Module",
    loss: Callable[..., Any],
    optimizer: "torch.optim.Optimizer",
    batches: Batches,
    *,
    port: Port,
    **settings: Any,
) -> Live:
    """Torch's run beside a port, with the activations that the port names.

    Args:
      module: the network.
      loss: ``(output, target) -> scalar``.
      optimizer: over its parameters.
      batches: pairs of arrays.
      port: which activations are to be recorded.
      **settings: as for `reference_torch.TorchRun`.

    Raises:
      ImportError: torch is not installed.
    """
    try:
        from reference_torch import TorchRun
        from reference_torch.parity import training_run
    except ImportError as error:
        raise ImportError(
            "torch is not installed here; install jaxdnn[torch], or record the run where it is "
            "(reference_torch.record) and compare with parity.replay."
        ) from error
    run = TorchRun(module, loss, optimizer, batches, **settings)
    if port.activations is not None:
        names = _activation_names(port, training_run.start(run), batches[0][0])
        submodules = dict(module.named_modules())
        kept = tuple(name for name in names if name in submodules)
        run = dataclasses.replace(run, activations=kept)
    return Live(run)


def _activation_names(port: Port, start: Arrays, x: np.ndarray) -> list[str]:
    assert port.activations is not None
    with precision("float64"):
        params = port.from_torch(under("param/", start))
        x = np.asarray(x)
        x = x.astype(np.float64) if x.dtype.kind == "f" else x
        return list(jax.eval_shape(port.activations, params, x))


def recorded_runs(path: str | Path) -> tuple[str, ...]:
    """The names of the runs in a file that `reference_torch.record` wrote.

    Raises:
      CheckpointError: it is no recording, or is damaged.
    """
    return tuple(_open(path)[1])


def _open(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """The file, and the headers of its runs."""
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(str(path), framework="numpy")
        contents = json.loads((file.metadata() or {})["recording"])
        known, runs = contents["format"] == "jaxdnn recording 1", contents["runs"]
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no recording of a torch run: {error}") from error
    if not known:
        raise CheckpointError(f"{path} is a recording of another format: {contents['format']}.")
    return file, runs


class Recording:
    """A run in a file that `reference_torch.record` wrote.

    Args:
      path: the file.
      name: of the run; `reference_torch.record` calls its only one ``run``.
      steps: at most so many of its steps.

    Raises:
      CheckpointError: it is no recording, or is damaged.
    """

    def __init__(self, path: str | Path, *, name: str = "run", steps: int | None = None) -> None:
        self._file, runs = _open(path)
        if name not in runs:
            raise CheckpointError(f"{path} has no run {name!r}, but {', '.join(runs)}.")
        header = runs[name]
        if steps is not None:
            header["steps"] = min(steps, header["steps"])
        self.header: Mapping[str, Any] = header
        self._keys: dict[str, list[str]] = {}
        for key in self._file.offset_keys():  # in the order in which they were written
            run, _, rest = key.partition("/")
            if run == name:
                step, _, tensor = rest.partition("/")
                self._keys.setdefault(step, []).append(tensor)
        self._name = name
        trained = self._trained("start")
        if any(self._trained(f"{i:06d}") != trained for i in range(header["steps"])):
            raise CheckpointError(f"{path} is damaged: a step of {name!r} lacks parameters.")

    def _trained(self, step: str) -> set[str]:
        return {key for key in self._keys.get(step, ()) if key.startswith("param/")}

    def start(self) -> Arrays:
        """The parameters and buffers before the first step."""
        return self._step("start")

    def steps(self, *, mistake: str | None = None, samples: bool = False) -> Iterator[Arrays]:
        """What each step computed, if wanted with float32 states."""
        for step in range(self.header["steps"]):
            yield self._step(f"{step:06d}", samples=samples)

    def batches(self) -> Iterator[Sequence[np.ndarray]]:
        """What it trains on."""
        for step in range(self.header["steps"]):
            tensors = self._keys[f"{step:06d}"]
            yield [self._tensor(f"{step:06d}", key) for key in BATCH if key in tensors]

    def mistakes(self) -> Iterator[str]:
        """None: a recording cannot be run again."""
        return iter(())

    def _step(self, step: str, *, samples: bool = True) -> Arrays:
        names = (
            name for name in self._keys.get(step, ()) if samples or not name.startswith("sample/")
        )
        return {name: self._tensor(step, name) for name in names}

    def _tensor(self, step: str, name: str) -> np.ndarray:
        return self._file.get_tensor(f"{self._name}/{step}/{name}")
