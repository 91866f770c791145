"""A loop driven from the host, in pieces: `jax.lax.scan` that reports, and that can be saved.

A whole run as one program is the fastest, and what vmaps. But a program that calls the host back is
not kept in the persistent compilation cache. In pieces, each the same program, a run needs no
calls back: it is found in the cache, says how it goes, and can be saved between two pieces.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from jaxdnn.runs.execution import Program, Progress, Timing

__all__ = ["Loop", "run_epochs"]

S = TypeVar("S")
_PIECES = 40
_AHEAD = 4
"""So many pieces wait for their turn: the device is busy while the host does other things."""


class Loop:
    r"""A scan over the numbers 0, 1, …, in about forty pieces.

    .. math:: (s_{i+1}, y_i) = \text{body}(s_i, i, \text{args})

    Args:
      body: ``(state, number, *args) -> (state, output)``, pure.
      length: how often.
      mesh: on whose devices the results are whole; None for the default device.

    Attributes:
      program: one piece, with the time that calls waited for it to be compiled.

    Example:
      >>> triangular = Loop(lambda total, i: (total + i, total), 5)
      >>> state, outputs = triangular(np.int32(0))
      >>> int(state), outputs.tolist()
      (10, [0, 0, 1, 3, 6])
    """

    def __init__(
        self, body: Callable[..., tuple[Any, PyTree]], length: int, *, mesh: Mesh | None = None
    ) -> None:
        # Jitted, it is traced once, for the shapes of its outputs and for the program.
        self._body, self._length = jax.jit(body, inline=True), length
        self.program = Program(self._piece, donate_argnums=(0, 1), mesh=mesh)

    def _piece(
        self, state: S, outputs: PyTree, start: Int[Array, ""], stop: Int[Array, ""], *args: Any
    ) -> tuple[S, PyTree, PyTree]:
        def advance(i: Array, carry: tuple[S, PyTree]) -> tuple[S, PyTree]:
            state, output = self._body(carry[0], i, *args)
            return state, jax.tree.map(lambda all_, one: all_.at[i].set(one), carry[1], output)

        state, outputs = jax.lax.fori_loop(start, stop, advance, (state, outputs))
        return state, outputs, jax.tree.map(lambda all_: all_[stop - 1], outputs)

    def _no_outputs(self, state: PyTree, *args: Any) -> PyTree:
        _, output = jax.eval_shape(self._body, state, np.int32(0), *args)
        return jax.tree.map(lambda s: np.zeros((self._length, *s.shape), s.dtype), output)

    def compile_ahead(self, state: PyTree, *args: Any) -> None:
        """Have it compiled in a thread; see `jaxdnn.runs.execution.Program.compile_ahead`.

        Args:
          state: as in a call, or `jax.ShapeDtypeStruct` in the place of arrays.
          *args: likewise.
        """
        if self._length:
            outputs = self._no_outputs(state, *args)
            self.program.compile_ahead(state, outputs, np.int32(0), np.int32(0), *args)

    def __call__(
        self,
        state: S,
        *args: Any,
        report: Callable[[int, PyTree], object] | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> tuple[S, PyTree]:
        """Run.

        Args:
          state: before the first number; its memory is taken over.
          *args: of the body.
          report: called after each piece, once the next ones are under way, with how many numbers
            are done and the last one's output.
          meanwhile: called once, when the first pieces are under way.

        Returns:
          The state after the last number, and the outputs, stacked.
        """
        outputs = self._no_outputs(state, *args)
        stops = np.linspace(0, self._length, min(_PIECES, self._length) + 1).astype(np.int32)
        under_way: deque[tuple[int, PyTree]] = deque()

        def tell() -> None:
            nonlocal meanwhile
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            done, last = under_way.popleft()
            if report is not None:
                report(done, last)

        for start, stop in itertools.pairwise(stops):
            state, outputs, last = self.program(state, outputs, start, stop, *args)
            under_way.append((int(stop), last))
            if len(under_way) > _AHEAD:
                tell()
        while under_way:
            tell()
        return state, outputs


def run_epochs(
    train_epoch: Callable[..., tuple[S, PyTree]],
    state: S,
    *args: Any,
    epochs: int,
    samples: int,
    progress: Progress | None,
) -> tuple[tuple[S, PyTree], Timing]:
    """Many short epochs, with reports and times.

    Args:
      train_epoch: ``(state, number, *args) -> (state, losses)``, pure.
      state: before the first epoch.
      *args: of ``train_epoch``.
      epochs: how many.
      samples: of each.
      progress: told how the run goes while it goes on.

    Returns:
      The state after the last epoch and the losses of all; and how long it took.

    Example:
      >>> def train_epoch(weight, number, data):
      ...     gradient = 2 * (weight - data).mean()
      ...     return weight - 0.25 * gradient, ((weight - data) ** 2).mean()
      >>> (weight, losses), timing = run_epochs(
      ...     train_epoch, np.float32(0), np.ones(3, np.float32), epochs=3, samples=3, progress=None
      ... )
      >>> print(weight, losses)
      0.875 [1.     0.25   0.0625]
    """
    if progress is not None:
        progress.on_start(epochs=epochs, samples=samples, batch_size=samples)

    def report(done: int, losses: PyTree) -> None:
        if progress is not None:
            progress.on_step(done - 1, 0, float(np.ravel(losses)[-1]))

    start = time.perf_counter()
    loop = Loop(train_epoch, epochs)
    result = jax.block_until_ready(loop(state, *args, report=report))
    seconds = time.perf_counter() - start
    compile_seconds = loop.program.compile_seconds
    return result, Timing(compile_seconds, seconds - compile_seconds)
