"""The MNIST DNN in JAX against torch: real data, the same start, the same batches."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jaxdnn.runs.execution import Program

from jaxdnn import torch_compat
from jaxdnn.data.batches import shuffle
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import CheckpointError, ConfigError
from jaxdnn.training import History
from jaxdnn.workflows import mnist_dnn
from reference_torch.workflows import mnist_dnn as reference

KEY = jax.random.key(0)
CONFIG = mnist_dnn.Config()


def few(data: MNIST, train: int = 1632, test: int = 1000) -> MNIST:
    """A data set whose epochs of batches of 64 end with one of 32."""
    return MNIST(
        data.train_images[:train],
        data.train_labels[:train],
        data.test_images[:test],
        data.test_labels[:test],
    )


def test_whole_run_matches_torch(x64: None, mnist_data: MNIST) -> None:
    """The compiled run itself: its own shuffles, its scan, its tail and its evaluation."""
    data = few(mnist_data)
    config = mnist_dnn.Config(epochs=3, lr=0.1)
    state, history = jax.jit(mnist_dnn.fit)(KEY, config, data)

    shuffle_key, init_key = jax.random.split(KEY)
    start = torch_compat.to_torch(mnist_dnn.init(init_key, config).params)
    model = reference.init(start)
    orders = (
        torch.tensor(np.array(shuffle(jax.random.fold_in(shuffle_key, epoch), 1632)))
        for epoch in range(3)
    )
    expected = reference.train(model, orders, reference.Config(lr=0.1), data)

    assert history.losses.shape == (3, 26)
    np.testing.assert_allclose(history.losses, expected.losses, rtol=1e-12)
    np.testing.assert_allclose(history.test_accuracy, expected.test_accuracy, atol=1e-12)
    assert history.test_accuracy[-1] > 0.7
    params = torch_compat.to_torch(state.params)
    for name, tensor in model.state_dict().items():
        np.testing.assert_allclose(params[name], tensor, rtol=0, atol=1e-12)


def test_same_seed_same_bits_and_another_seed_others(mnist_data: MNIST) -> None:
    data = few(mnist_data)
    config = mnist_dnn.Config(epochs=2)
    fit = jax.jit(mnist_dnn.fit)
    first, again, other = (
        jax.tree.leaves(jax.device_get(fit(jax.random.key(seed), config, data)))
        for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_same_seed_same_bits_in_another_process(mnist_data: MNIST) -> None:
    program = (
        "import hashlib, jax\n"
        "from jaxdnn.data import mnist\n"
        "from jaxdnn.workflows import mnist_dnn as w\n"
        "few = mnist.MNIST(*(array[:1632] for array in mnist.load()[0]))\n"
        "result = w.run(0, w.Config(epochs=1), few, data_source='')\n"
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


def test_run_is_fit(x64: None, mnist_data: MNIST) -> None:
    data = few(mnist_data)
    config = mnist_dnn.Config(epochs=2)
    result = mnist_dnn.run(5, config, data, data_source="a test")
    state, history = jax.jit(mnist_dnn.fit)(jax.random.key(5), config, data)
    np.testing.assert_allclose(result.losses, np.ravel(history.losses), rtol=1e-12)
    assert result.training is not None
    assert result.training.test_accuracy_by_epoch is not None
    assert result.network is not None
    np.testing.assert_array_equal(result.curves["mini-batches"], result.losses)
    np.testing.assert_allclose(
        result.training.test_accuracy_by_epoch, history.test_accuracy, atol=1e-12
    )
    for ours, theirs in zip(
        jax.tree.leaves(result.network.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    assert result.divergences == {}


def test_run_vmaps_over_keys_and_hyperparameters(x64: None, mnist_data: MNIST) -> None:
    data = few(mnist_data, train=320, test=100)
    keys = jax.random.split(KEY, 3)
    lrs = jnp.array([0.01, 0.1, 0.2])

    def fit(key: jax.Array, lr: jax.Array) -> History:
        return mnist_dnn.fit(key, mnist_dnn.Config(epochs=2, lr=lr), data)[1]

    together = jax.jit(jax.vmap(fit))(keys, lrs)
    for lane, (key, lr) in enumerate(zip(keys, lrs, strict=True)):
        _, alone = jax.jit(mnist_dnn.fit)(key, mnist_dnn.Config(epochs=2, lr=float(lr)), data)
        np.testing.assert_allclose(together.losses[lane], alone.losses, rtol=1e-12)


def test_normalise_is_what_torchvision_does(mnist_data: MNIST) -> None:
    """ToTensor, then Normalize: x / 255, then (x − mean) / std."""
    images = mnist_data.train_images[:100]
    scaled = torch.tensor(images).float().div(255)
    expected = (scaled - 0.1307) / 0.3081
    actual = mnist_dnn.normalise(jnp.asarray(images), jnp.dtype("float32"))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


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
        mnist_dnn.run(seed, CONFIG, few(mnist_data), data_source="")


def name(program: Program) -> str:
    return inspect.unwrap(program._jitted).__name__


def names_of_the_compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions, as they are compiled."""
    seen: list[str] = []
    compile_ahead = Program.compile_ahead

    def noted(program: Program, *args: Any) -> None:
        if program._compiled is None:
            seen.append(name(program))
        compile_ahead(program, *args)

    monkeypatch.setattr(Program, "compile_ahead", noted)
    return seen


def test_a_resumed_run_is_of_the_same_data(
    mnist_data: MNIST, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = MNIST(*(array[:70] for array in mnist_data))
    file, config = tmp_path / "run", mnist_dnn.Config(epochs=2)
    straight = mnist_dnn.run(0, config, few, data_source="few")
    mnist_dnn.run(0, dataclasses.replace(config, epochs=1), few, data_source="few", resume=file)
    resumed = mnist_dnn.run(0, config, few, data_source="few", resume=file)
    np.testing.assert_array_equal(resumed.losses, straight.losses)
    assert straight.network
    assert resumed.network
    jax.tree.map(np.testing.assert_array_equal, resumed.network.params, straight.network.params)
    assert resumed.training
    assert resumed.training.samples == 70

    other = few._replace(train_labels=few.train_labels[::-1].copy())
    with pytest.raises(CheckpointError, match="it has data"):
        mnist_dnn.run(0, config, other, data_source="other", resume=file)
    with pytest.raises(ConfigError, match="has 2 epochs already"):
        mnist_dnn.run(0, dataclasses.replace(config, epochs=1), few, data_source="few", resume=file)
    # A finished run needs no program.
    compiled = names_of_the_compiled(monkeypatch)
    again = mnist_dnn.run(0, config, few, data_source="few", resume=file)
    assert compiled == []
    np.testing.assert_array_equal(again.losses, straight.losses)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_programs_are_compiled_before_they_are_needed(
    backend: str, mnist_data: MNIST, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ["_piece", "start", "order_of"]
    last = ["last_step", "evaluate"]
    compiled = names_of_the_compiled(monkeypatch)
    called: list[tuple[str, list[str]]] = []
    call = Program.__call__

    def noted(program: Program, *args: Any) -> Any:
        called.append((name(program), list(compiled)))
        return call(program, *args)

    monkeypatch.setattr(Program, "__call__", noted)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    few = MNIST(*(array[:70] for array in mnist_data))
    mnist_dnn.run(0, mnist_dnn.Config(epochs=1), few, data_source="few")
    # What comes last is compiled beside training, but not on a GPU.
    assert called == [
        ("start", first + last * (backend == "gpu")),
        ("order_of", first + last * (backend == "gpu")),
        ("_piece", first + last * (backend == "gpu")),
        ("last_step", first + last),
        ("evaluate", first + last),
    ]
