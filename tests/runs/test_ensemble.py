"""Many networks as one program: each is the network that it is alone, in whatever company."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn.data.mnist import MNIST
from jaxdnn.runs import ensemble
from jaxdnn.runs.ensemble import fit_many, train_ensemble
from jaxdnn.runtime import memory
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


@functools.cache
def _alone(module: Any, lane: int, data_id: int, shared: bool) -> Any:
    one = config(module, **{name: values[lane] for name, values in NUMBERS.items()})
    shuffle_key = SHARED if shared else None
    return jax.device_get(
        jax.jit(module.fit)(
            jax.random.key(SEEDS[lane]), one, DATA[data_id], shuffle_key=shuffle_key
        )
    )


DATA: dict[int, MNIST] = {}


def alone(module: Any, lane: int, data: MNIST, *, shared: bool = False) -> Any:
    """Of one network, the state and history."""
    DATA[id(data)] = data
    return _alone(module, lane, id(data), shared)


def assert_same(actual: Any, expected: Any) -> None:
    """Equal to 1e-12, relative to the largest element."""
    for ours, theirs in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype
        tolerance = 1e-12 * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def lane(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf[number]), tree)


def many(module: Any, data: MNIST, **options: Any) -> Any:
    keys = jax.vmap(jax.random.key)(jnp.array(SEEDS))
    configs = config(module, **{name: jnp.array(values) for name, values in NUMBERS.items()})
    train = functools.partial(fit_many, module.fit, **options)
    return jax.jit(train)(keys, configs, data)


@pytest.mark.parametrize(
    ("devices", "together", "shared"),
    [(0, 1, False), (0, 5, True), (1, 2, False), (2, 1, False), (2, 1, True), (2, 2, True)],
)
def test_each_network_is_the_one_that_it_is_alone(
    x64: None, few: MNIST, devices: int, together: int, shared: bool
) -> None:
    """Five networks, which two devices or groups of two do not hold evenly."""
    mesh = network_mesh(jax.devices()[:devices]) if devices else None
    results = many(
        mnist_dnn, few, mesh=mesh, together=together, shuffle_key=SHARED if shared else None
    )
    assert len(results[1].losses) == len(SEEDS)
    for number in range(len(SEEDS)):
        assert_same(lane(results, number), alone(mnist_dnn, number, few, shared=shared))


def test_networks_differ(x64: None, few: MNIST) -> None:
    """So that equality of lanes says something."""
    losses = [alone(mnist_dnn, number, few)[1].losses for number in range(len(SEEDS))]
    shared = [alone(mnist_dnn, number, few, shared=True)[1].losses for number in range(len(SEEDS))]
    assert len({array.tobytes() for array in [*losses, *shared]}) == 2 * len(SEEDS)


def test_lenet_too(x64: None, few: MNIST) -> None:
    results = many(lenet, few, mesh=network_mesh(jax.devices()), together=2)
    for number in (0, 4):
        assert_same(lane(results, number), alone(lenet, number, few))


@pytest.mark.parametrize("name", NUMBERS)
def test_fit_vmaps_over_every_number_and_the_key(x64: None, few: MNIST, name: str) -> None:
    """The plain transformation, with the other numbers shared."""
    values = jnp.array(NUMBERS[name][1:4])

    def fit(key: jax.Array, value: jax.Array) -> Any:
        return mnist_dnn.fit(key, config(**{name: value}), few)

    keys = jax.random.split(jax.random.key(3), 3)
    together = jax.jit(jax.vmap(fit))(keys, values)
    for number in range(3):
        single = jax.jit(mnist_dnn.fit)(keys[number], config(**{name: float(values[number])}), few)
        assert_same(lane(together, number), single)
        plain = jax.jit(mnist_dnn.fit)(keys[number], config(), few)
        is_default = float(values[number]) == getattr(mnist_dnn.Config(), name)
        assert np.array_equal(plain[1].losses, single[1].losses) == is_default


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


def trained(fit: Any = toy, data: Any = POINTS, **options: Any) -> ensemble.Ensemble:
    configs = config(**{name: jnp.array(values) for name, values in NUMBERS.items()})
    return train_ensemble(fit, SEEDS, configs, data, **options)


def assert_right(
    result: ensemble.Ensemble, fit: Any = toy, data: Any = POINTS, shared: Any = None
) -> None:
    """All histories, and the best network's parameters."""
    assert result.finite.all()
    assert sum(result.chunks) == len(SEEDS)
    alone = []
    for number, seed in enumerate(SEEDS):
        one = config(**{name: values[number] for name, values in NUMBERS.items()})
        alone.append(jax.jit(fit)(jax.random.key(seed), one, data, shuffle_key=shared))
        assert_same(lane(result.history, number), alone[-1][1])
    last = [float(history.test_accuracy[-1]) for _, history in alone]
    assert result.best == int(np.argmax(last))
    assert_same(result.params, alone[result.best][0].params)


def test_ensemble_of_digits(x64: None, few: MNIST) -> None:
    """The workflow's own run, in two chunks on two devices."""
    result = trained(mnist_dnn.fit, few, chunk=4, shuffle_key=SHARED)
    assert_right(result, mnist_dnn.fit, few, shared=SHARED)


@pytest.mark.parametrize(
    ("chunk", "chunks"), [(None, (5,)), (1, (1,) * 5), (2, (2, 2, 1)), (3, (2, 2, 1)), (4, (4, 1))]
)
def test_chunks_of_any_size(x64: None, chunk: int | None, chunks: tuple[int, ...]) -> None:
    counted: list[Any] = []
    result = trained(chunk=chunk, on_network=counted.append)
    assert_right(result)
    assert result.chunks == chunks
    assert len(counted) >= len(SEEDS)


@pytest.mark.parametrize("together", [1, 2, 64])
def test_several_at_once_on_each_device(
    x64: None, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an accelerator has it."""
    monkeypatch.setattr(ensemble, "_together_on", lambda device: together)
    assert_right(trained(shuffle_key=SHARED), shared=SHARED)


def test_one_batch_order_for_all(x64: None) -> None:
    assert_right(trained(shuffle_key=SHARED), shared=SHARED)


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
    result = trained(chunk=chunk, tell=said.append)
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
    trainer = ensemble._Trainer(toy, POINTS, None, None)
    layout = ensemble._Layout(2, 1, 1)
    trainer.compile(layout, np.array(SEEDS[:2]), jax.tree.map(lambda leaf: leaf[:2], configs))
    needed = trainer.excess() * trainer._budget / ensemble._SHARE
    monkeypatch.setattr(ensemble, "free_bytes", lambda device: 1.05 * needed)
    said: list[str] = []
    result = trained(tell=said.append)
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


def test_numbers_that_are_not_one_for_each_network() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="3 networks need as many of each number"):
        fit_many(toy, keys, config(lr=jnp.array([0.1, 0.2])), POINTS)


@pytest.mark.parametrize("left", [1, 2, 3, 7, 32, 65, 257, 10**6])
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 64, 257, 10**7])
@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("together", [1, 64])
def test_layouts(left: int, limit: int, devices: int, together: int) -> None:
    layout = ensemble._layout(left, limit, devices, together)
    assert 1 <= layout.devices <= devices
    assert 1 <= layout.together <= together
    assert layout.groups >= 1
    # What is asked for is kept to, and nearly used.
    if left >= limit:
        assert layout.lanes <= limit
    if left > limit:
        chunks = -(-left // layout.lanes)
        assert chunks <= 2 * -(-left // limit) + 1
    else:
        assert left <= layout.lanes * (1 if left < limit else 2)
        assert layout.lanes < 2 * left + devices


def groups(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    2000 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MEMINFO, 2000 * 1024),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "500000\n",
                "sys/fs/cgroup/a/memory.current": "300000\n",
                "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 1000\n",
                "sys/fs/cgroup/a/b/memory.max": "max\n",
            },
            201000,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "5:cpu:/x\n4:memory:/job\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "70000\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "60000\n",
                "sys/fs/cgroup/memory/job/memory.stat": "total_inactive_file 5000\n",
            },
            15000,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "10\n",
                "sys/fs/cgroup/memory.current": "20\n",
            },
            0,
        ),
        ({}, 2**30),
    ],
)
def test_free_memory_is_what_the_strictest_leaves(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert memory.host_free_bytes(groups(tmp_path, files)) == expected


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)

    def set_limit(value: int) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (value, before[1]))

    yield set_limit
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_free_memory_minds_ulimit(limit: Callable[[int], None]) -> None:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc")
    used = int(statm.read_text().split()[0]) * 4096
    limit(used + 3 * 2**28)
    assert 0 < memory.host_free_bytes() <= 2**30


def test_memory_of_a_device_with_an_account() -> None:
    class Device:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 100, "bytes_in_use": 30}

    assert memory.free_bytes(Device()) == 70
