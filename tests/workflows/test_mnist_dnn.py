"""The MNIST DNN: what a run is decided by, and that the report's run is `fit`."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import CheckpointError, ConfigError
from jaxdnn.runs.reports import mnist_dnn as report
from jaxdnn.runs.workflow import Request
from jaxdnn.training import History
from jaxdnn.workflows import mnist_dnn

KEY = jax.random.key(0)

FIT = jax.jit(mnist_dnn.fit)


def few(data: MNIST, train: int = 160, test: int = 100) -> MNIST:
    """A data set whose epochs of batches of 64 end with one of 32."""
    return MNIST(
        data.train_images[:train],
        data.train_labels[:train],
        data.test_images[:test],
        data.test_labels[:test],
    )


def test_run_learns_and_is_fit(mnist_data: MNIST) -> None:
    """The runner's epochs, one call each, are the one scan of `fit`."""
    data = few(mnist_data, train=1632, test=1000)
    config = mnist_dnn.Config(epochs=3, lr=0.1)
    result = report.run(Request(5, config, data, "a test"))
    state, history = FIT(jax.random.key(5), config, data)
    assert history.losses.shape == (3, 26)
    assert history.test_accuracy[-1] > 0.7
    np.testing.assert_allclose(result.losses, np.ravel(history.losses), rtol=1e-5)
    np.testing.assert_array_equal(result.curves["mini-batches"], result.losses)
    assert result.training is not None
    assert result.training.test_accuracy_by_epoch is not None
    np.testing.assert_allclose(
        result.training.test_accuracy_by_epoch, history.test_accuracy, atol=2e-3
    )
    assert result.network is not None
    for ours, theirs in zip(
        jax.tree.leaves(result.network.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert result.divergences == {}


@pytest.mark.slow
def test_same_seed_same_bits_and_another_seed_others(mnist_data: MNIST) -> None:
    data, config = few(mnist_data), mnist_dnn.Config(epochs=2)
    first, again, other = (
        jax.tree.leaves(jax.device_get(FIT(jax.random.key(seed), config, data)))
        for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first[:-1], other[:-1], strict=True))


@pytest.mark.slow
def test_same_seed_same_bits_in_another_process() -> None:
    program = (
        "import hashlib, jax\n"
        "import numpy as np\n"
        "from jaxdnn.data.mnist import MNIST\n"
        "from jaxdnn.runs.reports import mnist_dnn as w\n"
        "from jaxdnn.runs.workflow import Request\n"
        "numbers = np.random.default_rng(0)\n"
        "images = numbers.integers(0, 256, (160, 28, 28), dtype=np.uint8)\n"
        "labels = numbers.integers(0, 10, 160, dtype=np.uint8)\n"
        "data = MNIST(images, labels, images, labels)\n"
        "result = w.run(Request(0, w.Config(epochs=1), data))\n"
        "leaves = jax.device_get(jax.tree.leaves(result.network.params))\n"
        "bits = b''.join(leaf.tobytes() for leaf in leaves)\n"
        "print(hashlib.sha256(bits + result.losses.tobytes()).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_run_vmaps_over_keys_and_hyperparameters(x64: None, mnist_data: MNIST) -> None:
    data = few(mnist_data)
    keys = jax.random.split(KEY, 2)
    rates = jnp.array([0.01, 0.2])

    def fit(key: jax.Array, lr: jax.Array) -> History:
        return mnist_dnn.fit(key, mnist_dnn.Config(epochs=2, lr=lr), data)[1]

    batched = jax.jit(jax.vmap(fit))(keys, rates)
    for i, (key, lr) in enumerate(zip(keys, rates, strict=True)):
        _, alone = FIT(key, mnist_dnn.Config(epochs=2, lr=float(lr)), data)
        np.testing.assert_allclose(batched.losses[i], alone.losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", -1),
        ("lr", float("nan")),
        ("lr", -0.1),
        ("momentum", float("inf")),
        ("epochs", True),
    ],
)
def test_config_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        mnist_dnn.Config(**{field: value})


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seed_out_of_range(mnist_data: MNIST, seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be a whole number from 0 to 2147483647"):
        report.run(Request(seed, mnist_dnn.Config(), few(mnist_data)))


def test_a_resumed_run_is_of_the_same_data(mnist_data: MNIST, tmp_path: Path) -> None:
    data = few(mnist_data, train=70, test=70)
    file, config = tmp_path / "run", mnist_dnn.Config(epochs=2)
    straight = report.run(Request(0, config, data))
    shorter = dataclasses.replace(config, epochs=1)
    report.run(Request(0, shorter, data, resume=file))
    resumed = report.run(Request(0, config, data, resume=file))
    np.testing.assert_array_equal(resumed.losses, straight.losses)
    assert straight.network
    assert resumed.network
    jax.tree.map(np.testing.assert_array_equal, resumed.network.params, straight.network.params)
    assert resumed.training
    assert resumed.training.samples == 70

    other = data._replace(train_labels=data.train_labels[::-1].copy())
    with pytest.raises(CheckpointError, match="it has data"):
        report.run(Request(0, config, other, resume=file))
    with pytest.raises(ConfigError, match="has 2 epochs already"):
        report.run(Request(0, shorter, data, resume=file))
    again = report.run(Request(0, config, data, resume=file))
    np.testing.assert_array_equal(again.losses, straight.losses)
