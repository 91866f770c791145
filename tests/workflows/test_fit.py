"""`fit` of the lessons: what it hands to the shared loop, and torch's beside its own parts.

Whole runs are compared in `test_whole_runs`, where those that compile for long are slow.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdnn import training
from jaxdnn.data import tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.training import History, TrainState
from jaxdnn.workflows import lenet, mnist_dnn, sum_classifier, tabular_dnn
from reference_torch import training as torch_training
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn

KEY, OTHER_KEY = jax.random.split(jax.random.key(4))
SHUFFLE_KEY, INIT_KEY = jax.random.split(KEY)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments that the loops of `jaxdnn.training` are called with; they do not run."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def loop(*arguments: Any, **settings: Any) -> tuple[TrainState, History]:
        calls.append((arguments, settings))
        return TrainState({}, ()), History(jnp.zeros((1, 1)), None)

    monkeypatch.setattr(training, "train_classifier", loop)
    monkeypatch.setattr(training, "fit", loop)
    return calls


@pytest.mark.parametrize("lesson", [mnist_dnn, lenet])
@pytest.mark.parametrize("shuffle_key", [None, OTHER_KEY])
def test_digits_are_classified_by_the_shared_loop(
    loops: list[Any], monkeypatch: pytest.MonkeyPatch, lesson: Any, shuffle_key: jax.Array | None
) -> None:
    """Its ``init``, which takes long to compile, only tells what it was given."""
    monkeypatch.setattr(lesson, "init", lambda *given: TrainState(given, ()))
    images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
    data, config = MNIST(images, labels, images, labels), lesson.Config(epochs=7)
    lesson.fit(KEY, config, data, shuffle_key=shuffle_key)
    [((classifier, state, epochs, shuffles, *rest), _)] = loops
    assert classifier is lesson.CLASSIFIER
    assert classifier[1:] == (lesson.loss, lesson.optimizer, lesson.predict)
    assert state.params == (INIT_KEY, config)
    assert epochs == 7
    assert shuffles == (SHUFFLE_KEY if shuffle_key is None else shuffle_key)
    assert rest == [config, data]


@pytest.mark.parametrize("batch_size", [None, 16])
def test_table_is_fitted_by_the_shared_loop(loops: list[Any], batch_size: int | None) -> None:
    data, _, _ = tabular_dnn.data_and_params(0, tabular.generate(0, rows=40))
    tabular_dnn.fit(KEY, tabular_dnn.Config(epochs=7, batch_size=batch_size), data)
    [((loss, _, state, rows, shuffles), settings)] = loops
    assert loss is tabular_dnn.loss
    assert settings == {"epochs": 7, "batch_size": batch_size}
    assert shuffles == SHUFFLE_KEY
    same(state.params, tabular_dnn.network(8).init(INIT_KEY))
    same(rows, (data.train_features, data.train_labels))


def test_sums_are_fitted_by_the_shared_loop(loops: list[Any]) -> None:
    data, _ = sum_classifier.data_and_params(0, 20)
    sum_classifier.fit(KEY, sum_classifier.Config(epochs=7), data)
    [((loss, _, state, rows, _), settings)] = loops
    assert loss is sum_classifier.loss
    assert settings == {"epochs": 7, "batch_size": None}
    same(state.params, sum_classifier.MODEL.init(KEY))
    same(rows, (data.train_features, data.train_labels))


def same(actual: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def sums() -> tuple[Any, Any, Any, Any]:
    data, _ = torch_sum_classifier.data_and_params(0, 50)
    config = torch_sum_classifier.Config(epochs=3, lr=0.5)
    return torch_sum_classifier, config, data, torch_sum_classifier.DNN


def table(batch_size: int | None) -> tuple[Any, Any, Any, Any]:
    rows = map(torch.tensor, tabular.generate(1, rows=50)[:2])
    data, _ = torch_tabular_dnn.data_and_params(0, *rows)
    config = torch_tabular_dnn.Config(epochs=3, lr=0.1, batch_size=batch_size)
    return torch_tabular_dnn, config, data, lambda: torch_tabular_dnn.network(8)


@pytest.mark.parametrize("case", [sums(), table(None), table(16)])
def test_torchs_fit_is_its_parts(case: tuple[Any, Any, Any, Any]) -> None:
    """The network and then the shuffles are drawn after the seed; the training rows are used."""
    lesson, config, data, network = case
    model, history = lesson.fit(2, config, data)
    torch.manual_seed(2)
    again, rows = network(), (data.train_features, data.train_labels)
    losses = []
    optimizer = lesson.optimizer(again, config)
    batch_size = getattr(config, "batch_size", None)
    for _ in range(3):
        batches = [rows]
        if batch_size is not None:
            # As a loader draws them: a seed of the pass, one of the shuffle, the permutation.
            torch.empty((), dtype=torch.int64).random_()
            seed = int(torch.empty((), dtype=torch.int64).random_())
            order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))
            batches = [(rows[0][i], rows[1][i]) for i in order.split(batch_size)]
        losses.append(torch_training.train_epoch(again, lesson.criterion, optimizer, batches))
    torch.testing.assert_close(history.losses, torch.stack(losses))
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
