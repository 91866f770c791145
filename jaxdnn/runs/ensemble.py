"""Many networks as one program: each its own seed and its own hyperparameters.

`fit_many` maps a workflow's ``fit`` over keys and configurations. `train_ensemble` takes as many
networks at a time as memory holds and keeps the best. On a CPU the networks are divided over the
cores, one simulated device each, and trained one after the other there: small matrix products use
one core well and two badly. An accelerator, which one small network leaves idle, trains many at
once by vmap.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Key, PyTree

from jaxdnn.models import Params
from jaxdnn.runtime.memory import free_bytes
from jaxdnn.runtime.sharding import network_mesh
from jaxdnn.training import History

__all__ = ["Ensemble", "Fit", "fit_many", "train_ensemble", "use_every_core"]

Fit = Callable[..., Any]
"""``fit(key, config, data, *, shuffle_key=None) -> (state, history)``, as in the workflows."""

_AXIS = "networks"

_VMAP_SIZE = 256
"""Networks that an accelerator trains at once: the matrix products of one leave it idle."""

_FRACTION = 0.8
"""Of the free memory that a chunk may take; compilers and fragmentation need some, too."""


class Ensemble(NamedTuple):
    """The result of `train_ensemble`.

    Attributes:
      history: of every network, as NumPy arrays whose first axis counts the networks.
      finite: which networks have finite losses and parameters.
      best: index of the network with the best final test accuracy, the first of several; networks
        that diverged are chosen only if all did.
      params: of the best network.
      chunks: number of networks in each chunk.
      compile_seconds: wall time spent compiling.
      train_seconds: wall time spent training and evaluating.
    """

    history: History
    finite: Bool[np.ndarray, " networks"]
    best: int
    params: Params
    chunks: tuple[int, ...]
    compile_seconds: float
    train_seconds: float


def use_every_core(networks: int) -> None:
    """Give JAX one simulated CPU device per core, at most one per network.

    It has no effect once JAX has initialised its devices, or if the user has set the number of CPU
    devices.

    Args:
      networks: the number to train.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if jax.config.values["jax_num_cpu_devices"] != -1:
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", max(1, min(cores, networks)))
    except RuntimeError:  # the devices are initialised
        return


def fit_many(
    fit: Fit,
    keys: Key[Array, " networks"],
    configs: Any,
    data: Any,
    *,
    shuffle_key: Key[Array, ""] | None = None,
    mesh: Mesh | None = None,
    vmap_size: int = 1,
) -> Any:
    """Train many networks, each exactly as ``fit`` trains it alone; a pure function.

    Args:
      fit: a run as a pure function, ``jaxdnn.workflows.mnist_dnn.fit`` for instance.
      keys: one for each network.
      configs: a configuration whose numbers are arrays, one element for each network, or scalars
        for all of them.
      data: shared by all of them.
      shuffle_key: decides the batches of all networks; by default each has its own.
      mesh: of `jaxdnn.runtime.sharding.network_mesh`, over whose devices the networks are divided.
      vmap_size: networks that a device trains at once, by vmap; such batches follow one another.

    Returns:
      What ``fit`` returns, with a first axis that counts the networks.

    Raises:
      ValueError: a number of ``configs`` does not have one element for each network.

    Example:
      >>> from jaxdnn.data.mnist import MNIST
      >>> from jaxdnn.workflows import mnist_dnn
      >>> images, labels = jnp.zeros((64, 28, 28), jnp.uint8), jnp.zeros(64, jnp.uint8)
      >>> blank = MNIST(images, labels, images, labels)
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> configs = mnist_dnn.Config(epochs=1, lr=jnp.array([0.01, 0.1, 0.2]))
      >>> many = jax.jit(fit_many, static_argnums=0)
      >>> states, history = many(mnist_dnn.fit, keys, configs, blank)
      >>> history.losses.shape
      (3, 1, 1)
    """
    count = len(keys)
    shapes = [np.shape(number) for number in jax.tree.leaves(configs)]
    if any(shape not in ((), (count,)) for shape in shapes):
        raise ValueError(f"{count} networks need as many of each number; got shapes {shapes}.")
    configs = jax.tree.map(lambda number: jnp.broadcast_to(jnp.asarray(number), (count,)), configs)
    unit = vmap_size * (1 if mesh is None else mesh.size)
    padded = math.ceil(count / unit) * unit
    if padded > count:
        repeated = np.minimum(np.arange(padded), count - 1)
        keys, configs = _take((keys, configs), repeated)

    def train(keys: Any, configs: Any, data: Any, shuffle_key: Any) -> Any:
        shared = {} if shuffle_key is None else {"shuffle_key": shuffle_key}
        return jax.lax.map(
            lambda network: fit(*network, data, **shared),
            (keys, configs),
            batch_size=None if vmap_size == 1 else vmap_size,
        )

    if mesh is not None:
        each, all_ = PartitionSpec(_AXIS), PartitionSpec()
        train = jax.shard_map(
            train, mesh=mesh, in_specs=(each, each, all_, all_), out_specs=each, check_vma=False
        )
    results = train(keys, configs, data, shuffle_key)
    return results if padded == count else _take(results, slice(count))


def train_ensemble(
    fit: Fit,
    seeds: Sequence[int] | np.ndarray,
    configs: Any,
    data: Any,
    *,
    shuffle_key: Key[Array, ""] | None = None,
    chunk: int | None = None,
    on_plan: Callable[[int], None] = lambda size: None,
    on_chunk: Callable[[int, int], None] = lambda done, new: None,
    on_shortage: Callable[[str], None] = lambda text: None,
) -> Ensemble:
    """Train many networks, as many at a time as memory holds, and keep the best.

    Args:
      fit: as in `fit_many`; its history has a ``test_accuracy``.
      seeds: of each network; its key is ``jax.random.key(seed)``.
      configs: as in `fit_many`.
      data: shared by all of them.
      shuffle_key: as in `fit_many`.
      chunk: at most so many networks at a time; by default what fits into memory.
      on_plan: called before the first chunk with the number of networks trained at a time.
      on_chunk: called after each chunk with the number of networks done and of those new.
      on_shortage: called with a sentence where memory turns out too small.

    Returns:
      Histories of all networks, parameters of the best.

    Raises:
      MemoryError: not even one network fits.
    """
    trainer = _Trainer(fit, data, shuffle_key)
    seeds = np.asarray(seeds, np.int32)
    count = len(seeds)
    configs = jax.tree.map(lambda number: np.broadcast_to(np.asarray(number), (count,)), configs)
    limit = chunk or count + 1  # one more than there are: no limit
    parts: list[tuple[History, Any]] = []
    best, best_score, params = 0, -math.inf, None
    done, sizes = 0, []
    while done < count:
        layout = _layout(count - done, limit, len(trainer.devices), trainer.vmap_size)
        new = min(layout.networks, count - done)
        repeated = np.minimum(np.arange(done, done + layout.networks), count - 1)
        arguments = _take((seeds, configs), repeated)
        try:
            excess = trainer.compile(layout, arguments)
            if chunk is None and excess > 1 and layout.networks > 1:
                limit = max(1, min(layout.networks - 1, int(layout.networks / excess)))
                continue
            if not done:
                on_plan(layout.networks)
            networks, history, finite = trainer.run(arguments)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if layout.networks == 1:
                message = str(error).partition("\n")[0].rstrip(".")
                raise MemoryError(message or "not even one network fits") from error
            limit = layout.networks // 2
            on_shortage(
                f"out of memory with {layout.networks} networks at a time; going on with {limit}"
            )
            continue
        history, finite = _take((history, finite), slice(new))
        scores = np.where(finite, np.asarray(history.test_accuracy)[:, -1], -1.0)
        leader = int(scores.argmax())
        if scores[leader] > best_score:
            best, best_score = done + leader, float(scores[leader])
            params = _one_of(networks, leader)
        del networks  # before the memory of the next chunk is allocated
        parts.append((history, finite))
        sizes.append(new)
        done += new
        on_chunk(done, new)
    history, finite = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Ensemble(
        history, finite, best, params, tuple(sizes), trainer.compile_seconds, trainer.train_seconds
    )


class _Layout(NamedTuple):
    """The shape of a chunk: on each device, some vmapped batches one after the other."""

    devices: int
    batches: int
    vmap_size: int

    @property
    def networks(self) -> int:
        return self.devices * self.batches * self.vmap_size


def _layout(left: int, limit: int, devices: int, most: int) -> _Layout:
    """Divide what is left into chunks of one size, so that one program serves them.

    A chunk may have a few places more than networks, but never more than the limit, unless the
    limit does not bind.

    Args:
      left: networks to train.
      limit: the most in a chunk.
      devices: at most so many.
      most: the largest vmapped batch.
    """
    size = math.ceil(left / math.ceil(left / limit))
    devices = min(devices, size)
    on_each = math.ceil(size / devices)
    batches = math.ceil(on_each / most)
    layout = _Layout(devices, batches, math.ceil(on_each / batches))
    if layout.networks <= limit or left < limit:
        return layout
    on_each = limit // devices
    batches = math.ceil(on_each / most)
    return _Layout(devices, batches, on_each // batches)


class _Trainer:
    """Compiles a chunk of networks and trains it; chunks of one layout share a program."""

    def __init__(self, fit: Fit, data: Any, shuffle_key: Key[Array, ""] | None) -> None:
        self._fit, self._common = fit, (data, shuffle_key)
        self.devices = jax.local_devices()
        self._is_cpu = self.devices[0].platform == "cpu"
        self.vmap_size = _vmap_size(self.devices[0])
        self._budget = _FRACTION * free_bytes(self.devices[0])
        self._layout: _Layout | None = None
        self._program: Any = None
        self._excess = 0.0
        self.compile_seconds = self.train_seconds = 0.0

    def compile(self, layout: _Layout, arguments: Any) -> float:
        """Compile a chunk's program, unless it is the last one compiled.

        Returns:
          The memory it needs over the free memory; 0 if XLA does not say.
        """
        if self._layout == layout:
            return self._excess
        start = time.perf_counter()
        self._layout = self._program = None
        mesh = network_mesh(self.devices[: layout.devices])
        self._each = NamedSharding(mesh, PartitionSpec(_AXIS))
        self._placed = jax.device_put(self._common, NamedSharding(mesh, PartitionSpec()))
        arguments = jax.device_put(arguments, self._each)
        self._program = self._compile(mesh, layout.vmap_size, (*arguments, *self._placed))
        self._layout = layout
        self.compile_seconds += time.perf_counter() - start
        analysis = self._program.memory_analysis()
        needed = (
            0
            if analysis is None
            else (
                analysis.temp_size_in_bytes
                + analysis.output_size_in_bytes
                + analysis.argument_size_in_bytes
            )
        )
        sharing = layout.devices if self._is_cpu else 1  # CPU devices share the memory
        self._excess = sharing * needed / max(self._budget, 1)
        return self._excess

    def _compile(self, mesh: Mesh, vmap_size: int, arguments: tuple[Any, ...]) -> Any:
        train = partial(self._train, mesh=mesh if mesh.size > 1 else None, vmap_size=vmap_size)
        return jax.jit(train).lower(*arguments).compile()

    def run(self, arguments: Any) -> tuple[Params, History, np.ndarray]:
        """Train a chunk with the compiled program; the parameters stay on the devices."""
        start = time.perf_counter()
        arguments = jax.device_put(arguments, self._each)
        networks, *rest = jax.block_until_ready(self._program(*arguments, *self._placed))
        self.train_seconds += time.perf_counter() - start
        history, finite = jax.device_get(rest)
        return networks, history, finite

    def _train(
        self,
        seeds: Array,
        configs: Any,
        data: Any,
        shuffle_key: Key[Array, ""] | None,
        mesh: Mesh | None,
        vmap_size: int,
    ) -> tuple[Params, History, Array]:
        def fit(key: Any, config: Any, data: Any, **shared: Any) -> tuple[Params, History, Array]:
            state, history = self._fit(key, config, data, **shared)
            leaves = jax.tree.leaves((state.params, history.losses))
            finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
            return state.params, history, finite

        keys = jax.vmap(jax.random.key)(seeds)
        return fit_many(
            fit, keys, configs, data, shuffle_key=shuffle_key, mesh=mesh, vmap_size=vmap_size
        )


def _vmap_size(device: Any) -> int:
    """The number of networks that a device trains at once."""
    return 1 if device.platform == "cpu" else _VMAP_SIZE


def _take(tree: PyTree, which: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[which], tree)


def _one_of(networks: PyTree, number: int) -> PyTree:
    """Copy one network's parameters to the host."""

    def pick(leaf: jax.Array) -> np.ndarray:
        for shard in leaf.addressable_shards:
            start, stop, _ = shard.index[0].indices(len(leaf))
            if start <= number < stop:
                return np.asarray(shard.data[number - start])
        raise AssertionError("every network is on a device")

    return jax.tree.map(pick, networks)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
