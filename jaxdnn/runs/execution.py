"""Running a compiled program: what it tells the outside, and how long it takes."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

__all__ = ["Program", "Progress", "Timing", "compile_and_run"]


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


class Program:
    """A pure function that is compiled once, for the shapes of its first call.

    Args:
      function: of arrays and pytrees.
      donate_argnums: arguments whose memory the result may take over; see `jax.jit`.
      mesh: on whose devices the result is whole; None for the default device.

    Attributes:
      compile_seconds: how long calls waited for it to be compiled.

    Example:
      >>> double = Program(lambda x: 2 * x)
      >>> int(double(3)), double.compile_seconds > 0
      (6, True)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        donate_argnums: int | Sequence[int] = (),
        mesh: Mesh | None = None,
    ) -> None:
        whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        self._jitted = jax.jit(function, donate_argnums=donate_argnums, out_shardings=whole)
        self._compiled: Future[Callable[..., Any]] | None = None
        self.compile_seconds = 0.0

    def shapes(self, *args: Any) -> PyTree[jax.ShapeDtypeStruct]:
        """What a call returns, but for the numbers.

        Args:
          *args: those of the call, or `jax.ShapeDtypeStruct` in the place of arrays.

        Returns:
          A `jax.ShapeDtypeStruct` in the place of every array.

        Example:
          >>> Program(lambda x: 2 * x).shapes(jax.ShapeDtypeStruct((3,), "float32"))
          ShapeDtypeStruct(shape=(3,), dtype=float32)
        """
        return self._jitted.trace(*args).out_info

    def compile_ahead(self, *args: Any) -> None:
        """Have it compiled in a thread, unless that was done before; the first call waits for it.

        Args:
          *args: those of the call, or `jax.ShapeDtypeStruct` in the place of arrays.
        """
        if self._compiled is None:
            self._compiled = _compilers().submit(self._jitted.lower(*args).compile)

    def __call__(self, *args: Any) -> Any:
        """The function's result; it may still be on its way."""
        start = time.perf_counter()
        waits = self._compiled is None or not self._compiled.done()
        self.compile_ahead(*args)
        assert self._compiled is not None
        program = self._compiled.result()
        if waits:
            self.compile_seconds += time.perf_counter() - start
        return program(*args)


@cache
def _compilers() -> ThreadPoolExecutor:
    # A GPU's kernels are chosen by timing them: there one program at a time.
    one_by_one = jax.default_backend() != "cpu"
    return ThreadPoolExecutor(1 if one_by_one else None, thread_name_prefix="compiler")


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
    program = Program(function, donate_argnums=donate_argnums)
    start = time.perf_counter()
    result = jax.block_until_ready(program(*args))
    jax.effects_barrier()
    seconds = time.perf_counter() - start
    return result, Timing(program.compile_seconds, seconds - program.compile_seconds)
