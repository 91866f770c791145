"""A torch training run, observed step by step in two precisions.

Every step is a flat mapping of NumPy arrays:

- ``batch/x``, ``batch/y``, ``activation/…``, ``output``, ``loss``, ``grad/…``, ``buffer/…``,
  ``optimizer/…``, ``param/…``: the step in float64;
- ``slope/output``, ``slope/activation/…``: the derivative of the loss by these;
- ``spread/…``, ``noise/…``, ``parted``: what the twins show, see `reference_torch.parity.twins`;
- ``sample/N/state/…``, ``sample/N/float64/…``, ``sample/N/float32/…``, at some steps: a state in
  float32, and what one step from it gives in either precision; ``sample/N/model/…``: the sum of the
  squared errors that random rounding causes, see `reference_torch.parity.rounding`.
"""

import contextlib
import copy
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from reference_torch.parity import mistakes
from reference_torch.parity.kinks import Kinks
from reference_torch.parity.rounding import FLOAT32, Rounding
from reference_torch.parity.stepper import Arrays, Batch, Stepper, as_array
from reference_torch.parity.twins import Twins

__all__ = ["arithmetic", "trajectory", "undisturbed"]

_KINK_DISTANCE = 1e-6
"""Relative to the largest magnitude. Nearer than this, about ten roundings of float32, the two
frameworks may end up on different sides of the kink."""


def trajectory(
    stepper: Stepper,
    batches: Sequence[Batch],
    *,
    samples: int = 0,
    mistake: str | None = None,
    twins: bool = False,
    model: bool = False,
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
      twins: whether the spread of right runs is measured beside it.
      model: whether the float32 states hold what random rounding does.

    Yields:
      The arrays of each step.
    """
    stepper.cast(torch.float64)
    beside = Twins(stepper) if twins else None
    number = len(batches)
    chosen = set(np.linspace(0, number - 1, min(samples, number)).astype(int).tolist())
    copies = -(-samples // max(1, len(chosen)))
    kinked = True  # until a step has shown that nothing in it has a kink
    for i, batch in enumerate(batches):
        found: Arrays = {}
        if mistake is None and i in chosen:
            for n in range(copies):
                sample, kinked = _sample(
                    stepper, batch, i, perturbation=n, watch=kinked, model=model
                )
                found |= {f"sample/{n}/{key}": array for key, array in sample.items()}
        with mistakes.made(mistake):
            seen = stepper.step(batch, i)
            measured = {} if beside is None else beside.step(batch, i, seen)
        yield seen | measured | found


def _sample(
    stepper: Stepper, batch: Batch, number: int, *, perturbation: int, watch: bool, model: bool
) -> tuple[Arrays, bool]:
    """One step in both precisions, from the state of the stepper rounded to float32.

    Returns:
      The arrays, and whether any operation in the step has a kink. To watch for those takes most of
      the time of a small step.
    """
    single = copy.deepcopy(stepper)
    if perturbation:
        generator = torch.Generator().manual_seed(1000 * number + perturbation)
        for key, tensor in single.tensors().items():
            if key.startswith("param/"):
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.mul_(1 + 1e-3 * noise.to(tensor.device))
    single.cast(torch.float32)
    state = {key: as_array(tensor) for key, tensor in single.tensors().items()}
    rows = min(map(len, batch)) if batch and all(np.ndim(array) for array in batch) else 0
    while True:
        double = copy.deepcopy(single)
        double.cast(torch.float64)
        with Kinks() if watch else contextlib.nullcontext() as kinks:
            oracle = double.step(batch, number)
        if kinks is None or kinks.distance > _KINK_DISTANCE:
            break
        rows //= 8
        if not rows:
            return {}, True
        # Repeated to the old size, since the port is compiled again for each number of examples.
        batch = tuple(np.resize(array[:rows], np.shape(array)) for array in batch)
    found = {f"state/{key}": array for key, array in state.items()}
    found |= {f"float64/{key}": array for key, array in oracle.items()}
    if model:
        rounded = copy.deepcopy(single)
        rounded.cast(torch.float64)
        with Rounding(1000 * number + perturbation, FLOAT32):
            seen = rounded.step(batch, number)
        for key, array in oracle.items():
            if array.dtype.kind == "f" and not key.startswith(("batch/", "slope/")):
                known = np.isfinite(seen[key]) & np.isfinite(array)
                apart = np.subtract(seen[key], array, where=known, out=np.zeros_like(array))
                found[f"model/{key}"] = np.sum(np.square(apart))
    found |= {f"float32/{key}": array for key, array in single.step(batch, number).items()}
    return found, kinks is not None and kinks.watched


@contextlib.contextmanager
def arithmetic(dtype: torch.dtype, *, threads: int | None = None) -> Iterator[None]:
    """Arithmetic of one type without TF32; the settings are restored.

    Args:
      dtype: torch's default type inside.
      threads: how many threads torch uses inside; None for as many as before.
    """
    default, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    before = torch.get_num_threads()
    with torch.backends.cudnn.flags(allow_tf32=False):
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision("highest")
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_default_dtype(default)
            torch.set_float32_matmul_precision(precision)
            if threads is not None:
                torch.set_num_threads(before)


@contextlib.contextmanager
def undisturbed(dtype: torch.dtype) -> Iterator[None]:
    """The same, with the random generators restored too."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(), arithmetic(dtype):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
