"""Every compiled whole run against its torch mirror's own loop: one start, the same orders.

In float64, so that a difference beyond rounding is a mistake; and every start, split and order that
is drawn from a seed is the one that torch draws.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import reference_torch.models
from jaxdnn import torch_compat
from jaxdnn.data import tabular
from jaxdnn.data.batches import shuffle
from jaxdnn.data.mnist import MNIST
from jaxdnn.training import TrainState
from jaxdnn.workflows import (
    gradient_descent,
    lenet,
    linear_regression,
    momentum_sgd,
    sum_classifier,
    tabular_dnn,
    two_layer_net,
)
from reference_torch.workflows import gradient_descent as torch_gradient_descent
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import linear_regression as torch_linear_regression
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn
from reference_torch.workflows import two_layer_net as torch_two_layer_net

KEY = jax.random.key(3)


class Ran(NamedTuple):
    """The numbers of a run: what it reports along the way, and its parameters by torch's names."""

    reports: tuple[Any, ...]
    params: dict[str, Any]


def float64(tree: Any) -> Any:
    """A tree of arrays or tensors in double precision, integers as they are."""

    def convert(leaf: Any) -> Any:
        array = leaf.detach().numpy() if torch.is_tensor(leaf) else np.asarray(leaf)
        return array.astype(np.float64) if array.dtype == np.float32 else array

    return jax.tree.map(convert, tree, is_leaf=torch.is_tensor)


def tensors(tree: Any, *, grad: bool = False) -> Any:
    converted = jax.tree.map(lambda leaf: torch.tensor(np.array(leaf)), float64(tree))
    if grad:
        jax.tree.map(lambda leaf: leaf.requires_grad_(), converted)
    return converted


def load(module: torch.nn.Module, params: Any) -> torch.nn.Module:
    return reference_torch.models.load_start(module, torch_compat.to_torch(params))


def named(module: torch.nn.Module) -> dict[str, Any]:
    return dict(module.state_dict())


def gradient_descent_layer() -> tuple[Ran, Ran]:
    params = jax.tree.map(jnp.asarray, float64(gradient_descent.layer_start(2)))
    x = jnp.array([[1.0], [2.0], [3.0]])
    train: Any = partial(gradient_descent.layer_train, steps=30)
    state, losses = jax.jit(train)(params, x, 2 * x, gradient_descent.Config())
    module = load(torch_gradient_descent.layer_start(2), params)
    their_x = tensors(x)
    theirs = torch_gradient_descent.layer_train(
        module, their_x, 2 * their_x, torch_gradient_descent.Config(), steps=30
    )
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((theirs,), named(module))


def two_layers(*, by_hand: bool, as_printed: bool) -> tuple[Ran, Ran]:
    config: dict[str, Any] = {"epochs": 20, "as_printed": as_printed}
    x, y, weights = float64(two_layer_net.data_and_start(0))
    train: Any = partial(two_layer_net.train, by_hand=by_hand)
    ours, losses = jax.jit(train)(
        jax.tree.map(jnp.asarray, weights),
        jnp.asarray(x),
        jnp.asarray(y),
        two_layer_net.Config(**config),
    )
    theirs, torch_config = tensors(weights, grad=not by_hand), torch_two_layer_net.Config(**config)
    expected = torch_two_layer_net.train(
        theirs, tensors(x), tensors(y), torch_config, by_hand=by_hand
    )
    return Ran((losses,), ours), Ran((expected,), theirs)


def momentum(*, mini_batches: bool) -> tuple[Ran, Ran]:
    config, torch_config = momentum_sgd.Config(), torch_momentum_sgd.Config()
    data = momentum_sgd.Data(*map(jnp.asarray, float64(momentum_sgd.data(420))))
    params = jax.tree.map(jnp.asarray, float64(momentum_sgd.start(420)))
    state = TrainState(params, momentum_sgd.optimizer(config).init(params))
    module = load(torch_momentum_sgd.start(420), params)
    descent = torch_momentum_sgd.optimizer(module, torch_config)
    their_data = torch_momentum_sgd.Data(*tensors(tuple(data)))
    if mini_batches:
        # From the third epoch on, rounding grows tenfold every few steps.
        orders = jnp.asarray(momentum_sgd.orders(420, 2))
        state, losses = jax.jit(momentum_sgd.train_mini_batches)(state, orders, config, data)
        expected = torch_momentum_sgd.train_mini_batches(
            module, descent, torch_momentum_sgd.orders(420, 2), torch_config, their_data
        )
    else:
        train: Any = partial(momentum_sgd.train_full_batch, steps=17)
        state, losses = jax.jit(train)(state, config, data)
        expected = torch_momentum_sgd.train_full_batch(module, descent, their_data, steps=17)
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((expected,), named(module))


def from_scratch() -> tuple[Ran, Ran]:
    """Batches of which the last is smaller."""
    settings = {"samples": 105, "batch_size": 10, "epochs": 3}
    data, weights = linear_regression.data_and_start(1, 105)
    data, weights = float64(data), float64(weights)
    orders = jnp.asarray(linear_regression.orders(1, 3, 105))
    ours, history = jax.jit(linear_regression.train)(
        jax.tree.map(jnp.asarray, weights), orders, linear_regression.Config(**settings), data
    )
    theirs = tensors(weights, grad=True)
    expected = torch_linear_regression.train(
        theirs,
        torch_linear_regression.orders(1, 3, 105),
        torch_linear_regression.Config(**settings),
        torch_linear_regression.Line(*tensors(tuple(data))),
    )
    return Ran(tuple(history), ours), Ran(tuple(expected), theirs)


def regression_layer() -> tuple[Ran, Ran]:
    settings = {"samples": 105, "batch_size": 10, "epochs": 3}
    data, params, generator = linear_regression.layer_start(1, 105)
    data, params = float64(data), jax.tree.map(jnp.asarray, float64(params))
    orders = jnp.asarray(linear_regression.layer_orders(generator, 3, 105))
    ours, history = jax.jit(linear_regression.layer_train)(
        params, orders, linear_regression.Config(**settings), data
    )
    _, module = torch_linear_regression.layer_start(1, 105)
    load(module, params)
    expected = torch_linear_regression.layer_train(
        module,
        torch_linear_regression.layer_orders(3, 105),
        torch_linear_regression.Config(**settings),
        torch_linear_regression.Line(*tensors(tuple(data))),
    )
    return Ran(tuple(history), torch_compat.to_torch(ours)), Ran(tuple(expected), named(module))


def sums() -> tuple[Ran, Ran]:
    config = sum_classifier.Config(epochs=50, samples=100)
    data, params = float64(sum_classifier.data_and_start(0, 100))
    params = jax.tree.map(jnp.asarray, params)
    start = sum_classifier.init(params, config)
    state, losses = jax.jit(sum_classifier.train)(start, config, data)
    _, module = torch_sum_classifier.data_and_start(0, 100)
    load(module, params)
    expected = torch_sum_classifier.train(
        module,
        torch_sum_classifier.Config(epochs=50),
        torch_sum_classifier.Split(*tensors(tuple(data))),
    )
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((expected,), named(module))


def table(batch_size: int | None) -> tuple[Ran, Ran]:
    settings = {"epochs": 3, "batch_size": batch_size}
    data, params, _ = float64(tabular_dnn.data_and_start(1, tabular.generate(1, rows=150)))
    params = jax.tree.map(jnp.asarray, params)
    config = tabular_dnn.Config(**settings)
    state, losses = jax.jit(tabular_dnn.train)(tabular_dnn.init(params, config), KEY, config, data)
    module = load(torch_tabular_dnn.model(8), params)
    expected = torch_tabular_dnn.train(
        module,
        orders(KEY, 105),
        torch_tabular_dnn.Config(**settings),
        torch_tabular_dnn.Split(*tensors(tuple(data))),
    )
    return Ran((losses,), torch_compat.to_torch(state.params)), Ran((expected,), named(module))


def orders(key: jax.Array, samples: int, epochs: int = 3) -> Iterator[torch.Tensor]:
    for epoch in range(epochs):
        yield torch.tensor(np.array(shuffle(jax.random.fold_in(key, epoch), samples)))


CASES: dict[str, Callable[[], tuple[Ran, Ran]]] = {
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
}


@pytest.mark.parametrize("case", CASES)
def test_whole_run_matches_torch(x64: None, case: str) -> None:
    ours, theirs = CASES[case]()
    compare(ours, theirs)


def test_whole_run_of_lenet_matches_torch(x64: None, mnist_data: MNIST) -> None:
    data = MNIST(*(array[:40] for array in mnist_data))
    torch.manual_seed(0)
    module = torch_lenet.init().double()
    tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    params = torch_compat.from_torch(tensors, jax.eval_shape(lenet.MODEL.init, KEY))
    config = lenet.Config(epochs=2, batch_size=16)
    start = TrainState(params, lenet.optimizer(config).init(params))
    state, history = jax.jit(lenet.train)(start, KEY, config, data)
    expected = torch_lenet.train(
        module, orders(KEY, 40, 2), torch_lenet.Config(batch_size=16), data
    )
    assert history.losses.shape == (2, 3)
    compare(Ran(tuple(history), torch_compat.to_torch(state.params)), Ran(expected, named(module)))


def compare(ours: Ran, theirs: Ran) -> None:
    """Reports and parameters are equal to 1e-12, relative to the largest of each."""
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
    assert array.dtype == np.asarray(actual).dtype
    assert array.shape == np.shape(actual)
    np.testing.assert_allclose(actual, array, rtol=0, atol=1e-12 * np.abs(array).max())


def flat(tree: Any) -> list[np.ndarray]:
    leaves = jax.tree.leaves(tree, is_leaf=torch.is_tensor)
    return [leaf.numpy() if torch.is_tensor(leaf) else np.asarray(leaf) for leaf in leaves]


def seeded(seed: int) -> dict[str, tuple[Any, Any]]:
    """What each workflow draws from a seed, beside what its mirror draws."""
    generated = tabular.generate(seed, rows=50)
    torch_table = torch.tensor(generated.features), torch.tensor(generated.labels)
    line, params, generator = linear_regression.layer_start(seed, 60)
    torch_line, layer = torch_linear_regression.layer_start(seed, 60)
    layer_orders = linear_regression.layer_orders(generator, 2, 60)
    torch_layer_orders = list(torch_linear_regression.layer_orders(2, 60))
    sum_data, sum_params = sum_classifier.data_and_start(seed, 50)
    torch_sum_data, sum_module = torch_sum_classifier.data_and_start(seed, 50)
    table_data, table_params, _ = tabular_dnn.data_and_start(seed, generated)
    torch_table_data, table_module = torch_tabular_dnn.data_and_start(seed, *torch_table)
    return {
        "gradient-descent": (
            torch_compat.to_torch(gradient_descent.layer_start(seed)),
            named(torch_gradient_descent.layer_start(seed)),
        ),
        "two-layer-net": (
            two_layer_net.data_and_start(seed),
            torch_two_layer_net.data_and_start(seed),
        ),
        "momentum-sgd data": (tuple(momentum_sgd.data(seed)), torch_momentum_sgd.data(seed)),
        "momentum-sgd start": (
            torch_compat.to_torch(momentum_sgd.start(seed)),
            named(torch_momentum_sgd.start(seed)),
        ),
        "momentum-sgd orders": (
            list(momentum_sgd.orders(seed, 3)),
            list(torch_momentum_sgd.orders(seed, 3)),
        ),
        "linear-regression start": (
            linear_regression.data_and_start(seed, 60)[1],
            torch_linear_regression.data_and_start(seed, 60)[1],
        ),
        "linear-regression orders": (
            list(linear_regression.orders(seed, 2, 60)),
            list(torch_linear_regression.orders(seed, 2, 60)),
        ),
        "linear-regression features": (line.features, torch_line.features),
        "linear-regression layer": (torch_compat.to_torch(params), named(layer)),
        "linear-regression layer orders": (list(layer_orders), torch_layer_orders),
        "sum-classifier data": (tuple(sum_data), tuple(torch_sum_data)),
        "sum-classifier start": (torch_compat.to_torch(sum_params), named(sum_module)),
        "tabular-dnn data": (tuple(table_data), tuple(torch_table_data)),
        "tabular-dnn start": (torch_compat.to_torch(table_params), named(table_module)),
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
