"""Where torch's run comes from: torch itself, or a recording of it."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxdnn.errors import CheckpointError
from jaxdnn.parity.compare import under
from jaxdnn.parity.port import Arrays, Batch, Port, activations_of
from jaxdnn.parity.runner import precision

if TYPE_CHECKING:
    from reference_torch import TorchRun

__all__ = ["Batches", "Source", "Steps", "live", "recorded_runs", "recording"]

Batches = Sequence[tuple[Any, Any]]


class Steps(Protocol):
    """What each step computed, one mapping of arrays a step.

    With ``samples``, float32 states too; with ``mistake``, what torch computes if its layers make
    that mistake; with ``twins``, how far right runs are apart; with ``model``, what random rounding
    does to the float32 states.
    """

    def __call__(
        self,
        *,
        mistake: str | None = None,
        samples: bool = False,
        twins: bool = False,
        model: bool = False,
    ) -> Iterator[Arrays]:
        """Run again from the first step."""
        ...


class Source(NamedTuple):
    """A torch run, which can be gone through repeatedly.

    Attributes:
      header: what is trained how, and where; see `reference_torch.parity.description.describe`.
      initial: the parameters and buffers before the first step, in float64.
      steps: what each step computed.
      batches: ``() -> iterator`` over what it trains on.
      mistakes: ``() -> iterator`` over the mistakes that torch can make in the layers of its
        network.
    """

    header: Mapping[str, Any]
    initial: Arrays
    steps: Steps
    batches: Callable[[], Iterator[Batch]]
    mistakes: Callable[[], Iterator[str]] = lambda: iter(())


def live(run: "TorchRun", port: Port) -> Source:
    """Torch itself, with the activations that the port names.

    Args:
      run: what is trained.
      port: names the activations to record.
    """
    from reference_torch.parity import description, mistakes, training_run

    initial = training_run.initial_arrays(run)
    if port.activations is not None:
        submodules = dict(run.module.named_modules())
        names = _activation_names(port, initial, run.batches[0][0])
        if unknown := [name for name in names if name not in submodules]:
            raise ValueError(
                f"activations names {', '.join(unknown)}, which torch's module does not have; its "
                f"submodules are {', '.join(filter(None, submodules)) or 'none'}."
            )
        run = dataclasses.replace(run, activations=tuple(names))
    header = description.describe(run)
    training_run.require_repeatable(run)

    def steps(*, samples: bool = False, **asked: Any) -> Iterator[Arrays]:
        sampled = run if samples else dataclasses.replace(run, samples=0)
        return training_run.steps(sampled, **asked)

    return Source(
        header,
        initial,
        steps,
        lambda: iter(run.batches),
        lambda: mistakes.ways(header["functions"]),
    )


def _activation_names(port: Port, initial: Arrays, x: np.ndarray) -> list[str]:
    with precision("float64"):
        params = port.from_torch(under("param/", initial))
        x = np.asarray(x)
        x = x.astype(np.float64) if x.dtype.kind == "f" else x
        return list(jax.eval_shape(partial(activations_of, port), params, x))


def recorded_runs(path: str | Path) -> tuple[str, ...]:
    """The names of the runs in a file that `reference_torch.record` wrote.

    Raises:
      CheckpointError: it is no recording, or is damaged.
    """
    return tuple(_open(path)[1])


def recording(path: str | Path, *, name: str = "run", steps: int | None = None) -> Source:
    """A run in a file that `reference_torch.record` wrote; one step at a time is in memory.

    Args:
      path: the file.
      name: of the run; `reference_torch.record` calls its only one ``run``.
      steps: at most this many of its steps.

    Raises:
      CheckpointError: it is no recording, or is damaged.
    """
    file, runs = _open(path)
    if name not in runs:
        raise CheckpointError(f"{path} has no run {name!r}, but {', '.join(runs)}.")
    header = runs[name]
    if steps is not None:
        header["steps"] = min(steps, header["steps"])
    keys = _keys(file, name)
    numbered = [f"{i:06d}" for i in range(header["steps"])]
    if any(_trained(keys[step]) != _trained(keys["start"]) for step in numbered):
        raise CheckpointError(f"{path} is damaged: a step of {name!r} lacks parameters.")

    def read(step: str, wanted: Callable[[str], bool]) -> Arrays:
        found = filter(wanted, keys[step])
        return {key: file.get_tensor(f"{name}/{step}/{key}") for key in found}

    def all_steps(*, samples: bool = False, **asked: Any) -> Iterator[Arrays]:
        for step in numbered:
            yield read(step, lambda key: samples or not key.startswith("sample/"))

    def batches() -> Iterator[Batch]:
        for step in numbered:
            yield tuple(read(step, lambda key: key.startswith("batch/")).values())

    return Source(header, read("start", lambda key: True), all_steps, batches)


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


def _keys(file: Any, name: str) -> Mapping[str, list[str]]:
    """The tensors of each step of a run, in the order in which they were written."""
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for key in file.offset_keys():
        run, _, rest = key.partition("/")
        if run == name:
            step, _, tensor = rest.partition("/")
            keys[step].append(tensor)
    return keys


def _trained(keys: Sequence[str]) -> set[str]:
    return {key for key in keys if key.startswith("param/")}
