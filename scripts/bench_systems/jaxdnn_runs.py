"""Complete runs of jaxdnn, compiled before the timing unless stated otherwise."""

import atexit
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench_systems import digits
from bench_systems.settings import Run, Settings
from jaxdnn.data import mnist, tabular
from jaxdnn.runs import ensemble as ensembles
from jaxdnn.runs.reports import mnist_dnn as report
from jaxdnn.runs.reports import tabular_dnn as table_report
from jaxdnn.runs.workflow import Request
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
    """The MNIST DNN as one compiled program: a function from a seed to seconds and history."""
    data = jax.device_put(data)
    program = jax.jit(mnist_dnn.fit).lower(jax.random.key(0), config, data).compile()

    def run(seed: int) -> tuple[float, mnist_dnn.History]:
        seconds, (_, history) = _seconds(program, jax.random.key(seed), config, data)
        return seconds, history

    return run


def train(settings: Settings) -> Run:
    """All epochs and evaluations in one program."""
    run_one = _trainer(digits.load(settings), mnist_dnn.Config(epochs=settings.epochs))

    def run(turn: int) -> dict[str, float]:
        seconds, history = run_one(turn)
        return {"seconds": seconds, "accuracy": float(np.asarray(history.test_accuracy)[-1])}

    return run


def train_by_epoch(settings: Settings) -> Run:
    """The same by `jaxdnn run`, with one call per epoch; the time excludes compilation."""
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=settings.epochs)

    def run(turn: int) -> dict[str, float]:
        result = report.run(Request(turn, config, data, "bench"))
        assert result.training is not None
        assert result.training.test_accuracy is not None
        return {
            "seconds": result.training.train_seconds,
            "accuracy": result.training.test_accuracy,
        }

    _keep_programs()
    return run


# The sweep.


def alone(settings: Settings) -> Run:
    """A single network, for the sweep."""
    run_one = train(settings)

    def run(turn: int) -> dict[str, float]:
        figures = run_one(turn)
        return {"seconds_per_network": figures["seconds"], "accuracy": figures["accuracy"]}

    return run


def _train_many(
    settings: Settings, data: mnist.MNIST, config: mnist_dnn.Config, networks: int, turn: int
) -> tuple[float, np.ndarray]:
    """Seconds without compilation, and the test accuracies."""
    if settings.device == "cpu":
        ensembles.use_every_core(networks)
    seeds = np.arange(networks) + networks * turn
    trained = ensembles.train_ensemble(mnist_dnn.fit, seeds, config, data)
    return trained.train_seconds, np.asarray(trained.history.test_accuracy)[:, -1]


def _keep_programs() -> None:
    """Cache programs on disk: runs and ensembles compile at every call, outside the timing."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)


def ensemble(settings: Settings) -> Run:
    """Many networks by `jaxdnn.runs.ensemble`, as in `jaxdnn sweep`."""
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


# Growth: every run returns the seconds for 1, 2, 4 and 8 times the work.


def by_epochs(settings: Settings) -> Run:
    """1, 2, 4 and 8 epochs."""
    data = digits.load(settings)
    runs = {n: _trainer(data, mnist_dnn.Config(epochs=n)) for n in MULTIPLES}
    return lambda turn: {str(n): run(turn)[0] for n, run in runs.items()}


def by_samples(settings: Settings) -> Run:
    """An epoch of 1/8, 1/4, 1/2 and all of the training images, with test images in proportion."""
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=1)
    runs = {}
    for n in MULTIPLES:
        parts = (array[: n * (len(array) // 8)] for array in data)
        runs[n] = _trainer(mnist.MNIST(*parts), config)
    return lambda turn: {str(n): run(turn)[0] for n, run in runs.items()}


def by_networks(settings: Settings) -> Run:
    """An epoch of one network per core (32 on a GPU), and of 2, 4 and 8 times as many."""
    _keep_programs()
    data = digits.load(settings)
    config = mnist_dnn.Config(epochs=1)
    unit = 32 if settings.device == "gpu" else settings.threads
    if settings.device == "cpu":
        ensembles.use_every_core(unit)
    return lambda turn: {
        str(n): _train_many(settings, data, config, n * unit, turn)[0] for n in MULTIPLES
    }


# Small networks.


def _table() -> tuple[Any, ...]:
    """Arguments of the tabular DNN's `train` for 5,000 full-batch epochs."""
    parts, params, _ = tabular_dnn.data_and_params(SEED, tabular.generate(SEED))
    config = tabular_dnn.Config()
    state, epochs = tabular_dnn.init(params, config), np.arange(config.epochs)
    return jax.device_put((state, epochs, jax.random.key(0), config, parts))


def _table_accuracy(params: Any, data: Any) -> float:
    outputs = tabular_dnn.network(data.test_features.shape[1]).apply(params, data.test_features)
    return tabular_dnn.accuracy(np.asarray(outputs), np.asarray(data.test_labels))


def table(settings: Settings) -> Run:
    """5,000 full-batch epochs of the tabular DNN, without compilation."""
    arguments = _table()
    program = jax.jit(table_report.train).lower(*arguments).compile()

    def run(turn: int) -> dict[str, float]:
        seconds, (state, _) = _seconds(program, *arguments)
        return {"seconds": seconds, "accuracy": _table_accuracy(state.params, arguments[-1])}

    return run


def table_compiling(settings: Settings) -> Run:
    """The same, with compilation in every turn."""
    arguments = _table()

    def run(turn: int) -> dict[str, float]:
        jax.clear_caches()
        seconds, (state, _) = _seconds(jax.jit(table_report.train), *arguments)
        return {"seconds": seconds, "accuracy": _table_accuracy(state.params, arguments[-1])}

    return run


def regression(settings: Settings) -> Run:
    """Three epochs of linear regression from scratch, without compilation."""
    data, weights = linear_regression.data_and_params(SEED, 1000)
    permutations = linear_regression.permutations(SEED, 3, 1000)
    arguments = jax.device_put((weights, permutations, linear_regression.Config(), data))
    train = jax.jit(linear_regression.train, static_argnums=0)
    program = train.lower(linear_regression.mean_loss, *arguments).compile()

    def run(turn: int) -> dict[str, float]:
        seconds, (weights, _) = _seconds(program, *arguments)
        losses = linear_regression.squared_loss(weights, *arguments[-1])
        return {"seconds": seconds, "loss": float(jnp.mean(losses))}

    return run
