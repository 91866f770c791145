"""jaxdnn: whole runs, compiled before they are timed unless that is what is timed."""

import atexit
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_systems import digits
from bench_systems.settings import Run, Settings
from jaxdnn import training
from jaxdnn.data import mnist, tabular
from jaxdnn.data.batches import shuffle
from jaxdnn.runs import ensemble as ensembles
from jaxdnn.workflows import linear_regression, mnist_dnn, tabular_dnn

__all__ = [
    "alone",
    "by_epochs",
    "by_networks",
    "by_samples",
    "ensemble",
    "regression",
    "table",
    "table_compiling",
    "train",
    "train_by_epoch",
]

SEED = 1

MULTIPLES = (1, 2, 4, 8)


def _seconds(function: Callable[..., Any], *args: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = jax.block_until_ready(function(*args))
    return time.perf_counter() - start, result


def _trainer(
    data: mnist.MNIST, config: mnist_dnn.Config
) -> Callable[[int], tuple[float, mnist_dnn.History]]:
    """The MNIST DNN, compiled: ``train(seed)`` gives seconds and the history."""
    data = jax.device_put(data)
    init = jax.jit(mnist_dnn.init)
    state = init(jax.random.key(0), config)
    key = jax.random.key(0)
    program = jax.jit(mnist_dnn.train, donate_argnums=0).lower(state, key, config, data).compile()

    def run(seed: int) -> tuple[float, mnist_dnn.History]:
        shuffle_key, init_key = jax.random.split(jax.random.key(seed))
        state = jax.block_until_ready(init(init_key, config))
        seconds, (_, history) = _seconds(program, state, shuffle_key, config, data)
        return seconds, history

    return run


def train(settings: Settings) -> Run:
    """Every epoch and evaluation as one program."""
    run_one = _trainer(digits.load(settings), mnist_dnn.Config(epochs=settings.epochs))

    def run(turn: int) -> dict[str, float]:
        seconds, history = run_one(turn)
        return {"seconds": seconds, "accuracy": float(history.test_accuracy[-1])}

    return run


def train_by_epoch(settings: Settings) -> Run:
    """The same driven from the host: one call an epoch, its shuffle and evaluation included."""
    data = jax.device_put(digits.load(settings))
    config = mnist_dnn.Config(epochs=settings.epochs)
    init = jax.jit(mnist_dnn.init)

    def epoch(
        state: training.TrainState, key: jax.Array, number: jax.Array, data: mnist.MNIST
    ) -> tuple[training.TrainState, jax.Array, jax.Array]:
        state, losses = training.train_epoch(
            mnist_dnn.loss,
            mnist_dnn.optimizer(config),
            state,
            (data.train_images, data.train_labels),
            shuffle(jax.random.fold_in(key, number), len(data.train_labels)),
            batch_size=config.batch_size,
        )
        predict = partial(mnist_dnn.predict, state.params)
        return state, losses, training.accuracy(predict, data.test_images, data.test_labels)

    state, key, number = init(jax.random.key(0), config), jax.random.key(0), np.int32(0)
    program = jax.jit(epoch, donate_argnums=0).lower(state, key, number, data).compile()

    def run(turn: int) -> dict[str, float]:
        shuffle_key, init_key = jax.random.split(jax.random.key(turn))
        state = jax.block_until_ready(init(init_key, config))
        accuracy: Any = None
        start = time.perf_counter()
        for number in range(settings.epochs):
            state, _, accuracy = program(state, shuffle_key, np.int32(number), data)
            jax.block_until_ready(accuracy)
        return {"seconds": time.perf_counter() - start, "accuracy": float(accuracy)}

    return run


# The sweep.


def alone(settings: Settings) -> Run:
    """One network by itself, for the sweep."""
    run_one = train(settings)

    def run(turn: int) -> dict[str, float]:
        figures = run_one(turn)
        return {"seconds_per_network": figures["seconds"], "accuracy": figures["accuracy"]}

    return run


def _train_many(
    settings: Settings, data: mnist.MNIST, config: mnist_dnn.Config, networks: int, turn: int
) -> tuple[float, np.ndarray]:
    """Seconds without compiling, and the test accuracies."""
    if settings.device == "cpu":
        ensembles.use_every_core(networks)
    seeds = np.arange(networks) + networks * turn
    trained = ensembles.train_ensemble(mnist_dnn.fit, seeds, config, data)
    return trained.train_seconds, np.asarray(trained.history.test_accuracy[:, -1])


def _keep_programs() -> None:
    """On disk, for `train_ensemble` compiles at every call; that is waited for, not counted."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)


def ensemble(settings: Settings) -> Run:
    """Many networks by `jaxdnn.runs.ensemble`, as `jaxdnn sweep` trains them."""
    _keep_programs()
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=settings.epochs)

    def run(turn: int) -> dict[str, float]:
        seconds, accuracies = _train_many(settings, data, config, settings.networks, turn)
        return {
            "seconds_per_network": seconds / settings.networks,
            "accuracy": float(accuracies.mean()),
        }

    return run


# Growth: every run gives the seconds of 1, 2, 4 and 8 times the work.


def by_epochs(settings: Settings) -> Run:
    """1, 2, 4 and 8 epochs."""
    data = digits.load(settings)
    runs = {n: _trainer(data, mnist_dnn.Config(epochs=n)) for n in MULTIPLES}
    return lambda turn: {str(n): run(turn)[0] for n, run in runs.items()}


def by_samples(settings: Settings) -> Run:
    """An epoch of an eighth, a quarter, a half and all of the images, test images alike."""
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=1)
    runs = {}
    for n in MULTIPLES:
        parts = (array[: n * (len(array) // 8)] for array in data)
        runs[n] = _trainer(mnist.MNIST(*parts), config)
    return lambda turn: {str(n): run(turn)[0] for n, run in runs.items()}


def by_networks(settings: Settings) -> Run:
    """An epoch of a network per core (on a GPU of 32), and of 2, 4 and 8 times as many."""
    _keep_programs()
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=1)
    unit = 32 if settings.device == "gpu" else settings.threads
    if settings.device == "cpu":
        ensembles.use_every_core(unit)
    return lambda turn: {
        str(n): _train_many(settings, data, config, n * unit, turn)[0] for n in MULTIPLES
    }


# The small ones.


def _table_arguments() -> tuple[Any, ...]:
    data, params, _ = tabular_dnn.data_and_start(SEED, tabular.generate(SEED))
    config = tabular_dnn.Config()
    state = tabular_dnn.init(params, config)
    return jax.device_put((state, jax.random.key(0), config, data))


def _table_accuracy(params: Any, data: Any) -> float:
    outputs = tabular_dnn.model(data.test_features.shape[1]).apply(params, data.test_features)
    return tabular_dnn.accuracy(np.asarray(outputs), np.asarray(data.test_labels))


def table(settings: Settings) -> Run:
    """5,000 full-batch epochs, compiled before."""
    arguments = _table_arguments()
    program = jax.jit(tabular_dnn.train).lower(*arguments).compile()

    def run(turn: int) -> dict[str, float]:
        seconds, (state, _) = _seconds(program, *arguments)
        return {"seconds": seconds, "accuracy": _table_accuracy(state.params, arguments[-1])}

    return run


def table_compiling(settings: Settings) -> Run:
    """The same, compiled anew in every turn."""
    arguments = _table_arguments()

    def run(turn: int) -> dict[str, float]:
        jax.clear_caches()
        seconds, (state, _) = _seconds(jax.jit(tabular_dnn.train), *arguments)
        return {"seconds": seconds, "accuracy": _table_accuracy(state.params, arguments[-1])}

    return run


def regression(settings: Settings) -> Run:
    """Three epochs from scratch, compiled before."""
    data, weights = linear_regression.data_and_start(SEED, 1000)
    orders = linear_regression.orders(SEED, 3, 1000)
    arguments = jax.device_put((weights, orders, linear_regression.Config(), data))
    program = jax.jit(linear_regression.train).lower(*arguments).compile()

    def run(turn: int) -> dict[str, float]:
        seconds, (weights, _) = _seconds(program, *arguments)
        losses = linear_regression.squared_loss(weights, *arguments[-1])
        return {"seconds": seconds, "loss": float(jnp.mean(losses))}

    return run
