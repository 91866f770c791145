"""The runner: drives a training run from the host, a few epochs at a time.

A run is one pure function, `jaxdnn.training.fit`. As one program it could not show its progress or
be saved on the way. The runner calls the same function, jitted, again and again for a few epochs,
and reports and saves between the calls. No program calls the host, which would keep it out of
JAX's persistent compilation cache.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxdnn.runs.workflow import Progress
from jaxdnn.training import TrainState

__all__ = ["Run", "Timing", "drive", "epochs_per_call", "timed"]

_CALLS = 40
"""Calls of a run of short epochs: enough for a progress bar, few enough to cost nothing."""


class Run(NamedTuple):
    """A run after some epochs; it is what ``--resume`` saves, under these names.

    Attributes:
      state: of the parameters and the optimiser.
      losses: of every step so far.
      test_accuracy: after every epoch so far; None where nothing is evaluated.
    """

    state: TrainState
    losses: Float[np.ndarray, "epochs steps"]
    test_accuracy: Float[np.ndarray, " epochs"] | None


class Timing(NamedTuple):
    """Wall time in seconds, of compiling and of everything else."""

    compile_seconds: float
    run_seconds: float


def epochs_per_call(epochs: int) -> int:
    """How many short epochs one call takes.

    Example:
      >>> epochs_per_call(5000), epochs_per_call(3)
      (125, 1)
    """
    return -(-epochs // _CALLS)


def drive(
    train: Callable[..., Any],
    run: Run,
    arguments: tuple[Any, ...],
    *,
    epochs: int,
    per_call: int,
    progress: Progress,
    save: Callable[[Run], None] | None = None,
) -> tuple[Run, Timing]:
    """Train up to a number of epochs.

    Args:
      train: ``train(state, epochs, *arguments) -> (state, history)``, jitted, of the numbers of the
        epochs to train; it may donate the state.
      run: what is done already.
      arguments: the shuffle key, the configuration and the data, say.
      epochs: how many the run has in all.
      per_call: how many of them one call takes.
      progress: is told after every call.
      save: is given the run after every call.

    Returns:
      The run after the last epoch, and how long it took.
    """
    programs: dict[int, Callable[..., Any]] = {}
    compile_seconds, began = 0.0, time.perf_counter()
    for numbers in _pieces(len(run.losses), epochs, per_call):
        if len(numbers) not in programs:
            start = time.perf_counter()
            compiled = train.lower(run.state, numbers, *arguments).compile()  # type: ignore[attr-defined]
            programs[len(numbers)] = compiled
            compile_seconds += time.perf_counter() - start
        state, history = programs[len(numbers)](run.state, numbers, *arguments)
        # As NumPy arrays, which waits for the device.
        losses, accuracy = jax.tree.map(
            lambda before, new: np.concatenate([before, np.asarray(new)]),
            (run.losses, run.test_accuracy),
            tuple(history),
        )
        run = Run(state, losses, accuracy)
        last = None if accuracy is None else float(accuracy[-1])
        progress.on_epochs(len(losses), float(losses[-1, -1]), last)
        if save is not None:
            save(run)
    seconds = time.perf_counter() - began
    return run, Timing(compile_seconds, seconds - compile_seconds)


def _pieces(done: int, epochs: int, per_call: int) -> Iterator[np.ndarray]:
    """The numbers of the epochs of each call; all but the last have the same length."""
    for first in range(done, epochs, per_call):
        yield np.arange(first, min(first + per_call, epochs), dtype=np.int32)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Timing]:
    """Compile a pure function for its arguments and call it once.

    Args:
      function: pure, of arrays and pytrees.
      *arguments: its arguments.

    Returns:
      The result, once it is computed, and the wall time of compiling and of the call.

    Example:
      >>> total, timing = timed(jax.numpy.sum, jax.numpy.arange(4))
      >>> int(total), timing.compile_seconds > 0
      (6, True)
    """
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    between = time.perf_counter()
    result = jax.block_until_ready(compiled(*arguments))
    return result, Timing(between - start, time.perf_counter() - between)
