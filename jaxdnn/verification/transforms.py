"""The same steps in the forms that JAX gives them: jitted, eager, scanned, batched, sharded."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxdnn.parity.compare import under
from jaxdnn.parity.port import PortState, Seen, Steps, precision
from jaxdnn.runtime.sharding import data_mesh

__all__ = ["agreement"]


def agreement(
    run: Steps, start: Mapping[str, np.ndarray], batches: Sequence[Sequence[np.ndarray]]
) -> dict[str, float]:
    """How far apart the forms of the same steps are, in float64.

    Args:
      run: the training run.
      start: arrays called ``param/…``.
      batches: of one shape, with examples along the first axes.

    Returns:
      For ``eager``, ``scan``, ``vmap`` (the first of two lanes) and ``sharded`` (the batch over two
      devices): the largest difference from the jitted steps in losses, gradients and parameters,
      relative to the largest magnitude of each. ``sharded`` is left out where there are not two
      devices, or no batch to share.
    """
    with precision("float64"):
        arrays = {k: np.asarray(v, np.float64) for k, v in under("param/", start).items()}
        params = jax.device_put(run.from_torch(arrays))
        state = PortState(params, run.init(params), {})
        stacked = [np.stack(arrays) for arrays in zip(*map(_even, batches), strict=True)]
        expected = _loop(jax.jit(run.step), state, stacked, len(batches))
        forms = {"eager": _loop(run.step, state, stacked, len(batches))}
        forms["scan"] = _scan(run, state, stacked, len(batches))
        forms["vmap"] = _lane(run, state, stacked, len(batches))
        examples = {array.shape[1] if array.ndim > 1 else 1 for array in stacked}
        if len(jax.devices()) > 1 and len(examples) == 1 and not min(examples) % 2:
            forms["sharded"] = _sharded(run, state, stacked, len(batches))
        return {name: _distance(expected, form) for name, form in forms.items()}


def _even(batch: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An even number of examples, in float64."""
    lengths = {len(array) for array in batch if np.ndim(array)}
    even = None if len(lengths) != 1 else max(lengths) // 2 * 2 or None
    arrays = (np.asarray(array)[:even] if np.ndim(array) else np.asarray(array) for array in batch)
    return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]


def _loop(
    step: Callable[..., Any], state: PortState, stacked: list[np.ndarray], count: int
) -> PyTree:
    seen: list[Seen] = []
    for i in range(count):
        state, info = step(state, *jax.device_put([array[i] for array in stacked]))
        seen.append(info)
    # In NumPy, where nothing is compiled for it.
    stack = jax.tree.map(lambda *leaves: np.stack(leaves), *[(s.loss, s.grads) for s in seen])
    return stack, jax.tree.map(np.asarray, state.params)


def _scan(run: Steps, state: PortState, stacked: list[np.ndarray], count: int) -> PyTree:
    def body(state: PortState, batch: list[jax.Array]) -> tuple[PortState, PyTree]:
        state, info = run.step(state, *batch)
        return state, (info.loss, info.grads)

    def steps(state: PortState, batches: list[jax.Array]) -> tuple[PortState, PyTree]:
        return jax.lax.scan(body, state, batches, length=count)

    state, seen = _quickly_compiled(steps)(state, stacked)
    return seen, state.params


def _lane(run: Steps, state: PortState, stacked: list[np.ndarray], count: int) -> PyTree:
    """The first of two lanes, of which the second starts elsewhere."""

    def lanes(tree: PyTree, factor: float | int) -> PyTree:
        return jax.tree.map(lambda a: np.stack([np.asarray(a), factor * np.asarray(a)]), tree)

    axes = [None] * len(stacked)
    step = _quickly_compiled(jax.vmap(run.step, in_axes=(0, *axes), axis_size=2))
    both = PortState(lanes(state.params, 1.5), lanes(state.opt_state, 1), {})
    seen, params = _loop(step, both, stacked, count)
    return jax.tree.map(lambda leaf: leaf[:, 0], seen), jax.tree.map(lambda leaf: leaf[0], params)


def _sharded(run: Steps, state: PortState, stacked: list[np.ndarray], count: int) -> PyTree:
    """The batch's examples over two devices."""
    mesh = data_mesh(2)
    whole = NamedSharding(mesh, PartitionSpec())
    state_on_both = jax.device_put(state, whole)
    shared = NamedSharding(mesh, PartitionSpec("data"))
    step = _quickly_compiled(run.step)

    def placed(state: PortState, *batch: jax.Array) -> tuple[PortState, Seen]:
        return step(state, *(jax.device_put(array, shared) for array in batch))

    return _loop(placed, state_on_both, stacked, count)


def _quickly_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Jitted, for two calls: what LLVM makes of the kernels does not pay, and is no form of JAX."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _distance(expected: PyTree, actual: PyTree) -> float:
    def relative(ours: Any, theirs: Any) -> float:
        one, other = np.asarray(ours), np.asarray(theirs)
        scale = np.max(np.abs(one), initial=0.0)
        difference = np.max(np.abs(one - other), initial=0.0)
        return float(difference / scale) if difference else 0.0

    return max(jax.tree.leaves(jax.tree.map(relative, expected, actual)), default=0.0)
