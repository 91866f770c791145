"""The training loop: the scan is the plain loop, whatever the sizes."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxdnn import training
from jaxdnn.data.batches import shuffle
from jaxdnn.training import TrainState


def loss(weight: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    return ((weight * x - y) ** 2).mean()


def start(optimizer: optax.GradientTransformation) -> TrainState:
    weight = jnp.array(0.5)
    return TrainState(weight, optimizer.init(weight))


@settings(max_examples=2)
@example(samples=7, batch_size=3, seed=1, first=1)  # three batches, the last of them smaller
@given(
    samples=st.integers(1, 20),
    batch_size=st.none() | st.integers(1, 25),
    seed=st.integers(0, 1000),
    first=st.integers(1, 2),
)
def test_fit_is_the_plain_loop_over_its_batches(
    x64: None, samples: int, batch_size: int | None, seed: int, first: int
) -> None:
    """In one piece and in two."""
    generator = np.random.default_rng(seed)
    data = generator.normal(size=(2, samples))
    optimizer, key = optax.sgd(0.1, momentum=0.9), jax.random.key(seed)
    arguments = {"batch_size": batch_size, "evaluate": lambda weight: 2 * weight}

    state, history = training.fit(
        loss, optimizer, start(optimizer), tuple(data), key, epochs=3, **arguments
    )
    half, before = training.fit(
        loss, optimizer, start(optimizer), tuple(data), key, epochs=jnp.arange(first), **arguments
    )
    rest, after = training.fit(
        loss, optimizer, half, tuple(data), key, epochs=jnp.arange(first, 3), **arguments
    )

    expected, losses, evaluations = start(optimizer), [], []
    for epoch in range(3):
        order = np.asarray(shuffle(jax.random.fold_in(key, epoch), samples))
        if batch_size is None:
            order = np.arange(samples)
        for batch in np.split(order, range(batch_size or samples, samples, batch_size or samples)):
            expected, info = training.train_step(
                loss, optimizer, expected, tuple(jnp.asarray(array[batch]) for array in data)
            )
            losses.append(info.loss)
        evaluations.append(2 * expected.params)
    for found in (history, jax.tree.map(lambda *parts: jnp.concatenate(parts), before, after)):
        np.testing.assert_allclose(found.losses.ravel(), losses, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(found.test_accuracy), evaluations, rtol=1e-12)
    for found in (state, rest):
        np.testing.assert_allclose(found.params, expected.params, rtol=1e-12)


def test_steps_are_taken_on_the_rows_of_indices(x64: None) -> None:
    optimizer = optax.adam(0.1)
    x, y = np.random.default_rng(0).normal(size=(2, 6))
    indices = jnp.array([[5, 0], [2, 2]])
    state, losses = training.train_steps(loss, optimizer, start(optimizer), (x, y), indices)
    expected = start(optimizer)
    for row, value in zip(np.asarray(indices), losses, strict=True):
        batch = jnp.asarray(x[row]), jnp.asarray(y[row])
        expected, info = training.train_step(loss, optimizer, expected, batch)
        np.testing.assert_allclose(value, info.loss, rtol=1e-12)
    np.testing.assert_allclose(state.params, expected.params, rtol=1e-12)


def test_data_of_different_lengths_is_refused() -> None:
    optimizer = optax.sgd(0.1)
    data = jnp.zeros(3), jnp.zeros(2)
    with pytest.raises(ValueError, match="one first axis"):
        training.train_epoch(
            loss, optimizer, start(optimizer), data, jax.random.key(0), batch_size=1
        )
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
@settings(max_examples=4)
def test_shuffle_holds_each_index_once(samples: int, seed: int) -> None:
    order = shuffle(jax.random.key(seed), samples)
    assert sorted(order.tolist()) == list(range(samples))


def test_shuffle_puts_every_index_everywhere() -> None:
    """Position of each of 5 indices over 4,000 keys: chi-squared with 16 degrees of freedom."""
    orders = jax.vmap(lambda key: shuffle(key, 5))(jax.random.split(jax.random.key(0), 4000))
    counts = np.stack([np.bincount(column, minlength=5) for column in np.asarray(orders).T])
    chi_squared = ((counts - 800) ** 2 / 800).sum()
    assert chi_squared < 50  # exceeded with a probability of 2e-5


def test_shuffle_prefers_no_direction() -> None:
    """Equal random numbers keep their order, so that too few bits would leave long ascents."""
    samples = 60_000
    descents = (np.diff(np.asarray(shuffle(jax.random.key(0), samples))) < 0).sum()
    deviation = ((samples + 1) / 12) ** 0.5
    assert abs(descents - (samples - 1) / 2) < 5 * deviation


@pytest.mark.parametrize("permutation", [jnp.arange(3), jax.random.PRNGKey(0).astype(jnp.int32)])
def test_permutation_of_other_samples_is_refused(permutation: jax.Array) -> None:
    """An old-style key among them, which would be taken for the numbers of two samples."""
    optimizer = optax.sgd(0.1)
    data = jnp.zeros(5), jnp.zeros(5)
    train = inspect.unwrap(training.train_epoch)
    with pytest.raises(ValueError, match=r"must have the shape of the samples, \(5,\)"):
        train(loss, optimizer, start(optimizer), data, permutation, batch_size=2)


@pytest.mark.parametrize("shape", [(2, 5), (5,)])
def test_fewer_permutations_than_epochs_are_refused(shape: tuple[int, ...]) -> None:
    optimizer = optax.sgd(0.1)
    data, permutations = (jnp.zeros(5), jnp.zeros(5)), jnp.zeros(shape, jnp.int32)
    fit = inspect.unwrap(training.fit)
    with pytest.raises(ValueError, match="must have a row for each of the 3 epochs"):
        fit(loss, optimizer, start(optimizer), data, permutations, epochs=3, batch_size=2)


def test_permutations_are_taken_epoch_by_epoch(x64: None) -> None:
    optimizer = optax.adam(0.1)
    data = tuple(np.random.default_rng(0).normal(size=(2, 5)))
    permutations = np.stack([np.random.default_rng(i).permutation(5) for i in range(3)])
    begin = start(optimizer)
    state, history = training.fit(
        loss, optimizer, begin, data, permutations, epochs=3, batch_size=2
    )
    expected, losses = begin, []
    for permutation in permutations:
        expected, found = training.train_epoch(
            loss, optimizer, expected, data, permutation, batch_size=2
        )
        losses.append(found)
    np.testing.assert_array_equal(history.losses, np.stack(losses))
    np.testing.assert_array_equal(state.params, expected.params)
