"""Running a compiled program: what it tells the outside, and how long it takes."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

__all__ = ["Progress", "Timing", "compile_and_run"]


class Timing(NamedTuple):
    """How long a call took, in seconds of wall time, compiling and running apart."""

    compile_seconds: float
    run_seconds: float


@runtime_checkable
class Progress(Protocol):
    """What a compiled run tells the outside while it goes on."""

    def on_start(self, *, epochs: int, samples: int, batch_size: int) -> None:
        """A run of so many epochs is to start, each of so many samples, so many of them a step."""

    def on_step(self, epoch: int, step: int, loss: float) -> None:
        """Step ``step`` (from 0) of epoch ``epoch`` (from 0) is done; called now and then."""

    def on_epoch(self, epoch: int, test_accuracy: float) -> None:
        """Epoch ``epoch`` (from 0) is done and evaluated; called after every one."""


def compile_and_run(
    function: Callable[..., Any], *args: Any, donate_argnums: int | Sequence[int] = ()
) -> tuple[Any, Timing]:
    """Compile a pure function for its arguments, run it once, and time the two apart.

    Args:
      function: pure, of arrays and pytrees.
      args: its arguments.
      donate_argnums: those whose memory the result may take over; see `jax.jit`.

    Returns:
      The result, once it is computed, and the times.

    Example:
      >>> total, timing = compile_and_run(jax.numpy.sum, jax.numpy.arange(4))
      >>> int(total), timing.compile_seconds > 0
      (6, True)
    """
    start = time.perf_counter()
    compiled = jax.jit(function, donate_argnums=donate_argnums).lower(*args).compile()
    compiled_at = time.perf_counter()
    result = jax.block_until_ready(compiled(*args))
    jax.effects_barrier()
    return result, Timing(compiled_at - start, time.perf_counter() - compiled_at)
