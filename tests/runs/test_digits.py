"""Runs on MNIST in pieces: saved after every epoch, resumed, and told apart from other runs."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import CheckpointError, ConfigError, DataError
from jaxdnn.losses import cross_entropy
from jaxdnn.runs import checkpoint, digits
from jaxdnn.runs.result import Result
from jaxdnn.runs.runner import Run, drive
from jaxdnn.runs.workflow import Request, Silent
from jaxdnn.training import Classifier, History, TrainState
from jaxdnn.workflows.mnist_dnn import Config


def predict(params: Any, images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1).astype(jnp.float32) / 255 @ params["fc"]["kernel"]


def optimizer(config: Config) -> optax.GradientTransformation:
    return optax.sgd(config.lr, config.momentum)


def init(key: jax.Array, config: Config) -> TrainState:
    params = {"fc": {"kernel": 0.01 * jax.random.normal(key, (784, 10))}}
    return TrainState(params, optimizer(config).init(params))


LINEAR = Classifier(
    init, lambda params, x, y: cross_entropy(predict(params, x), y), optimizer, predict
)


def images(seed: int) -> MNIST:
    generator = np.random.default_rng(seed)
    sizes = (("train", 70), ("test", 20))
    arrays = [
        array
        for _, size in sizes
        for array in (
            generator.integers(0, 256, (size, 28, 28), dtype=np.uint8),
            generator.integers(0, 10, size, dtype=np.uint8),
        )
    ]
    return MNIST(*arrays)


DATA = images(0)


def run(epochs: int, path: Path | None = None, *, seed: int = 3, **settings: Any) -> Result:
    data = settings.pop("data", DATA)
    progress = settings.pop("progress", Silent())
    config = Config(epochs=epochs, batch_size=32, **settings)
    request = Request(seed, config, data, "images", resume=path, progress=progress)
    return digits.run(request, LINEAR, workflow="mnist-dnn")


def kernel(result: Result) -> np.ndarray:
    assert result.network is not None
    return np.asarray(result.network.params["fc"]["kernel"])


def test_run_in_pieces_is_the_run(tmp_path: Path) -> None:
    """Bit for bit; and the file holds every epoch as soon as it is done."""
    path, whole = tmp_path / "run", run(3)
    assert whole.training is not None
    saved = []

    class Watch(Silent):
        def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
            saved.append(len(checkpoint.read(path)[0][".losses"]) if path.exists() else 0)

    first = run(1, path, progress=Watch())
    rest = run(3, path, progress=Watch())
    assert saved == [0, 1, 2]  # the runner reports, then saves
    assert first.training is not None
    assert rest.training is not None
    np.testing.assert_array_equal(rest.curves["mini-batches"], whole.curves["mini-batches"])
    np.testing.assert_array_equal(kernel(rest), kernel(whole))
    np.testing.assert_array_equal(
        np.asarray(rest.training.test_accuracy_by_epoch),
        np.asarray(whole.training.test_accuracy_by_epoch),
    )
    assert (first.training.samples, rest.training.samples) == (70, 140)
    assert len(whole.curves["mini-batches"]) == 9

    again = run(3, path)
    assert again.training is not None
    assert again.training.samples == 0
    np.testing.assert_array_equal(kernel(again), kernel(whole))
    with pytest.raises(ConfigError, match="has 3 epochs already"):
        run(2, path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"lr": 0.5}, "it has lr 0.01, this run 0.5"),
        ({"seed": 4}, "it has seed 3, this run 4"),
        ({"data": images(1)}, "it has data"),
    ],
)
def test_other_run_is_not_resumed(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    path = tmp_path / "run"
    run(1, path)
    with pytest.raises(CheckpointError, match=message):
        run(2, path, **other)


@pytest.mark.parametrize(("done", "calls"), [(0, [2, 4, 5]), (1, [3, 5]), (5, [])])
def test_each_call_trains_the_epochs_that_are_left(done: int, calls: list[int]) -> None:
    told, saved = [], []

    def train(state: TrainState, numbers: jax.Array) -> tuple[TrainState, History]:
        state = state._replace(params=state.params + numbers.sum())
        return state, History(numbers[:, None] * 1.0, numbers / 10)

    class Watch(Silent):
        def on_epochs(self, done: int, loss: float, test_accuracy: float | None) -> None:
            told.append((done, loss, test_accuracy))

    def save(run: Run) -> None:
        saved.append(len(run.losses))

    past = np.arange(done, dtype=np.float32)
    before = Run(TrainState(jnp.array(0), ()), past[:, None], past / 10)
    after, _ = drive(jax.jit(train), before, (), epochs=5, per_call=2, progress=Watch(), save=save)
    assert saved == calls == [number for number, _, _ in told]
    np.testing.assert_array_equal(after.losses[:, 0], np.arange(5))
    np.testing.assert_allclose(np.asarray(after.test_accuracy), np.arange(5) / 10)
    assert int(after.state.params) == sum(range(done, 5))
    assert [loss for _, loss, _ in told] == [number - 1 for number in calls]


class Counted(Silent):
    """Keeps how long the run is said to be."""

    said: tuple[int, int] | None = None

    def on_start(self, *, epochs: int, samples: int) -> None:
        self.said = epochs, samples


def test_run_is_announced_by_its_training_images() -> None:
    progress = Counted()
    run(2, progress=progress)
    assert progress.said == (2, 70)


def test_images_are_read_from_the_named_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        digits.Inputs(tmp_path).load(0)
