"""Many networks as one program: each its own seed and its own hyperparameters.

On a CPU the networks are shared out over the cores, one simulated device each, and trained one
after the other there: small matrix products use one core well and two badly. On an accelerator,
which one small network leaves idle, many are trained at once.
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

_TOGETHER = 256
"""Networks that an accelerator trains at once, by vmap: the products of one leave it idle."""

_SHARE = 0.8
"""Of the free memory that a chunk may take: compilers and fragments need some, too."""


class Ensemble(NamedTuple):
    """What `train_ensemble` leaves of many networks.

    Attributes:
      history: of every network, as NumPy arrays with a first axis.
      finite: which networks have finite losses and parameters.
      best: the number of the network with the best last test accuracy, the first if several have
        it; one that is not finite only if all are not.
      params: those of the best network.
      chunks: how many networks were trained at a time.
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

    To be called before JAX touches a device; afterwards, or where the user has set a number of CPU
    devices, nothing happens.

    Args:
      networks: how many are to be trained.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if jax.config.values["jax_num_cpu_devices"] != -1:
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", max(1, min(cores, networks)))
    except RuntimeError:  # devices are in use already
        return


def fit_many(
    fit: Fit,
    keys: Key[Array, " networks"],
    configs: Any,
    data: Any,
    *,
    shuffle_key: Key[Array, ""] | None = None,
    mesh: Mesh | None = None,
    together: int = 1,
) -> Any:
    """Train many networks, each exactly as ``fit`` trains it alone; a pure function.

    Args:
      fit: a run as a pure function, ``jaxdnn.workflows.mnist_dnn.fit`` for instance.
      keys: one for each network.
      configs: a configuration whose numbers are arrays, one element for each network, or scalars
        for all of them.
      data: for all of them.
      shuffle_key: decides the batches of all networks; by default each has its own.
      mesh: from `jaxdnn.runtime.sharding.network_mesh`; by default all is done where
        the arrays are.
      together: networks that a device trains at once (by vmap); the others follow one another.

    Returns:
      What ``fit`` returns, every array with a first axis for the networks.

    Raises:
      ValueError: a number of ``configs`` has not one element for each network.

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
    unit = together * (1 if mesh is None else mesh.size)
    padded = math.ceil(count / unit) * unit
    if padded > count:
        lanes = np.minimum(np.arange(padded), count - 1)
        keys, configs = _cut((keys, configs), lanes)

    def train(keys: Any, configs: Any, data: Any, shuffle_key: Any) -> Any:
        shared = {} if shuffle_key is None else {"shuffle_key": shuffle_key}
        return jax.lax.map(
            lambda network: fit(*network, data, **shared),
            (keys, configs),
            batch_size=None if together == 1 else together,
        )

    if mesh is not None:
        each, all_ = PartitionSpec(_AXIS), PartitionSpec()
        train = jax.shard_map(
            train, mesh=mesh, in_specs=(each, each, all_, all_), out_specs=each, check_vma=False
        )
    results = train(keys, configs, data, shuffle_key)
    return results if padded == count else _cut(results, slice(count))


def train_ensemble(
    fit: Fit,
    seeds: Sequence[int] | np.ndarray,
    configs: Any,
    data: Any,
    *,
    shuffle_key: Key[Array, ""] | None = None,
    chunk: int | None = None,
    on_plan: Callable[[int], None] | None = None,
    on_chunk: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Ensemble:
    """Train many networks, as many at a time as memory holds, and keep the best.

    Args:
      fit: as in `fit_many`; its history has a ``test_accuracy``.
      seeds: of each network; its key is ``jax.random.key(seed)``.
      configs: as in `fit_many`.
      data: for all of them.
      shuffle_key: as in `fit_many`.
      chunk: at most so many networks at a time; by default what fits into memory.
      on_plan: told before the first chunk how many networks are trained at a time.
      on_chunk: called after each chunk, with the number of networks done and of those new.
      tell: given a sentence where memory turns out too small.

    Returns:
      Histories of all networks, parameters of the best.

    Raises:
      MemoryError: not even one network fits.
    """
    trainer = _Trainer(fit, data, shuffle_key)
    seeds = np.asarray(seeds, np.int32)
    count = len(seeds)
    configs = jax.tree.map(lambda number: np.broadcast_to(np.asarray(number), (count,)), configs)
    devices, together = len(trainer.devices), trainer.together
    layout = _layout(count, chunk or trainer.most(configs, count), devices, together)
    parts: list[tuple[History, Any]] = []
    best, best_score, params = 0, -math.inf, None
    done, sizes = 0, []
    while done < count:
        new = min(layout.lanes, count - done)
        lanes = np.minimum(np.arange(done, done + layout.lanes), count - 1)
        try:
            trainer.compile(layout, seeds[lanes], _cut(configs, lanes))
            if chunk is None and trainer.excess() > 1 and layout.lanes > 1:
                limit = max(1, min(layout.lanes - 1, int(layout.lanes / trainer.excess())))
                layout = _layout(count - done, limit, devices, together)
                continue
            if on_plan is not None:
                on_plan(layout.lanes)
                on_plan = None
            networks, history, finite = trainer.run()
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if layout.lanes == 1:
                message = str(error).partition("\n")[0].rstrip(".")
                raise MemoryError(message or "not even one network fits") from error
            limit = layout.lanes // 2
            if tell is not None:
                tell(f"out of memory with {layout.lanes} networks at a time; going on with {limit}")
            layout = _layout(count - done, limit, devices, together)
            continue
        history, finite = _cut((history, finite), slice(new))
        scores = np.where(finite, history.test_accuracy[:, -1], -1.0)
        leader = int(scores.argmax())
        if scores[leader] > best_score:
            best, best_score = done + leader, float(scores[leader])
            params = _network(networks, leader)
        del networks  # before the next chunk is made
        parts.append((history, finite))
        sizes.append(new)
        done += new
        if on_chunk is not None:
            on_chunk(done, new)
    history, finite = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    return Ensemble(
        history, finite, best, params, tuple(sizes), trainer.compile_seconds, trainer.train_seconds
    )


def _together_on(device: Any) -> int:
    """How many networks a device trains at once."""
    return 1 if device.platform == "cpu" else _TOGETHER


class _Layout(NamedTuple):
    """How a chunk is shared out: so many devices, on each so many groups trained together."""

    devices: int
    groups: int
    together: int

    @property
    def lanes(self) -> int:
        return self.devices * self.groups * self.together


def _layout(left: int, limit: int, devices: int, most_together: int) -> _Layout:
    """Chunks of what is left, all equal, so that one program serves them.

    A chunk may have a few lanes more than networks, but none more than the limit, unless the limit
    does not bind.
    """
    size = math.ceil(left / math.ceil(left / limit))
    devices = min(devices, size)
    on_each = math.ceil(size / devices)
    groups = math.ceil(on_each / most_together)
    layout = _Layout(devices, groups, math.ceil(on_each / groups))
    if layout.lanes <= limit or left < limit:
        return layout
    on_each = limit // devices
    groups = math.ceil(on_each / most_together)
    return _Layout(devices, groups, on_each // groups)


class _Trainer:
    """Compiles a chunk of networks and trains it; chunks of one size share a program."""

    def __init__(
        self,
        fit: Fit,
        data: Any,
        shuffle_key: Key[Array, ""] | None,
    ) -> None:
        self._fit, self._data, self._shuffle_key = fit, data, shuffle_key
        self.devices = jax.local_devices()
        self._is_cpu = self.devices[0].platform == "cpu"
        self.together = _together_on(self.devices[0])
        self._budget = _SHARE * free_bytes(self.devices[0])
        self._compiled: tuple[_Layout, Any] | None = None
        self._placed: tuple[Mesh, Any] | None = None
        self.compile_seconds = self.train_seconds = 0.0

    def most(self, configs: Any, count: int) -> int:
        """The most networks whose results alone could fit; one more than there are if all do."""
        results = jax.eval_shape(
            partial(self._train, mesh=None, together=1),
            np.zeros(1, np.int32),
            _cut(configs, slice(1)),
            self._data,
            self._shuffle_key,
        )
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(results))
        devices = 1 if self._is_cpu else len(self.devices)
        return max(1, min(count + 1, int(self._budget * devices / size)))

    def compile(self, layout: _Layout, seeds: np.ndarray, configs: Any) -> None:
        """Place a chunk's arguments, and compile for them unless that is done already."""
        mesh = network_mesh(self.devices[: layout.devices])
        each, all_ = (NamedSharding(mesh, spec) for spec in (PartitionSpec(_AXIS), PartitionSpec()))
        if self._placed is None or self._placed[0] != mesh:
            self._placed = None  # the old copies go first
            self._placed = mesh, jax.device_put((self._data, self._shuffle_key), all_)
        self._arguments = (*jax.device_put((seeds, configs), each), *self._placed[1])
        if self._compiled is None or self._compiled[0] != layout:
            start = time.perf_counter()
            self._compiled = None
            self._compiled = layout, self._compile(mesh, layout.together)
            self.compile_seconds += time.perf_counter() - start

    def _compile(self, mesh: Mesh, together: int) -> Any:
        train = partial(self._train, mesh=mesh if mesh.size > 1 else None, together=together)
        return jax.jit(train).lower(*self._arguments).compile()

    @property
    def _program(self) -> Any:
        assert self._compiled
        return self._compiled[1]

    def excess(self) -> float:
        """How many times the free memory the compiled chunk needs."""
        analysis = self._program.memory_analysis()
        if analysis is None:
            return 0.0
        assert self._compiled
        needed = (
            analysis.temp_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.argument_size_in_bytes
        )
        sharing = self._compiled[0].devices if self._is_cpu else 1  # CPU devices share the memory
        return sharing * needed / max(self._budget, 1)

    def run(self) -> tuple[Params, History, np.ndarray]:
        """Train the compiled chunk; the parameters stay on the devices."""
        start = time.perf_counter()
        networks, *rest = jax.block_until_ready(self._program(*self._arguments))
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
        together: int,
    ) -> tuple[Params, History, Array]:
        def fit(key: Any, config: Any, data: Any, **shared: Any) -> tuple[Params, History, Array]:
            state, history = self._fit(key, config, data, **shared)
            leaves = jax.tree.leaves((state.params, history.losses))
            finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
            return state.params, history, finite

        keys = jax.vmap(jax.random.key)(seeds)
        return fit_many(
            fit, keys, configs, data, shuffle_key=shuffle_key, mesh=mesh, together=together
        )


def _cut(tree: PyTree, lanes: Any) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[lanes], tree)


def _network(networks: PyTree, lane: int) -> PyTree:
    """One of the networks, from the device that has it; the others stay where they are."""

    def pick(leaf: jax.Array) -> np.ndarray:
        for shard in leaf.addressable_shards:
            start, stop, _ = shard.index[0].indices(len(leaf))
            if start <= lane < stop:
                return np.asarray(shard.data[lane - start])
        raise AssertionError("every network is on a device")

    return jax.tree.map(pick, networks)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
