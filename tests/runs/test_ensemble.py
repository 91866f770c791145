"""Many networks as one program: each is the network that it is alone, in whatever company."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn.data.mnist import MNIST
from jaxdnn.runs import ensemble
from jaxdnn.runs.ensemble import fit_many, train_ensemble
from jaxdnn.runtime.sharding import network_mesh
from jaxdnn.training import History, TrainState
from jaxdnn.workflows import lenet, mnist_dnn

SEEDS = [0, 7, 2, 2**31 - 1, 4]
NUMBERS = {
    "lr": [0.01, 0.1, 0.2, 0.05, 0.1],
    "momentum": [0.5, 0.0, 0.9, 0.5, 0.3],
    "weight_decay": [0.0, 0.1, 0.01, 0.0, 1e-3],
    "initial_scale": [1.0, 1.0, 0.5, 2.0, 1.1],
}
SHARED = jax.random.key(11)


@pytest.fixture(scope="module")
def few(mnist_data: MNIST) -> MNIST:
    """A last batch that is smaller."""
    return MNIST(
        mnist_data.train_images[:80],
        mnist_data.train_labels[:80],
        mnist_data.test_images[:50],
        mnist_data.test_labels[:50],
    )


def config(module: Any = mnist_dnn, **numbers: Any) -> Any:
    return module.Config(epochs=2, batch_size=32, **numbers)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal to 1e-12, relative to the largest element."""
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        tolerance = 1e-12 * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def lane(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[number]), tree)


def toy(key: Any, config: Any, data: Any, *, shuffle_key: Any = None) -> Any:
    """A run that compiles in a moment and depends on all that a run depends on."""
    start_key, own_key = jax.random.split(key)
    start = config.initial_scale * jax.random.normal(start_key, (3,))
    order = jax.random.permutation(own_key if shuffle_key is None else shuffle_key, data)

    def step(w: Any, x: Any) -> Any:
        return w - config.lr * (w - x + config.weight_decay * w), ((w - x) ** 2).mean()

    params, losses = jax.lax.scan(step, start, order)
    accuracy = 1 / (1 + losses[-1:] + config.momentum)
    return TrainState({"w": params}, ()), History(losses[None], accuracy)


POINTS = np.linspace(-1, 1, 12)


@functools.cache
def _alone(fit: Any, number: int, shared: bool, x64: bool) -> Any:
    one = config(_module(fit), **{name: values[number] for name, values in NUMBERS.items()})
    shuffle_key = SHARED if shared else None
    key = jax.random.key(SEEDS[number])
    return jax.device_get(jax.jit(fit)(key, one, DATA[fit], shuffle_key=shuffle_key))


DATA: dict[Any, Any] = {toy: POINTS}


def _module(fit: Any) -> Any:
    """Whose configuration a fit takes."""
    return lenet if fit is lenet.fit else mnist_dnn


def alone(fit: Any, number: int, *, shared: bool = False) -> Any:
    """Of one network, the state and history."""
    return _alone(fit, number, shared, jax.config.values["jax_enable_x64"])


@pytest.fixture
def digits(few: MNIST) -> Any:
    """The workflow's own run."""
    DATA[mnist_dnn.fit] = few
    return mnist_dnn.fit


def many(fit: Any, **options: Any) -> Any:
    keys = jax.vmap(jax.random.key)(jnp.array(SEEDS))
    numbers = {name: jnp.array(values) for name, values in NUMBERS.items()}
    configs = config(_module(fit), **numbers)
    return jax.jit(functools.partial(fit_many, fit, **options))(keys, configs, DATA[fit])


LAYOUTS = [(0, 1, False), (0, 5, True), (1, 2, False), (2, 1, False), (2, 1, True), (2, 2, True)]
"""Devices, networks vmapped at once, and whether all see the same batches."""


def check_each_network(
    fit: Any, devices: int, vmap_size: int, shared: bool, numbers: Iterable[int] = range(5)
) -> None:
    """Five networks, which two devices or batches of two do not hold evenly."""
    mesh = network_mesh(jax.devices()[:devices]) if devices else None
    shuffle_key = SHARED if shared else None
    results = many(fit, mesh=mesh, vmap_size=vmap_size, shuffle_key=shuffle_key)
    assert len(results[1].losses) == len(SEEDS)
    for number in numbers:
        assert_same(lane(results, number), alone(fit, number, shared=shared))


@pytest.mark.parametrize(("devices", "vmap_size", "shared"), LAYOUTS)
def test_each_network_is_the_one_that_it_is_alone(
    x64: None, devices: int, vmap_size: int, shared: bool
) -> None:
    check_each_network(toy, devices, vmap_size, shared)


@pytest.mark.slow
def test_each_network_of_the_mnist_dnn_too(x64: None, digits: Any) -> None:
    check_each_network(digits, 2, 2, shared=True, numbers=(0, 4))


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "vmap_size", "shared"), LAYOUTS)
def test_every_layout_of_the_mnist_dnn(
    x64: None, digits: Any, devices: int, vmap_size: int, shared: bool
) -> None:
    check_each_network(digits, devices, vmap_size, shared)


@pytest.mark.slow
def test_each_network_of_lenet_too(x64: None, few: MNIST) -> None:
    DATA[lenet.fit] = few
    check_each_network(lenet.fit, 2, 2, shared=False, numbers=(0, 4))


@pytest.mark.slow
def test_networks_differ(x64: None, digits: Any) -> None:
    """So that their equality says something; every number and the key has its effect."""
    plain = config()
    fit = jax.jit(digits)
    losses = [fit(jax.random.key(seed), plain, DATA[digits])[1].losses for seed in (0, 1)]
    for name, values in NUMBERS.items():
        changed = dataclasses.replace(plain, **{name: values[2]})
        losses.append(fit(jax.random.key(0), changed, DATA[digits])[1].losses)
    losses.append(fit(jax.random.key(0), plain, DATA[digits], shuffle_key=SHARED)[1].losses)
    assert len({np.asarray(array).tobytes() for array in losses}) == len(losses)


@pytest.mark.slow
def test_decay_and_scale_are_what_they_say(x64: None) -> None:
    key = jax.random.key(0)
    fresh, doubled = (mnist_dnn.init(key, config(initial_scale=s)).params for s in (1.0, 2.0))
    for one, two in zip(jax.tree.leaves(fresh), jax.tree.leaves(doubled), strict=True):
        np.testing.assert_array_equal(two, 2 * one)
    optimizer = mnist_dnn.optimizer(config(lr=0.1, momentum=0.0, weight_decay=0.5))
    grads = jax.tree.map(jnp.zeros_like, fresh)
    updates, _ = optimizer.update(grads, optimizer.init(fresh), fresh)
    for update, param in zip(jax.tree.leaves(updates), jax.tree.leaves(fresh), strict=True):
        np.testing.assert_allclose(update, -0.05 * param, rtol=1e-12)


def trained(fit: Any = toy, **options: Any) -> ensemble.Ensemble:
    configs = config(**{name: jnp.array(values) for name, values in NUMBERS.items()})
    return train_ensemble(fit, SEEDS, configs, DATA[fit], **options)


def assert_right(result: ensemble.Ensemble, fit: Any = toy, *, shared: bool = False) -> None:
    """All histories, and the best network's parameters."""
    assert result.finite.all()
    assert sum(result.chunks) == len(SEEDS)
    expected = [alone(fit, number, shared=shared) for number in range(len(SEEDS))]
    for number, (_, history) in enumerate(expected):
        assert_same(lane(result.history, number), history)
    last = [float(history.test_accuracy[-1]) for _, history in expected]
    assert result.best == int(np.argmax(last))
    assert_same(result.params, expected[result.best][0].params)


@pytest.mark.slow
def test_ensemble_of_digits(x64: None, digits: Any) -> None:
    """The workflow's own run, in two chunks on two devices."""
    result = trained(digits, chunk=4, shuffle_key=SHARED)
    assert_right(result, digits, shared=True)


@pytest.mark.parametrize(
    ("chunk", "chunks"), [(None, (5,)), (1, (1,) * 5), (2, (2, 2, 1)), (3, (2, 2, 1)), (4, (4, 1))]
)
def test_chunks_of_any_size(x64: None, chunk: int | None, chunks: tuple[int, ...]) -> None:
    counted: list[Any] = []
    result = trained(chunk=chunk, on_chunk=lambda done, new: counted.append((done, new)))
    assert_right(result)
    assert result.chunks == chunks
    assert tuple(new for _, new in counted) == chunks
    assert counted[-1][0] == len(SEEDS)


@pytest.mark.parametrize("vmap_size", [1, 2, 64])
def test_several_at_once_on_each_device(
    x64: None, vmap_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an accelerator has it."""
    monkeypatch.setattr(ensemble, "_vmap_size", lambda device: vmap_size)
    assert_right(trained(shuffle_key=SHARED), shared=True)


def test_one_batch_order_for_all(x64: None) -> None:
    assert_right(trained(shuffle_key=SHARED), shared=True)


class Compiled:
    """A compiled program that cannot hold more than so many networks."""

    def __init__(self, program: Any, most: int) -> None:
        self._program, self._most = program, most

    def __call__(self, seeds: Any, *arguments: Any) -> Any:
        if len(seeds) > self._most:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")
        return self._program(seeds, *arguments)

    def memory_analysis(self) -> Any:
        return self._program.memory_analysis()


@pytest.fixture
def memory_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many networks the device holds at a time."""

    def set_most(most: int) -> None:
        compile_ = ensemble._Trainer._compile

        def limited(*arguments: Any) -> Any:
            return Compiled(compile_(*arguments), most)

        monkeypatch.setattr(ensemble._Trainer, "_compile", limited)

    return set_most


@pytest.mark.parametrize(
    ("most", "chunk", "chunks"),
    [(4, None, (3, 2)), (2, None, (1,) * 5), (2, 4, (2, 2, 1)), (1, None, (1,) * 5)],
)
def test_out_of_memory_goes_on_with_half(
    x64: None,
    memory_for: Callable[[int], None],
    most: int,
    chunk: int | None,
    chunks: tuple[int, ...],
) -> None:
    memory_for(most)
    said: list[str] = []
    result = trained(chunk=chunk, on_shortage=said.append)
    assert_right(result)
    assert max(result.chunks) <= most
    assert said
    assert said[0].startswith("out of memory with ")
    assert f"going on with {int(said[0].split()[4]) // 2}" in said[0]


def test_not_even_one_network_fits(memory_for: Callable[[int], None]) -> None:
    memory_for(0)
    with pytest.raises(MemoryError, match="RESOURCE_EXHAUSTED"):
        trained()


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    monkeypatch.setattr(ensemble._Trainer, "_compile", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        trained()


def test_chunks_fit_into_the_memory_there_is(x64: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a failure first: what the compiler says is needed is compared with what is free."""
    configs = config(**{name: jnp.array(values) for name, values in NUMBERS.items()})
    trainer = ensemble._Trainer(toy, POINTS, None)
    layout = ensemble._Layout(2, 1, 1)
    two = np.array(SEEDS[:2], np.int32), jax.tree.map(lambda leaf: leaf[:2], configs)
    needed = trainer.compile(layout, two) * trainer._budget / ensemble._FRACTION
    monkeypatch.setattr(ensemble, "free_bytes", lambda device: 1.05 * needed)
    said: list[str] = []
    result = trained(on_shortage=said.append)
    assert_right(result)
    assert max(result.chunks) <= 2
    assert not said


def test_a_network_that_diverges_is_never_the_best() -> None:
    configs = config(lr=jnp.array([1e30, 0.05]))
    result = train_ensemble(toy, [0, 0], configs, POINTS)
    assert result.finite.tolist() == [False, True]
    assert result.best == 1
    result = train_ensemble(toy, [0, 0], config(lr=jnp.array([1e30, 1e30])), POINTS)
    assert (result.best, result.finite.any()) == (0, False)


def test_of_equal_networks_the_first_is_the_best() -> None:
    """In its chunk, and of all chunks."""
    configs = config(lr=jnp.array([0.01, 0.05, 0.05, 0.05]))
    for chunk in (None, 1, 2):
        assert train_ensemble(toy, [0, 0, 0, 0], configs, POINTS, chunk=chunk).best == 1


def test_numbers_that_are_not_one_for_each_network() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="3 networks need as many of each number"):
        fit_many(toy, keys, config(lr=jnp.array([0.1, 0.2])), POINTS)


def test_layouts() -> None:
    for left, limit, devices, most in itertools.product(
        [1, 2, 3, 7, 32, 65, 257, 10**6],
        [1, 2, 3, 5, 64, 257, 10**7],
        [1, 2, 3, 8],
        [1, 64],
    ):
        layout = ensemble._layout(left, limit, devices, most)
        assert 1 <= layout.devices <= devices
        assert 1 <= layout.vmap_size <= most
        assert layout.batches >= 1
        # What is asked for is kept to, and nearly used.
        if left >= limit:
            assert layout.networks <= limit
        if left > limit:
            chunks = -(-left // layout.networks)
            assert chunks <= 2 * -(-left // limit) + 1
        else:
            assert left <= layout.networks * (1 if left < limit else 2)
            assert layout.networks < 2 * left + devices
