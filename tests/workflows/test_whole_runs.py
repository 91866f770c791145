"""Whole runs against their torch mirrors' own loops: the same parameters, the same batches.

In float64, so that a difference beyond rounding is a mistake; and every draw from a seed is the one
that torch makes.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset

import reference_torch.models
from jaxdnn import torch_compat
from jaxdnn.data import tabular
from jaxdnn.data.batches import shuffle
from jaxdnn.data.mnist import MNIST
from jaxdnn.data.synthetic import Noise
from jaxdnn.torch_compat import Generator
from jaxdnn.training import TrainState
from jaxdnn.workflows import (
    gradient_descent,
    lenet,
    linear_regression,
    mnist_dnn,
    momentum_sgd,
    sum_classifier,
    tabular_dnn,
    two_layer_net,
)
from reference_torch import training as torch_training
from reference_torch.data import synthetic as torch_synthetic
from reference_torch.workflows import gradient_descent as torch_gradient_descent
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import linear_regression as torch_linear_regression
from reference_torch.workflows import mnist_dnn as torch_mnist_dnn
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn
from reference_torch.workflows import two_layer_net as torch_two_layer_net

KEY = jax.random.key(3)


class Ran(NamedTuple):
    """A finished run: what it reports along the way, and its parameters by torch's names."""

    reports: tuple[Any, ...]
    params: dict[str, Any]


def float64(tree: Any) -> Any:
    """A tree of arrays or tensors in double precision, integers as they are."""

    def convert(leaf: Any) -> Any:
        array = leaf.detach().numpy() if torch.is_tensor(leaf) else np.asarray(leaf)
        return array.astype(np.float64) if array.dtype == np.float32 else array

    return jax.tree.map(convert, tree, is_leaf=torch.is_tensor)


def arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, float64(tree))


def tensors(tree: Any, *, grad: bool = False) -> Any:
    converted = jax.tree.map(lambda leaf: torch.tensor(np.array(leaf)), float64(tree))
    if grad:
        jax.tree.map(lambda leaf: leaf.requires_grad_(), converted)
    return converted


def load(module: torch.nn.Module, params: Any) -> torch.nn.Module:
    return reference_torch.models.load_params(module, torch_compat.to_torch(params))


def named(module: torch.nn.Module) -> dict[str, Any]:
    return dict(module.state_dict())


class Shuffles(Sampler[int]):
    """The samples of a JAX run in its order, epoch by epoch."""

    def __init__(self, key: jax.Array, samples: int, epochs: int) -> None:
        permutations = [shuffle(jax.random.fold_in(key, i), samples) for i in range(epochs)]
        self.permutations, self.samples = iter(permutations), samples

    def __iter__(self) -> Iterator[int]:
        return iter(next(self.permutations).tolist())

    def __len__(self) -> int:
        return self.samples


def gradient_descent_layer() -> tuple[Ran, Ran]:
    params = arrays(gradient_descent.layer_init(2))
    x = jnp.array([[1.0], [2.0], [3.0]])
    train: Any = partial(gradient_descent.layer_train, steps=30)
    state, losses = jax.jit(train)(params, x, 2 * x, gradient_descent.Config())
    module = load(torch_gradient_descent.layer_init(2), params)
    their_x = tensors(x)
    theirs = torch_gradient_descent.layer_train(
        module, their_x, 2 * their_x, torch_gradient_descent.Config(), steps=30
    )
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((theirs,), named(module))


def two_layers(*, by_hand: bool, as_printed: bool) -> tuple[Ran, Ran]:
    config: dict[str, Any] = {"epochs": 20, "as_printed": as_printed}
    x, y, weights = float64(two_layer_net.data_and_params(0))
    train: Any = partial(two_layer_net.train, by_hand=by_hand)
    ours, losses = jax.jit(train)(*arrays((weights, x, y)), two_layer_net.Config(**config))
    theirs, torch_config = tensors(weights, grad=not by_hand), torch_two_layer_net.Config(**config)
    expected = torch_two_layer_net.train(
        theirs, tensors(x), tensors(y), torch_config, by_hand=by_hand
    )
    return Ran((losses,), ours), Ran((expected,), theirs)


def momentum(*, mini_batches: bool) -> tuple[Ran, Ran]:
    # From the third epoch on, rounding grows tenfold every few steps.
    config, torch_config = momentum_sgd.Config(epochs=2), torch_momentum_sgd.Config(epochs=2)
    data = Noise(*arrays(momentum_sgd.data(Generator(420))))
    params = arrays(momentum_sgd.init(Generator(420)))
    state = TrainState(params, momentum_sgd.optimizer(config).init(params))
    module = load(torch_momentum_sgd.init(420), params)
    optimizer = torch_momentum_sgd.optimizer(module, torch_config)
    inputs, labels = tensors(tuple(data))
    their_data = torch_synthetic.Noise(inputs, labels.long())
    if mini_batches:
        batches = jnp.asarray(momentum_sgd.batches(Generator(420), config))
        state, losses = jax.jit(momentum_sgd.train_mini_batches)(state, batches, config, data)
        torch.manual_seed(420)
        loader = torch_momentum_sgd.batches(their_data, torch_config)
        expected = torch_momentum_sgd.train_mini_batches(module, optimizer, loader, torch_config)
    else:
        train: Any = partial(momentum_sgd.train_full_batch, steps=17)
        state, losses = jax.jit(train)(state, config, data)
        expected = torch_momentum_sgd.train_full_batch(module, optimizer, their_data, steps=17)
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((expected,), named(module))


REGRESSION = {"samples": 105, "batch_size": 10, "epochs": 3}  # the last batch is smaller


def from_scratch() -> tuple[Ran, Ran]:
    data, weights = float64(linear_regression.data_and_params(1, 105))
    permutations = jnp.asarray(linear_regression.permutations(1, 3, 105))
    train = jax.jit(partial(linear_regression.train, linear_regression.mean_loss))
    config = linear_regression.Config(**REGRESSION)
    ours, history = train(arrays(weights), permutations, config, data)
    theirs = tensors(weights, grad=True)
    expected = torch_linear_regression.train(
        theirs,
        torch_linear_regression.permutations(1, 3, 105),
        torch_linear_regression.Config(**REGRESSION),
        torch_linear_regression.Line(*tensors(tuple(data))),
    )
    return Ran(tuple(history), ours), Ran(tuple(expected), theirs)


def regression_layer() -> tuple[Ran, Ran]:
    data, params, generator = linear_regression.layer_data_and_params(1, 105)
    data, params = float64(data), arrays(params)
    permutations = jnp.asarray(linear_regression.layer_permutations(generator, 3, 105))
    train = jax.jit(partial(linear_regression.train, linear_regression.layer_loss))
    ours, history = train(params, permutations, linear_regression.Config(**REGRESSION), data)
    _, module = torch_linear_regression.layer_data_and_params(1, 105)
    load(module, params)
    torch_config = torch_linear_regression.Config(**REGRESSION)
    their_data = torch_linear_regression.Line(*tensors(tuple(data)))
    batches = torch_linear_regression.layer_batches(their_data, torch_config)
    expected = torch_linear_regression.layer_train(module, batches, torch_config, their_data)
    return Ran(tuple(history), torch_compat.to_torch(ours)), Ran(tuple(expected), named(module))


def sums() -> tuple[Ran, Ran]:
    settings: dict[str, Any] = {"epochs": 50, "samples": 100}
    data, _ = float64(sum_classifier.data_and_params(0, 100))
    state, history = jax.jit(sum_classifier.fit)(KEY, sum_classifier.Config(**settings), data)
    module = load(torch_sum_classifier.DNN(), sum_classifier.MODEL.init(KEY))
    torch_config = torch_sum_classifier.Config(**settings)
    expected = torch_training.fit(
        module,
        torch_sum_classifier.criterion,
        torch_sum_classifier.optimizer(module, torch_config),
        [tensors((data.train_features, data.train_labels))],
        epochs=50,
    )
    return classified(state, history, module, expected)


def table(batch_size: int | None) -> tuple[Ran, Ran]:
    settings: dict[str, Any] = {"epochs": 3, "batch_size": batch_size}
    data, _, _ = float64(tabular_dnn.data_and_params(1, tabular.generate(1, rows=150)))
    state, history = jax.jit(tabular_dnn.fit)(KEY, tabular_dnn.Config(**settings), data)
    shuffle_key, init_key = jax.random.split(KEY)
    module = load(torch_tabular_dnn.network(8), tabular_dnn.network(8).init(init_key))
    rows = tensors((data.train_features, data.train_labels))
    sampler = Shuffles(shuffle_key, 105, 3)
    expected = torch_training.fit(
        module,
        torch_tabular_dnn.criterion,
        torch_tabular_dnn.optimizer(module, torch_tabular_dnn.Config(**settings)),
        [rows] if batch_size is None else DataLoader(TensorDataset(*rows), 32, sampler=sampler),
        epochs=3,
    )
    return classified(state, history, module, expected)


def digits(ours: Any, theirs: Any, transform: Callable[..., torch.Tensor]) -> tuple[Ran, Ran]:
    """Of 40 images in batches of 16: the last batch of an epoch is smaller."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = numbers.integers(0, 10, 40, dtype=np.uint8)
    data = MNIST(images, labels, images[:30], labels[:30])
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16, "weight_decay": 0.1}
    config, torch_config = ours.Config(**settings), theirs.Config(**settings)
    state, history = jax.jit(ours.fit)(KEY, config, data)
    assert history.losses.shape == (2, 3)
    shuffle_key, init_key = jax.random.split(KEY)
    module = load(theirs.init(), ours.init(init_key, config).params)
    loader, test_loader = torch_mnist_dnn.batches(
        data,
        torch_config,
        transform=partial(transform, dtype=torch.float64),
        sampler=Shuffles(shuffle_key, 40, 2),
    )
    expected = torch_training.fit(
        module,
        theirs.criterion,
        theirs.optimizer(module, torch_config),
        loader,
        epochs=2,
        evaluate=lambda: torch_training.accuracy(module, test_loader),
    )
    return classified(state, history, module, expected)


def classified(state: Any, history: Any, module: torch.nn.Module, expected: Any) -> tuple[Ran, Ran]:
    ours = tuple(report for report in history if report is not None)
    theirs = tuple(report for report in expected if report is not None)
    return Ran(ours, torch_compat.to_torch(state.params)), Ran(theirs, named(module))


RUNS: dict[str, Callable[[], tuple[Ran, Ran]]] = {
    "gradient-descent, layer": gradient_descent_layer,
    "two-layer-net, as printed": partial(two_layers, by_hand=True, as_printed=True),
    "two-layer-net, masked": partial(two_layers, by_hand=True, as_printed=False),
    "two-layer-net, automatic": partial(two_layers, by_hand=False, as_printed=True),
    "momentum-sgd, full batch": partial(momentum, mini_batches=False),
    "momentum-sgd, mini-batches": partial(momentum, mini_batches=True),
    "linear-regression, from scratch": from_scratch,
    "linear-regression, layer": regression_layer,
    "sum-classifier": sums,
    "tabular-dnn": partial(table, None),
    "tabular-dnn, mini-batches": partial(table, 32),
    "mnist-dnn": partial(digits, mnist_dnn, torch_mnist_dnn, torch_mnist_dnn.normalise),
    "lenet": partial(digits, lenet, torch_lenet, torch_lenet.pad),
}


SLOW = {"tabular-dnn, mini-batches", "tabular-dnn", "lenet"}


@pytest.mark.parametrize(
    "run", [pytest.param(run, marks=pytest.mark.slow) if run in SLOW else run for run in RUNS]
)
def test_whole_run_is_torchs(x64: None, run: str) -> None:
    """Reports and parameters are equal to 1e-12, relative to the largest of each."""
    ours, theirs = RUNS[run]()
    for actual, expected in zip(ours.reports, theirs.reports, strict=True):
        close(actual, expected)
    assert ours.params.keys() == theirs.params.keys()
    for name, expected in theirs.params.items():
        close(ours.params[name], expected)
    # So that these are not two dead runs that agree.
    losses = np.ravel(ours.reports[0])
    assert losses.min() < losses[0]


def close(actual: Any, expected: torch.Tensor) -> None:
    array = expected.detach().numpy()
    assert np.asarray(actual).dtype == array.dtype
    assert array.shape == np.shape(actual)
    tolerance = 1e-12 if array.dtype == np.float64 else 1e-7  # an accuracy, of some tens of images
    np.testing.assert_allclose(actual, array, rtol=0, atol=tolerance * np.abs(array).max())


def flat(tree: Any) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree, is_leaf=torch.is_tensor)
    return [leaf.detach().numpy() if torch.is_tensor(leaf) else np.asarray(leaf) for leaf in leaves]


def seeded(seed: int) -> dict[str, tuple[Any, Any]]:
    """What each workflow draws from a seed, beside what its mirror draws."""
    generated = tabular.generate(seed, rows=50)
    torch_table = torch.tensor(generated.features), torch.tensor(generated.labels)
    line, params, generator = linear_regression.layer_data_and_params(seed, 60)
    permutations = linear_regression.layer_permutations(generator, 2, 60)
    torch_line, layer = torch_linear_regression.layer_data_and_params(seed, 60)
    numbered = torch_linear_regression.Line(torch.arange(60), torch.arange(60))
    loader = torch_linear_regression.layer_batches(
        numbered, torch_linear_regression.Config(batch_size=60)
    )
    torch_permutations = [next(iter(loader))[0] for _ in range(2)]
    sum_data, sum_params = sum_classifier.data_and_params(seed, 50)
    torch_sum_data, sum_module = torch_sum_classifier.data_and_params(seed, 50)
    table_data, table_params, _ = tabular_dnn.data_and_params(seed, generated)
    torch_table_data, table_module = torch_tabular_dnn.data_and_params(seed, *torch_table)
    return {
        "gradient-descent": (
            torch_compat.to_torch(gradient_descent.layer_init(seed)),
            named(torch_gradient_descent.layer_init(seed)),
        ),
        "two-layer-net": (
            two_layer_net.data_and_params(seed),
            torch_two_layer_net.data_and_params(seed),
        ),
        "momentum-sgd data": (
            tuple(momentum_sgd.data(Generator(seed))),
            torch_momentum_sgd.data(seed),
        ),
        "momentum-sgd": (
            torch_compat.to_torch(momentum_sgd.init(Generator(seed))),
            named(torch_momentum_sgd.init(seed)),
        ),
        "linear-regression": (
            linear_regression.data_and_params(seed, 60)[1],
            torch_linear_regression.data_and_params(seed, 60)[1],
        ),
        "linear-regression permutations": (
            list(linear_regression.permutations(seed, 2, 60)),
            torch_linear_regression.permutations(seed, 2, 60),
        ),
        "linear-regression features": (line.features, torch_line.features),
        "linear-regression layer": (torch_compat.to_torch(params), named(layer)),
        "linear-regression layer permutations": (list(permutations), torch_permutations),
        "sum-classifier data": (tuple(sum_data), tuple(torch_sum_data)),
        "sum-classifier": (torch_compat.to_torch(sum_params), named(sum_module)),
        "tabular-dnn data": (tuple(table_data), tuple(torch_table_data)),
        "tabular-dnn": (torch_compat.to_torch(table_params), named(table_module)),
    }


@pytest.mark.parametrize("seed", [0, 1, 420])
def test_what_a_seed_decides_is_what_it_decides_in_torch(seed: int) -> None:
    """Bit for bit, where torch runs AVX2 code; elsewhere but for the last digits."""
    fuses = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    for name, (ours, theirs) in seeded(seed).items():
        if isinstance(theirs, dict):
            assert ours.keys() == theirs.keys()
        for actual, expected in zip(flat(ours), flat(theirs), strict=True):
            assert actual.shape == expected.shape
            assert actual.dtype.kind == expected.dtype.kind
            if fuses or actual.dtype.kind == "i":
                np.testing.assert_array_equal(actual, expected, err_msg=name)
            else:
                np.testing.assert_allclose(actual, expected, atol=2e-6, err_msg=name)


def test_torchs_own_runs_are_decided_by_a_seed_and_learn() -> None:
    """`fit` of the torch side, which the runs above take apart."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    labels = numbers.integers(0, 10, 40, dtype=np.uint8)
    few = images, labels, images, labels
    rows = tabular.generate(1, rows=60)
    table = torch_tabular_dnn.data_and_params(0, *map(torch.tensor, rows[:2]))[0]
    mini_batches = torch_tabular_dnn.Config(epochs=5, batch_size=16, lr=0.05)
    fits: list[Callable[[int], Any]] = [
        lambda seed: torch_mnist_dnn.fit(seed, torch_mnist_dnn.Config(epochs=4, lr=0.1), few),
        lambda seed: torch_lenet.fit(seed, torch_lenet.Config(epochs=4, lr=0.1), few),
        lambda seed: torch_tabular_dnn.fit(seed, mini_batches, table),
        lambda seed: torch_tabular_dnn.fit(seed, torch_tabular_dnn.Config(epochs=5), table),
    ]
    for fit in fits:
        (_, first), (_, again), (_, other) = (fit(seed) for seed in (0, 0, 1))
        assert torch.equal(first.losses, again.losses)
        assert not torch.equal(first.losses, other.losses)
        assert first.losses[-1].mean() < first.losses[0].mean()
