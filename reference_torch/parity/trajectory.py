"""A torch training run, observed step by step in two precisions.

Every step is a flat mapping of NumPy arrays:

- ``batch/x``, ``batch/y``, ``activation/…``, ``output``, ``buffer/…``, ``loss``, ``grad/…``,
  ``optimizer/…``, ``param/…``: the step in float64, in the order in which it is computed;
- ``sample/N/state/…``, ``sample/N/float64/…``, ``sample/N/float32/…``, at some steps: a state in
  float32, and what one step from it gives in either precision.
"""

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from reference_torch.parity import mistakes
from reference_torch.parity.kinks import Kinks

__all__ = [
    "Arrays",
    "Batch",
    "Stepper",
    "as_array",
    "as_tensors",
    "cast_moments",
    "moments_of",
    "parameters_of",
    "trajectory",
    "undisturbed",
]

Arrays = dict[str, np.ndarray]
Batch = tuple[np.ndarray, ...]

_KINK_DISTANCE = 1e-6
"""Relative to the largest magnitude. Nearer than this, about ten roundings of float32, the two
frameworks may end up on different sides of the kink."""


class Stepper(Protocol):
    """Something that trains in place, and can be copied with `copy.deepcopy`."""

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in another floating-point type from now on."""
        ...

    def state(self) -> Arrays:
        """The arrays before the next step: ``param/…``, ``buffer/…`` and ``optimizer/…``."""
        ...

    def parameters(self) -> list[torch.Tensor]:
        """The tensors that are trained."""
        ...

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, whose number counts from 0; return what the step computed."""
        ...


def trajectory(
    stepper: Stepper, batches: Sequence[Batch], *, samples: int = 0, mistake: str | None = None
) -> Iterator[Arrays]:
    """Train in float64, and take a step in both precisions from some states along the way.

    The states are spread evenly over the run and rounded to float32. Where the run has fewer steps
    than samples are asked for, the further ones are the same states perturbed by a thousandth. A
    state in which a relu, or another function with a kink, has an input within rounding of the kink
    is tried again with fewer examples of the batch, repeated, and left out if that does not help.

    Args:
      stepper: what to train; it changes.
      batches: the batches, in order.
      samples: how many float32 states there are at least, before some are left out.
      mistake: a mistake of `reference_torch.parity.mistakes` that the layers are to make; there are
        then no float32 states.

    Yields:
      The arrays of each step.
    """
    stepper.cast(torch.float64)
    number = len(batches)
    chosen = set(np.linspace(0, number - 1, min(samples, number)).astype(int).tolist())
    copies = -(-samples // max(1, len(chosen)))
    for i, batch in enumerate(batches):
        found: Arrays = {}
        if mistake is None and i in chosen:
            for n in range(copies):
                sample = _sample(stepper, batch, i, perturbation=n)
                found |= {f"sample/{n}/{key}": array for key, array in sample.items()}
        with mistakes.made(mistake):
            seen = stepper.step(batch, i)
        yield seen | found


def _sample(stepper: Stepper, batch: Batch, number: int, *, perturbation: int) -> Arrays:
    """One step in both precisions, from the state of the stepper rounded to float32."""
    single = copy.deepcopy(stepper)
    if perturbation:
        generator = torch.Generator().manual_seed(1000 * number + perturbation)
        with torch.no_grad():
            for param in single.parameters():
                noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
                param.mul_(1 + 1e-3 * noise.to(param.device))
    single.cast(torch.float32)
    state = single.state()
    rows = min(map(len, batch)) if batch and all(np.ndim(array) for array in batch) else 0
    while True:
        double = copy.deepcopy(single)
        double.cast(torch.float64)
        with Kinks() as kinks:
            oracle = double.step(batch, number)
        if kinks.distance > _KINK_DISTANCE:
            break
        rows //= 8
        if not rows:
            return {}
        # Repeated to the old size, since the port is compiled again for each number of examples.
        batch = tuple(np.resize(array[:rows], np.shape(array)) for array in batch)
    found = {f"state/{key}": array for key, array in state.items()}
    found |= {f"float64/{key}": array for key, array in oracle.items()}
    return found | {f"float32/{key}": array for key, array in single.step(batch, number).items()}


def as_tensors(
    batch: Batch, dtype: torch.dtype, device: torch.device | None = None
) -> list[torch.Tensor]:
    """A batch as tensors, with floats of one type.

    Raises:
      ValueError: it does not hold real numbers.
    """
    tensors = []
    for array in map(np.asarray, batch):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"A batch must hold real numbers; one holds {array.dtype}.")
        tensor = torch.tensor(array, device=device)
        tensors.append(tensor.to(dtype) if tensor.is_floating_point() else tensor)
    return tensors


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A copy in NumPy."""
    return tensor.detach().cpu().numpy().copy()


def parameters_of(module: nn.Module) -> Arrays:
    """A module's parameters, called ``param/…``."""
    return {f"param/{name}": as_array(param) for name, param in module.named_parameters()}


def moments_of(module: nn.Module, optimizer: torch.optim.Optimizer) -> Arrays:
    """The optimiser's tensors that are shaped like a parameter, called ``optimizer/…``."""
    return {
        f"optimizer/{name}/{field}": as_array(value)
        for name, param in module.named_parameters()
        for field, value in optimizer.state.get(param, {}).items()
        if _is_moment(field, value, param)
    }


def cast_moments(optimizer: torch.optim.Optimizer, dtype: torch.dtype) -> None:
    """Give the optimiser's tensors that are shaped like a parameter another type."""
    for param, fields in optimizer.state.items():
        for field, value in fields.items():
            if _is_moment(field, value, param):
                fields[field] = value.to(dtype)


def _is_moment(field: str, value: Any, param: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == param.shape and field != "step"


@contextlib.contextmanager
def undisturbed(dtype: torch.dtype) -> Iterator[None]:
    """Arithmetic of one type without TF32; random generators and settings are restored."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    default, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    with torch.random.fork_rng(), torch.backends.cudnn.flags(allow_tf32=False):
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_default_dtype(default)
            torch.set_float32_matmul_precision(precision)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
