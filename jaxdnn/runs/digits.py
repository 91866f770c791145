"""What the classifiers of handwritten digits share: where MNIST comes from, and a run in pieces."""

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxdnn import training
from jaxdnn.data import mnist
from jaxdnn.data.batches import shuffle
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import ConfigError
from jaxdnn.models import Params
from jaxdnn.runs import resume as resumption
from jaxdnn.runs.execution import Program, Progress
from jaxdnn.runs.host_loop import Loop
from jaxdnn.runs.result import Network, Training, exact_shares
from jaxdnn.runtime import sharding
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import require_seed

__all__ = ["Inputs", "run"]


@dataclass(frozen=True)
class Inputs:
    """What is read."""

    data_dir: Path | None = None
    """Folder with the four MNIST files, plain or .gz; by default the cache, then a download."""

    def load(self, seed: int, progress: Any = None) -> tuple[MNIST, str]:
        """MNIST, and where it came from; see `jaxdnn.data.mnist.load`."""
        data, source = mnist.load(self.data_dir, progress=progress)
        return data, f"MNIST from {source}"


def run(
    seed: int,
    config: Any,
    data: MNIST,
    *,
    workflow: str,
    init: Callable[..., TrainState],
    loss: training.Loss,
    optimizer: Callable[[Any], optax.GradientTransformation],
    predict: Callable[..., Array],
    data_source: str,
    progress: Progress | None,
    mesh: Mesh | None,
    resume: Path | None,
) -> tuple[Training, Network, Float[np.ndarray, " steps"]]:
    """A workflow's ``fit`` in pieces, driven from the host.

    Args:
      seed: of the key that decides everything that is random.
      config: the workflow's.
      data: MNIST.
      workflow: its id.
      init: the workflow's ``init(key, config) -> state``.
      loss: likewise ``loss(params, images, labels) -> scalar``.
      optimizer: likewise ``optimizer(config) -> transformation``.
      predict: likewise ``predict(params, images) -> scores``.
      data_source: where the data came from, in words.
      progress: told how the run goes while it goes on.
      mesh: devices that share out every batch; None for the default device.
      resume: where the run is saved after every epoch, and from where it goes on.

    Returns:
      How the run went, the network, and the loss of every step.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits; or more epochs are done already.
      CheckpointError: ``resume`` is of another run.
      OSError: ``resume`` cannot be written.
    """
    require_seed(seed)
    samples, test_samples = len(data.train_labels), len(data.test_labels)
    which: dict[str, Any] = {}
    if resume is not None:
        which = {"workflow": workflow, "seed": seed, "data": _checksum(data)} | _settings(config)
    if progress is not None:
        progress.on_start(epochs=config.epochs, samples=samples, batch_size=config.batch_size)
    if mesh is None:
        data = jax.device_put(data)
    else:
        data = sharding.share_rows(data, mesh)
        loss = sharding.data_parallel(loss, mesh)

    began = time.perf_counter()
    programs = _programs(
        config.batch_size,
        samples,
        test_samples,
        mesh,
        init=init,
        loss=loss,
        optimizer=optimizer,
        predict=predict,
    )
    # An argument, so that the programs of one seed serve another's start too.
    own_seed = np.int32(seed)
    shapes = programs.shapes(own_seed, config)
    dtype = jax.dtypes.canonicalize_dtype(float)
    steps = -(-samples // config.batch_size)
    run = _Run(shapes.state, np.zeros((0, steps), dtype), np.zeros(0, dtype))
    if resume is not None:
        run = _gone_on(resume, run, which, config.epochs, mesh)
    done = len(run.losses)
    compile_last = partial(programs.compile_last, shapes, config, data)
    compile_seconds = 0.0
    shuffle_key: Any = None  # a finished run needs none
    if done < config.epochs:
        programs.compile_first(shapes, own_seed, config, data)
        if jax.default_backend() != "cpu":
            compile_last()  # not beside training: a GPU's kernels are chosen by timing them
        compile_seconds = time.perf_counter() - began
        shuffle_key, fresh = programs.start(own_seed, config)
        if not done:
            run = run._replace(state=fresh)

    for epoch in range(done, config.epochs):

        def report(count: int, loss: Array, epoch: int = epoch) -> None:
            if progress is not None:
                progress.on_step(epoch, count - 1, float(loss))

        order = programs.shuffled(shuffle_key, np.int32(epoch))
        state, losses = programs.full_steps(
            run.state, order, config, data, report=report, meanwhile=compile_last
        )
        if programs.ragged_step is not None:
            state, last_loss = programs.ragged_step(state, order, config, data)
            losses = np.append(losses, last_loss)
        test_accuracy = np.asarray(programs.test(state.params, data))
        if progress is not None:
            progress.on_epoch(epoch, float(test_accuracy))
        run = _Run(
            state,
            np.concatenate([run.losses, np.asarray(losses)[None]]),
            np.append(run.test_accuracy, test_accuracy),
        )
        if resume is not None and jax.process_index() == 0:
            resumption.save(resume, run, run=which)

    seconds = time.perf_counter() - began
    compile_seconds += programs.waited_seconds
    measured = Training(
        data_source=data_source,
        samples=(config.epochs - done) * samples,
        compile_seconds=compile_seconds,
        train_seconds=seconds - compile_seconds,
        test_accuracy_by_epoch=exact_shares(run.test_accuracy, test_samples),
    )
    # Of this process alone, should there be others.
    params = jax.device_put(jax.tree.map(np.asarray, run.state.params))
    network = Network(params, {"outputs": "digits"})
    return measured, network, run.losses.ravel()


class _Programs(NamedTuple):
    """A run in pieces, each compiled once.

    Attributes:
      start: ``(seed, config) -> (shuffle_key, state)``.
      shuffled: ``(shuffle_key, epoch) -> indices`` of the training images, in the order of use.
      full_steps: ``(state, order, config, data) -> (state, losses)``, an epoch but for its tail.
      ragged_step: the same with the shorter last batch, one step; None if there is none.
      test: ``(params, data) -> accuracy``.
    """

    start: Program
    shuffled: Program
    full_steps: Loop
    ragged_step: Program | None
    test: Program

    def shapes(self, seed: Any, config: Any) -> "_Shapes":
        """What goes from one program to the next, but for the numbers."""
        shuffle_key, state = self.start.shapes(seed, config)
        return _Shapes(shuffle_key, state, self.shuffled.shapes(shuffle_key, np.int32(0)))

    def compile_first(self, shapes: "_Shapes", seed: Any, config: Any, data: MNIST) -> None:
        """Have what the first step needs compiled, side by side."""
        self.full_steps.compile_ahead(shapes.state, shapes.order, config, data)  # takes longest
        self.start.compile_ahead(seed, config)
        self.shuffled.compile_ahead(shapes.shuffle_key, np.int32(0))

    def compile_last(self, shapes: "_Shapes", config: Any, data: MNIST) -> None:
        """Have compiled what comes after an epoch's full batches."""
        if self.ragged_step is not None:
            self.ragged_step.compile_ahead(shapes.state, shapes.order, config, data)
        self.test.compile_ahead(shapes.state.params, data)

    @property
    def waited_seconds(self) -> float:
        """How long the run waited for programs that were not ready."""
        own = (self.start, self.shuffled, self.full_steps.program, self.ragged_step, self.test)
        return sum(program.compile_seconds for program in own if program is not None)


class _Shapes(NamedTuple):
    """Trees of `jax.ShapeDtypeStruct`."""

    shuffle_key: Any
    state: TrainState
    order: Any


def _programs(
    batch_size: int,
    samples: int,
    test_samples: int,
    mesh: Mesh | None,
    *,
    init: Callable[..., TrainState],
    loss: training.Loss,
    optimizer: Callable[[Any], optax.GradientTransformation],
    predict: Callable[..., Array],
) -> _Programs:
    full, tail = divmod(samples, batch_size)

    def start(seed: Array, config: Any) -> tuple[Array, TrainState]:
        shuffle_key, init_key = jax.random.split(jax.random.key(seed))
        return shuffle_key, init(init_key, config)

    def order_of(shuffle_key: Array, epoch: Array) -> Array:
        return shuffle(jax.random.fold_in(shuffle_key, epoch), samples)

    def train(state: TrainState, indices: Array, config: Any, data: MNIST) -> Any:
        batch = data.train_images[indices], data.train_labels[indices]
        state, info = training.train_step(loss, optimizer(config), state, batch)
        return state, info.loss

    def step(state: TrainState, i: Array, order: Array, config: Any, data: MNIST) -> Any:
        start = (i * batch_size,)
        indices = jax.lax.dynamic_slice(order, start, (batch_size,))
        return train(state, indices, config, data)

    def last_step(state: TrainState, order: Array, config: Any, data: MNIST) -> Any:
        return train(state, order[samples - tail :], config, data)

    def evaluate(params: Params, data: MNIST) -> Array:
        # Where rows are shared out, some at the end may be there to make the shares equal.
        images, labels = data.test_images[:test_samples], data.test_labels[:test_samples]
        return training.accuracy(partial(predict, params), images, labels)

    return _Programs(
        start=Program(start, mesh=mesh),
        shuffled=Program(order_of, mesh=mesh),
        full_steps=Loop(step, full, mesh=mesh),
        ragged_step=Program(last_step, donate_argnums=0, mesh=mesh) if tail else None,
        test=Program(evaluate, mesh=mesh),
    )


class _Run(NamedTuple):
    """A run after some epochs."""

    state: TrainState
    losses: Float[np.ndarray, "epochs steps"]
    test_accuracy: Float[np.ndarray, " epochs"]


def _checksum(data: MNIST) -> str:
    checksum = 0
    for array in data:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return f"{checksum:08x}"


def _settings(config: Any) -> dict[str, Any]:
    """What makes a run another one; more epochs only make it longer."""
    return {name: value for name, value in vars(config).items() if name != "epochs"}


def _gone_on(
    path: Path, none_done: _Run, which: Mapping[str, Any], epochs: int, mesh: Mesh | None
) -> _Run:
    """The run as it was saved, if it was; the first process reads it for all."""
    first = jax.process_index() == 0
    run = none_done
    if first and path.exists():
        run = resumption.load(path, none_done, run=which)
    done = len(run.losses)
    if jax.process_count() > 1:
        done = int(multihost_utils.broadcast_one_to_all(np.int32(done)))
        if done:
            if not first:
                run = _zeros(none_done, done)
            run = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(run))
    if not done:
        return none_done
    if done > epochs:
        raise ConfigError(
            f"{path} has {done} epochs already; ask for as many or more with "
            "--epochs, or name another file."
        )
    state = jax.device_put(run.state) if mesh is None else sharding.replicate(run.state, mesh)
    return run._replace(state=state)


def _zeros(like: _Run, epochs: int) -> _Run:
    """Of the shapes of a run after so many epochs."""
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.state)
    losses = np.zeros((epochs, like.losses.shape[1]), like.losses.dtype)
    return _Run(state, losses, np.zeros(epochs, like.test_accuracy.dtype))
