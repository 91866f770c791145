"""Runs of the workflows that classify MNIST: resumed, sharded, in one process or several."""

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from jaxdnn import torch_compat, training
from jaxdnn.data import mnist
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import ConfigError
from jaxdnn.runs import resume
from jaxdnn.runs.result import Network, Result, Training, exact_fractions
from jaxdnn.runs.runner import Run, drive
from jaxdnn.runs.workflow import Request
from jaxdnn.runtime import sharding
from jaxdnn.training import Classifier, History, TrainState
from jaxdnn.workflows.config import require_seed

__all__ = ["Inputs", "run"]


@dataclass(frozen=True)
class Inputs:
    """Input files."""

    data_dir: Path | None = None
    """Folder with the four MNIST files, plain or .gz; by default the cache, then a download."""

    def load(self, seed: int, progress: Any = None) -> tuple[MNIST, str]:
        """MNIST, and where it came from; see `jaxdnn.data.mnist.load`."""
        data, source = mnist.load(self.data_dir, progress=progress)
        return data, f"MNIST from {source}"

    def files(self) -> list[Path]:
        """The places of the four files."""
        return mnist.files_read(self.data_dir)


def run(
    request: Request, classifier: Classifier, *, workflow: str, remarks: tuple[str, ...] = ()
) -> Result:
    """Train a classifier on MNIST, with an evaluation and a report after every epoch.

    Args:
      request: what to run.
      classifier: the workflow's functions.
      workflow: its id.
      remarks: on mistakes of the document.

    Returns:
      The result, whose figures are the test accuracy and the shapes of the parameters.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits; or more epochs are done already.
      CheckpointError: ``request.resume`` is of another run.
      OSError: ``request.resume`` cannot be written.
    """
    require_seed(request.seed)
    config, data, mesh = request.config, request.data, request.mesh
    samples, test_samples = len(data.train_labels), len(data.test_labels)
    request.progress.on_start(epochs=config.epochs, samples=samples)
    identity: dict[str, Any] = {}
    if request.resume is not None:
        identity = {"workflow": workflow, "seed": request.seed, "data": _checksum(data)}
        identity |= _settings(config)
        if request.torch_seed is not None:
            identity["torch_seed"] = request.torch_seed
    data = jax.device_put(data) if mesh is None else sharding.replicate(data, mesh)

    # The seed is an argument, so that the program of one seed is found in the cache for another.
    began = time.perf_counter()
    start, train = _programs(classifier, mesh)
    if request.torch_seed is None:
        start = start.lower(np.int32(request.seed), config).compile()
        shuffles, state = start(np.int32(request.seed), config)
    else:
        shuffles, state = _torch_start(request.torch_seed, classifier, config, data)
        if mesh is not None:
            shuffles, state = sharding.replicate((shuffles, state), mesh)
    start_seconds = time.perf_counter() - began

    dtype = jax.dtypes.canonicalize_dtype(float)
    steps = -(-samples // config.batch_size)
    before = Run(state, np.zeros((0, steps), dtype), np.zeros(0, dtype))
    if request.resume is not None:
        before = _resumed(request.resume, before, identity, config.epochs, mesh)

    def save(after: Run) -> None:
        if request.resume is not None and jax.process_index() == 0:
            resume.save(request.resume, after, run=identity)

    after, timing = drive(
        train,
        before,
        (shuffles, config, data),
        epochs=config.epochs,
        per_call=1,
        progress=request.progress,
        save=save,
    )
    measured = Training(
        data_source=request.data_source,
        samples=(config.epochs - len(before.losses)) * samples,
        compile_seconds=start_seconds + timing.compile_seconds,
        train_seconds=timing.run_seconds,
        test_accuracy_by_epoch=exact_fractions(np.asarray(after.test_accuracy), test_samples),
    )
    # On this process's own device, should there be others.
    params = jax.device_put(jax.tree.map(np.asarray, after.state.params))
    family = workflow.replace("-", "_")
    return Result(
        workflow,
        request.seed,
        config,
        {
            f"{family}.test_accuracy": {"value": measured.test_accuracy},
            f"{family}.parameters": {
                name: list(tensor.shape) for name, tensor in torch_compat.to_torch(params).items()
            },
        },
        remarks,
        curves={"mini-batches": after.losses},
        training=measured,
        network=Network(params, {"outputs": "digits"}),
    )


def _programs(classifier: Classifier, mesh: Mesh | None) -> tuple[Any, Any]:
    """Two jitted functions: the start of a run, and some epochs of it."""
    replicated = None
    if mesh is not None:
        replicated = NamedSharding(mesh, PartitionSpec())
        classifier = classifier._replace(loss=sharding.data_parallel(classifier.loss, mesh))

    def start(seed: Array, config: Any) -> tuple[Array, TrainState]:
        shuffle_key, init_key = jax.random.split(jax.random.key(seed))
        return shuffle_key, classifier.init(init_key, config)

    def train(state: TrainState, *arguments: Any) -> tuple[TrainState, History]:
        return training.train_classifier(classifier, state, *arguments)

    return (
        jax.jit(start, out_shardings=replicated),
        jax.jit(train, donate_argnums=0, out_shardings=replicated),
    )


def _torch_start(
    seed: int, classifier: Classifier, config: Any, data: MNIST
) -> tuple[Array, TrainState]:
    """The permutations and the initial state that torch draws after ``manual_seed``, in its order.

    In every epoch torch passes over the shuffled training set and over the test set, and a pass
    over a loader advances the generator even where nothing is shuffled.
    """
    generator = torch_compat.Generator(seed)
    like = jax.eval_shape(lambda: classifier.init(jax.random.key(0), config).params)
    params = torch_compat.initial_params(generator, like)
    params = jax.tree.map(lambda leaf: config.initial_scale * leaf, params)
    permutations = generator.loader_orders(
        config.epochs, len(data.train_labels), then=len(data.test_labels)
    )
    state = TrainState(params, classifier.optimizer(config).init(params))
    return jnp.asarray(permutations), state


def _checksum(data: MNIST) -> str:
    checksum = 0
    for array in data:
        checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
    return f"{checksum:08x}"


def _settings(config: Any) -> dict[str, Any]:
    """The settings that tell runs apart; more epochs only make the same run longer."""
    return {name: value for name, value in vars(config).items() if name != "epochs"}


def _resumed(
    path: Path, fresh: Run, identity: Mapping[str, Any], epochs: int, mesh: Mesh | None
) -> Run:
    """The run as it was saved, if it was; the first process reads it for all."""
    first = jax.process_index() == 0
    run = fresh
    if first and path.exists():
        run = resume.load(path, fresh, run=identity)
    done = len(run.losses)
    if jax.process_count() > 1:
        done = int(multihost_utils.broadcast_one_to_all(np.int32(done)))
        if done:
            if not first:
                run = _zeros(fresh, done)
            run = jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(run))
    if not done:
        return fresh
    if done > epochs:
        raise ConfigError(
            f"{path} has {done} epochs already; ask for as many or more with "
            "--epochs, or name another file."
        )
    state = jax.device_put(run.state) if mesh is None else sharding.replicate(run.state, mesh)
    return run._replace(state=state)


def _zeros(like: Run, epochs: int) -> Run:
    """Zeros of the shapes that a run has after so many epochs."""
    assert like.test_accuracy is not None
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.state)
    losses = np.zeros((epochs, like.losses.shape[1]), like.losses.dtype)
    return Run(state, losses, np.zeros(epochs, like.test_accuracy.dtype))
