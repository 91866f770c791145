"""The same steps under JAX's transforms: jitted, eager, scanned, vmapped and sharded."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxdnn.parity.compare import under
from jaxdnn.parity.port import Port, State, take_step
from jaxdnn.parity.runner import precision, quickly_compiled
from jaxdnn.runtime.sharding import data_mesh

__all__ = ["agreement"]

Step = Callable[[State, tuple[Any, ...]], tuple[State, Any, Any]]


def agreement(
    port: Port, initial: Mapping[str, np.ndarray], batches: Sequence[Sequence[np.ndarray]]
) -> dict[str, float]:
    """How far the transforms of the same steps are apart, in float64.

    Args:
      port: the training run.
      initial: arrays called ``param/…``.
      batches: of one shape, with examples along the first axes.

    Returns:
      For ``eager``, ``scan``, ``vmap`` (the first network of a vmapped batch of two) and
      ``sharded`` (the batch over two devices): the largest difference from the jitted steps in
      losses, gradients and parameters, relative to the largest magnitude of each. ``sharded`` is
      left out where there are not two devices, or no batch to divide.
    """
    with precision("float64"):
        arrays = {k: np.asarray(v, np.float64) for k, v in under("param/", initial).items()}
        params = jax.device_put(port.from_torch(arrays))
        state = State(params, port.optimizer.init(params), {})
        stacked = [np.stack(arrays) for arrays in zip(*map(_even, batches), strict=True)]
        step: Step = partial(take_step, port)
        expected = _loop(jax.jit(step), state, stacked, len(batches))
        found = {
            "eager": _loop(step, state, stacked, len(batches)),
            "scan": _scan(step, state, stacked, len(batches)),
            "vmap": _vmap(step, state, stacked, len(batches)),
        }
        examples = {array.shape[1] if array.ndim > 1 else 1 for array in stacked}
        if len(jax.devices()) > 1 and len(examples) == 1 and not min(examples) % 2:
            found["sharded"] = _sharded(step, state, stacked, len(batches))
        return {name: _distance(expected, steps) for name, steps in found.items()}


def _even(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An even number of examples, so that two devices can divide them, in float64."""
    lengths = {len(array) for array in batch if np.ndim(array)}
    even = None if len(lengths) != 1 else max(lengths) // 2 * 2 or None
    arrays = (np.asarray(array)[:even] if np.ndim(array) else np.asarray(array) for array in batch)
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


def _loop(step: Step, state: State, stacked: list[np.ndarray], count: int) -> PyTree:
    """The losses and gradients of every step, and the last parameters."""
    seen = []
    for i in range(count):
        state, info, _ = step(state, jax.device_put(tuple(array[i] for array in stacked)))
        seen.append((info.loss, info.grads))
    # In NumPy, which compiles nothing for it.
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *seen)
    return stack, jax.tree.map(np.asarray, state.params)


def _scan(step: Step, state: State, stacked: list[np.ndarray], count: int) -> PyTree:
    def body(state: State, batch: tuple[jax.Array, ...]) -> tuple[State, PyTree]:
        state, info, _ = step(state, batch)
        return state, (info.loss, info.grads)

    def steps(state: State, batches: tuple[jax.Array, ...]) -> tuple[State, PyTree]:
        return jax.lax.scan(body, state, batches, length=count)

    state, seen = quickly_compiled(steps)(state, tuple(stacked))
    return seen, state.params


def _vmap(step: Step, state: State, stacked: list[np.ndarray], count: int) -> PyTree:
    """The first of a vmapped batch of two networks; the second has other initial parameters."""

    def two(tree: PyTree, factor: float | int) -> PyTree:
        return jax.tree.map(lambda a: np.stack([np.asarray(a), factor * np.asarray(a)]), tree)

    both = State(two(state.params, 1.5), two(state.opt_state, 1), {})
    batched = quickly_compiled(jax.vmap(step, in_axes=(0, None), axis_size=2))
    seen, params = _loop(batched, both, stacked, count)
    return jax.tree.map(lambda leaf: leaf[:, 0], seen), jax.tree.map(lambda leaf: leaf[0], params)


def _sharded(step: Step, state: State, stacked: list[np.ndarray], count: int) -> PyTree:
    """The batch's examples over two devices."""
    mesh = data_mesh(2)
    replicated = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
    divided = NamedSharding(mesh, PartitionSpec("data"))
    compiled = quickly_compiled(step)

    def placed(state: State, batch: tuple[Any, ...]) -> tuple[State, Any, Any]:
        return compiled(state, jax.device_put(batch, divided))

    return _loop(placed, replicated, stacked, count)


def _distance(expected: PyTree, actual: PyTree) -> float:
    def relative(ours: Any, theirs: Any) -> float:
        one, other = np.asarray(ours), np.asarray(theirs)
        scale = np.max(np.abs(one), initial=0.0)
        difference = np.max(np.abs(one - other), initial=0.0)
        return float(difference / scale) if difference else 0.0

    return max(jax.tree.leaves(jax.tree.map(relative, expected, actual)), default=0.0)
