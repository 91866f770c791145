"""Accuracy over seeds, and speed beside PyTorch: python scripts/bench.py.

Every system runs in a process of its own, so that neither's threads stand in the other's way; the
processes take turns, and one that waits for its turn uses no processor. Figures are medians over
the turns, and ratios are medians of the ratios within a turn.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

EPOCH_GFLOP = 158.5
"""Of the MNIST DNN: multiplications and additions of an epoch's matrix products, both ways."""

SYSTEMS = ("jaxdnn", "torch")

RUNS = {
    "train": "MNIST DNN, an epoch",
    "table": "DNN on a table, 5,000 full-batch epochs",
    "regression": "linear regression from scratch, 3 epochs",
}
"""What is timed in turn, without compiling."""


def main() -> None:
    """Run every part and print one table."""
    parser = argparse.ArgumentParser(description="Accuracy over seeds, and speed beside PyTorch.")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of training, at least 7")
    parser.add_argument("--cold-repetitions", type=int, default=3, help="turns of a whole process")
    parser.add_argument("--seeds", type=int, default=5, help="runs of 5 epochs for the accuracy")
    parser.add_argument("--threads", type=int, default=_cores(), help="of each system")
    parser.add_argument("--json", type=Path, help="where to write the measurements")
    parser.add_argument("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--command", choices=list(WORKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    _pin(options.threads)
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    if options.worker:
        _serve(WORKERS[options.command][options.worker](options.threads))
        return

    results: dict[str, Any] = {"machine": _machine()}
    results["seconds"] = {
        command: _take_turns(command, options.repetitions, options.threads) for command in RUNS
    }
    results["table_compiling_seconds"] = _take_turns(
        "table-compiling", options.cold_repetitions, options.threads
    )
    results["cold_seconds"] = _cold(options.cold_repetitions, options.threads)
    results["test_accuracy"] = _accuracies(options.seeds, options.threads)
    results["matrix_product_gflops"] = _take_turns("product", 3, options.threads)
    _print(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


# What the systems do, each in a process of its own: a function prepares, and returns what is timed.


def _jaxdnn_train(threads: int) -> Callable[[int], float]:
    import jax

    from jaxdnn.data import mnist
    from jaxdnn.workflows import mnist_dnn

    data = jax.device_put(mnist.load()[0])
    config = mnist_dnn.Config(epochs=1)
    key = jax.random.key(0)
    state = jax.jit(mnist_dnn.init)(key, config)
    epoch = jax.jit(mnist_dnn.train, donate_argnums=0).lower(state, key, config, data).compile()

    def run(turn: int) -> float:
        nonlocal state
        start = time.perf_counter()
        state, _ = jax.block_until_ready(epoch(state, jax.random.key(turn), config, data))
        return time.perf_counter() - start

    return run


def _torch_train(threads: int) -> Callable[[int], float]:
    """The reference on preloaded tensors: images normalised once, kept as float32."""
    import torch

    from jaxdnn.data import mnist
    from reference_torch import training
    from reference_torch.losses import cross_entropy
    from reference_torch.workflows import mnist_dnn

    torch.set_num_threads(threads)
    arrays = [torch.tensor(array) for array in mnist.load()[0]]
    images, test_images = (mnist_dnn.normalise(arrays[i], torch.float32) for i in (0, 2))
    labels, test_labels = arrays[1].long(), arrays[3].long()
    model = mnist_dnn.init()
    optimizer = mnist_dnn.optimizer(model, mnist_dnn.Config())

    def loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cross_entropy(model(x), y)

    def run(turn: int) -> float:
        start = time.perf_counter()
        order = torch.randperm(len(labels))
        training.train_epoch(loss, optimizer, model, (images, labels), order, batch_size=64)
        training.accuracy(model, test_images, test_labels)
        return time.perf_counter() - start

    return run


def _jaxdnn_accuracy(threads: int) -> Callable[[int], float]:
    import jax

    from jaxdnn.data import mnist
    from jaxdnn.workflows import mnist_dnn

    data = jax.device_put(mnist.load()[0])
    fit = jax.jit(mnist_dnn.fit)

    def run(seed: int) -> float:
        _, history = fit(jax.random.key(seed), mnist_dnn.Config(), data)
        return round(float(history.test_accuracy[-1]), 4)

    return run


def _torch_accuracy(threads: int) -> Callable[[int], float]:
    import torch

    from jaxdnn.data import mnist
    from reference_torch.workflows import mnist_dnn

    torch.set_num_threads(threads)
    data = mnist.load()[0]

    def run(seed: int) -> float:
        _, history = mnist_dnn.fit(seed, mnist_dnn.Config(), data)
        return round(history.test_accuracy[-1].item(), 4)

    return run


def _jaxdnn_product(threads: int) -> Callable[[int], float]:
    import jax
    import jax.numpy as jnp

    matrix = jnp.ones((2048, 2048))
    product = jax.jit(lambda a: a @ a)
    return lambda turn: max(_gflops(lambda: product(matrix).block_until_ready()) for _ in range(10))


def _torch_product(threads: int) -> Callable[[int], float]:
    import torch

    torch.set_num_threads(threads)
    matrix = torch.ones(2048, 2048)
    return lambda turn: max(_gflops(lambda: matrix @ matrix) for _ in range(10))


def _jaxdnn_table(threads: int, *, compiling: bool = False) -> Callable[[int], float]:
    import jax

    from jaxdnn.data import tabular
    from jaxdnn.workflows import tabular_dnn

    config = tabular_dnn.Config()
    data, params, _ = tabular_dnn.data_and_start(
        tabular_dnn.SEED, tabular.generate(tabular_dnn.SEED)
    )
    arguments = jax.device_put((tabular_dnn.init(params, config), jax.random.key(0), config, data))
    train = jax.jit(tabular_dnn.train)
    compiled = train.lower(*arguments).compile()

    def run(turn: int) -> float:
        start = time.perf_counter()
        if compiling:
            jax.clear_caches()
            jax.block_until_ready(jax.jit(tabular_dnn.train)(*arguments))
        else:
            jax.block_until_ready(compiled(*arguments))
        return time.perf_counter() - start

    return run


def _torch_table(threads: int) -> Callable[[int], float]:
    import torch

    from jaxdnn.data import tabular
    from reference_torch.workflows import tabular_dnn

    torch.set_num_threads(1)  # faster than more, for a network so small
    table = tabular.generate(1)
    data, network = tabular_dnn.data_and_start(
        1, torch.tensor(table.features), torch.tensor(table.labels)
    )

    def run(turn: int) -> float:
        start = time.perf_counter()
        tabular_dnn.train(network, [], tabular_dnn.Config(), data)
        return time.perf_counter() - start

    return run


def _jaxdnn_regression(threads: int) -> Callable[[int], float]:
    import jax

    from jaxdnn.workflows import linear_regression

    data, weights = linear_regression.data_and_start(1, 1000)
    orders = linear_regression.orders(1, 3, 1000)
    arguments = jax.device_put((weights, orders, linear_regression.Config(), data))
    train = jax.jit(linear_regression.train).lower(*arguments).compile()

    def run(turn: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(train(*arguments))
        return time.perf_counter() - start

    return run


def _torch_regression(threads: int) -> Callable[[int], float]:
    import torch

    from reference_torch.workflows import linear_regression

    torch.set_num_threads(1)  # faster than more, for a model so small
    data, weights = linear_regression.data_and_start(1, 1000)
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    orders = list(linear_regression.orders(1, 3, 1000))

    def run(turn: int) -> float:
        start = time.perf_counter()
        linear_regression.train(weights, orders, linear_regression.Config(), data)
        return time.perf_counter() - start

    return run


WORKERS = {
    "train": {"jaxdnn": _jaxdnn_train, "torch": _torch_train},
    "accuracy": {"jaxdnn": _jaxdnn_accuracy, "torch": _torch_accuracy},
    "product": {"jaxdnn": _jaxdnn_product, "torch": _torch_product},
    "table": {"jaxdnn": _jaxdnn_table, "torch": _torch_table},
    "table-compiling": {
        "jaxdnn": partial(_jaxdnn_table, compiling=True),
        "torch": _torch_table,
    },
    "regression": {"jaxdnn": _jaxdnn_regression, "torch": _torch_regression},
}


def _gflops(product: Callable[[], Any]) -> float:
    start = time.perf_counter()
    product()
    return 2 * 2048**3 / 1e9 / (time.perf_counter() - start)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _pin(threads: int) -> None:
    """Keep this process, and those it starts, to as many cores as it may have threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _serve(run: Callable[[int], float]) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        print(run(int(line)), flush=True)


class _Worker:
    """A system in a process of its own."""

    def __init__(self, system: str, command: str, threads: int) -> None:
        arguments = ["--worker", system, "--command", command, "--threads", str(threads)]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __call__(self, argument: int) -> float:
        assert self._process.stdin
        print(argument, file=self._process.stdin, flush=True)
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"bench: a worker stopped with exit code {self._process.wait()}")
        return line

    def close(self) -> None:
        self._process.communicate()


# The parts, each a mapping from system to measurements.


def _take_turns(command: str, turns: int, threads: int) -> dict[str, list[float]]:
    workers = {system: _Worker(system, command, threads) for system in SYSTEMS}
    measured: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    for turn in _progress(command, range(-1, turns)):
        for system, worker in workers.items():
            value = worker(max(turn, 0))
            if turn >= 0:  # the first turn warms up
                measured[system].append(value)
    for worker in workers.values():
        worker.close()
    return measured


def _accuracies(seeds: int, threads: int) -> dict[str, list[float]]:
    measured = {}
    for system in SYSTEMS:
        worker = _Worker(system, "accuracy", threads)
        measured[system] = [
            worker(seed) for seed in _progress(f"accuracy of {system}", range(seeds))
        ]
        worker.close()
    return measured


def _cold(turns: int, threads: int) -> dict[str, list[float]]:
    """One process from its start to the trained and evaluated network, nothing compiled before."""
    torch_program = (
        "import torch\n"
        f"torch.set_num_threads({threads})\n"
        "from jaxdnn.data import mnist\n"
        "from reference_torch.workflows import mnist_dnn\n"
        "model, history = mnist_dnn.fit(0, mnist_dnn.Config(), mnist.load()[0])\n"
        "print(history.test_accuracy[-1].item())\n"
    )
    commands = {
        "jaxdnn": [sys.executable, "-m", "jaxdnn", "run", "mnist-dnn", "--plot", "None"],
        "torch": [sys.executable, "-c", torch_program],
    }
    measured: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    for _ in _progress("cold start", range(turns)):
        for system, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            measured[system].append(time.perf_counter() - start)
    return measured


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "jaxlib", "torch", "jaxdnn")},
    }


def _progress(description: str, items: range) -> Iterator[int]:
    from rich.progress import track

    return iter(track(items, description=description, transient=True))


def _print(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    def median_and_range(seconds: list[float]) -> str:
        scale, unit = (1, "s") if statistics.median(seconds) >= 0.1 else (1000, "ms")
        low, middle, high = (
            f"{scale * value:.2f}"
            for value in (min(seconds), statistics.median(seconds), max(seconds))
        )
        return f"{middle} {unit} ({low} - {high})"

    def ratio(seconds: dict[str, list[float]]) -> str:
        pairs = zip(seconds["torch"], seconds["jaxdnn"], strict=True)
        ratios = [theirs / ours for theirs, ours in pairs]
        return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} - {max(ratios):.2f})"

    table = Table("measured", "jaxdnn", "torch eager", "torch / jaxdnn")
    rows = [
        (f"{label}, compile excluded", results["seconds"][command])
        for command, label in RUNS.items()
    ]
    rows += [
        ("DNN on a table, 5,000 epochs, compile included", results["table_compiling_seconds"]),
        ("MNIST DNN, five epochs, from the start of the process", results["cold_seconds"]),
    ]
    for label, seconds in rows:
        cells = (median_and_range(seconds[system]) for system in SYSTEMS)
        table.add_row(label, *cells, ratio(seconds))
    accuracy = results["test_accuracy"]
    seeds = len(accuracy["jaxdnn"])
    table.add_row(
        f"MNIST DNN, test accuracy, seeds 0-{seeds - 1}",
        *("  ".join(f"{value:.2%}" for value in accuracy[system]) for system in SYSTEMS),
    )
    table.add_row("  mean", *(f"{statistics.mean(accuracy[system]):.2%}" for system in SYSTEMS))
    best = max(max(rates) for rates in results["matrix_product_gflops"].values())
    shares = []
    for system in SYSTEMS:
        rate = EPOCH_GFLOP / statistics.median(results["seconds"]["train"][system])
        shares.append(f"{rate:.0f} GFLOP/s, {rate / best:.0%}")
    table.add_row(f"MNIST DNN, share of the best matrix product, {best:.0f} GFLOP/s", *shares)
    console = Console()
    console.print(" ".join(f"{key} {value}" for key, value in results["machine"].items()))
    console.print(table)


if __name__ == "__main__":
    main()
