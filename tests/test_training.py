"""The training loop: the scan is the plain loop, whatever the sizes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn import training
from jaxdnn.data.batches import shuffle
from jaxdnn.training import TrainState


def loss(weight: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return ((weight * x - y) ** 2).mean()


def start(optimizer: optax.GradientTransformation) -> TrainState:
    weight = jnp.array(0.5)
    return TrainState(weight, optimizer.init(weight))


@settings(max_examples=8)
@given(samples=st.integers(1, 20), batch_size=st.integers(1, 25), seed=st.integers(0, 1000))
def test_epoch_is_the_plain_loop_over_its_batches(
    x64: None, samples: int, batch_size: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, samples))
    order = generator.permutation(samples)
    optimizer = optax.sgd(0.1, momentum=0.9)

    state, losses = training.train_epoch(
        loss, optimizer, start(optimizer), (x, y), jnp.asarray(order), batch_size=batch_size
    )

    expected, expected_losses = start(optimizer), []
    for first in range(0, samples, batch_size):
        i = order[first : first + batch_size]
        batch = jnp.asarray(x[i]), jnp.asarray(y[i])
        expected, info = training.train_step(loss, optimizer, expected, batch)
        expected_losses.append(info.loss)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-12)
    np.testing.assert_allclose(state.params, expected.params, rtol=1e-12)


def test_progress_is_told_in_order_and_seldom() -> None:
    seen: list[tuple[int, int, float]] = []

    class Recorder:
        def on_start(self, *, epochs: int, samples: int, batch_size: int) -> None:
            raise AssertionError

        def on_step(self, epoch: int, step: int, loss: float) -> None:
            seen.append((int(epoch), int(step), float(loss)))

        def on_epoch(self, epoch: int, test_accuracy: float) -> None:
            raise AssertionError

    x = jnp.arange(801.0) / 801
    optimizer = optax.sgd(0.1)
    _, losses = jax.jit(
        lambda state, order: training.train_epoch(
            loss, optimizer, state, (x, x), order, batch_size=2, epoch=7, progress=Recorder()
        )
    )(start(optimizer), jnp.arange(801))
    jax.effects_barrier()

    assert [step for _, step, _ in seen] == list(range(0, 401, 10))
    assert {epoch for epoch, _, _ in seen} == {7}
    assert [value for _, _, value in seen] == [float(losses[step]) for _, step, _ in seen]


def test_data_of_different_lengths_is_refused() -> None:
    optimizer = optax.sgd(0.1)
    data = jnp.zeros(3), jnp.zeros(2)
    with pytest.raises(ValueError, match="one first axis"):
        training.train_epoch(loss, optimizer, start(optimizer), data, jnp.arange(2), batch_size=1)
    with pytest.raises(ValueError, match="4 inputs need as many labels; got 1"):
        inspect.unwrap(training.accuracy)(lambda x: x, jnp.eye(4), jnp.array([0]))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_accuracy_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    generator = np.random.default_rng(0)
    outputs, labels = generator.normal(size=(50, 4)), generator.integers(0, 4, 50)
    expected = (outputs.argmax(1) == labels).mean()
    actual = training.accuracy(
        lambda x: x, outputs.astype(np.float32), labels, batch_size=batch_size
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@given(samples=st.integers(0, 500), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_shuffle_holds_each_index_once(samples: int, seed: int) -> None:
    order = shuffle(jax.random.key(seed), samples)
    assert sorted(order.tolist()) == list(range(samples))


def test_shuffle_puts_every_index_everywhere() -> None:
    """Position of each of 5 indices over 4,000 keys: chi-squared with 16 degrees of freedom."""
    orders = jax.vmap(lambda key: shuffle(key, 5))(jax.random.split(jax.random.key(0), 4000))
    counts = np.stack([np.bincount(column, minlength=5) for column in np.asarray(orders).T])
    chi_squared = ((counts - 800) ** 2 / 800).sum()
    assert chi_squared < 50  # exceeded with a probability of 2e-5
