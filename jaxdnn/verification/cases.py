"""Every workflow that trains, in JAX and in torch, from the same parameters on the same batches.

A row of the table `CASES` is one document's section; `sides` has what the rows are made of.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdnn import torch_compat
from jaxdnn.data import tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity.port import Port, State
from jaxdnn.training import StepInfo
from jaxdnn.verification.sides import (
    Batch,
    Case,
    TorchSide,
    bare,
    bare_torch,
    named,
    named_in_place,
    network,
    network_torch,
    outputs,
    reference_module,
)
from jaxdnn.workflows import (
    autograd,
    gradient_descent,
    lenet,
    linear_regression,
    mnist_dnn,
    momentum_sgd,
    sum_classifier,
    tabular_dnn,
    two_layer_net,
)

__all__ = ["CASES", "EPOCH", "TITLES"]

EPOCH = 938
"""Batches of 64 in an epoch of MNIST."""

_POINTS = np.array([1, 2, 3], np.float32)
_ROWS = np.array([[0, 0, 1], [1, 1, 1], [4, 2, 1]], np.float32)
_COEFFICIENTS = np.array([2, 3, 4], np.float32)


def _by_hand() -> Case:
    lr = gradient_descent.Config().lr

    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.gradient_descent")
        step = functools.partial(reference.step_by_hand, lr=reference.Config().lr)
        batches = [()] * min(10, steps)
        return bare_torch({"w": 0.0}, batches, named_in_place(step), tracked=False)

    step = functools.partial(gradient_descent.step_by_hand, lr=lr)
    return Case("gradient-descent", lambda: bare(named(step)), torch)


def _descent(loss: str, initial: Any, batch: Batch, length: int) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.gradient_descent")
        lr = reference.Config().lr

        def step(w: Any, *batch: Any) -> Any:
            return reference.step(getattr(reference, loss), w, *batch, lr=lr)

        return bare_torch({"w": initial}, [batch] * min(length, steps), named_in_place(step))

    def step(w: Any, *batch: Any) -> Any:
        lr = gradient_descent.Config().lr
        return gradient_descent.step(getattr(gradient_descent, loss), w, *batch, lr=lr)

    return Case("gradient-descent", lambda: bare(named(step)), torch)


def _layer() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.gradient_descent")
        models = reference_module("models")
        return network_torch(
            torch_compat.to_torch(gradient_descent.layer_init(2)),
            [(_POINTS[:, None], 2 * _POINTS[:, None])] * min(30, steps),
            lambda: models.linear(1, 1, bias=False),
            outputs(reference.layer_criterion),
            lambda module: reference.layer_optimizer(module, reference.Config()),
        )

    optimizer = gradient_descent.layer_optimizer(gradient_descent.Config())
    return Case("gradient-descent", lambda: network(gradient_descent.layer_loss, optimizer), torch)


def _two_layer(*, as_printed: bool | None) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.two_layer_net")
        x, y, initial = two_layer_net.data_and_params(0)
        lr = reference.Config().lr
        if as_printed is None:
            step = functools.partial(reference.step, lr=lr)
        else:
            step = functools.partial(reference.step_by_hand, lr=lr, as_printed=as_printed)
        tracked = as_printed is None
        return bare_torch(initial, [(x, y)] * min(20, steps), step, tracked=tracked)

    def port() -> Port:
        lr = two_layer_net.Config().lr
        if as_printed is None:
            return bare(functools.partial(two_layer_net.step, lr=lr))
        return bare(functools.partial(two_layer_net.step_by_hand, lr=lr, as_printed=as_printed))

    return Case("two-layer-net", port, torch)


def _sequential() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = reference_module("workflows.two_layer_net"), reference_module("models")
        x, y, weights = two_layer_net.data_and_params(0)
        initial = {
            "net.0.weight": weights["w1"].T,
            "net.0.bias": np.zeros(100, np.float32),
            "net.2.weight": weights["w2"].T,
            "net.2.bias": np.zeros(10, np.float32),
        }
        sgd = reference_module("optim").torch.optim.SGD
        return network_torch(
            initial,
            [(x, y)] * min(20, steps),
            lambda: models.mlp((1000, 100, 10)),
            outputs(reference.sequential_criterion),
            lambda module: sgd(module.parameters(), lr=reference.Config().lr),
        )

    optimizer = optax.sgd(two_layer_net.Config().lr)
    return Case("two-layer-net", lambda: network(two_layer_net.sequential_loss, optimizer), torch)


def _momentum(*, full_batch: bool) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.momentum_sgd")
        samples = momentum_sgd.data(torch_compat.Generator(420))
        inputs, labels = np.array(samples.inputs), np.array(samples.labels)
        if full_batch:
            batches = [(inputs, labels)] * min(17 + 55, steps)  # as many as the document runs
        else:
            generator = torch_compat.Generator(420)
            indices = momentum_sgd.batches(generator, momentum_sgd.Config())[:steps]
            batches = [(inputs[i], labels[i]) for i in indices]
        return network_torch(
            torch_compat.to_torch(momentum_sgd.init(torch_compat.Generator(420))),
            batches,
            reference.ThreeLayer,
            outputs(reference.criterion),
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = momentum_sgd.optimizer(momentum_sgd.Config())
    return Case("momentum-sgd", lambda: network(momentum_sgd.loss, optimizer), torch)


def _plane() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.linear_regression")
        samples, initial = linear_regression.data_and_params(0, 1000)
        indices = linear_regression.permutations(0, 3, 1000).reshape(-1, 10)[:steps]
        batches = [(samples.features[i], samples.labels[i]) for i in indices]
        step = functools.partial(reference.step, lr=reference.Config().lr)
        return bare_torch(initial, batches, step)

    lr = linear_regression.Config().lr
    step = functools.partial(linear_regression.step, lr=lr)
    return Case("linear-regression", lambda: bare(step), torch)


def _plane_by_layer() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.linear_regression")
        models = reference_module("models")
        samples, params, generator = linear_regression.layer_data_and_params(0, 1000)
        permutations = linear_regression.layer_permutations(generator, 3, 1000)
        indices = permutations.reshape(-1, 10)[:steps]
        return network_torch(
            torch_compat.to_torch(params),
            [(samples.features[i], samples.labels[i]) for i in indices],
            lambda: models.mlp((2, 1)),
            outputs(reference.layer_criterion),
            lambda module: reference.layer_optimizer(module, reference.Config()),
        )

    optimizer = linear_regression.layer_optimizer(linear_regression.Config())
    return Case(
        "linear-regression", lambda: network(linear_regression.layer_loss, optimizer), torch
    )


def _sums() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.sum_classifier")
        samples, params = sum_classifier.data_and_params(0, 10_000)
        return network_torch(
            torch_compat.to_torch(params),
            [(samples.train_features, samples.train_labels)] * min(1000, steps),
            reference.DNN,
            outputs(reference.criterion),
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = sum_classifier.optimizer(sum_classifier.Config())
    return Case("sum-classifier", lambda: network(sum_classifier.loss, optimizer), torch)


def _table(batch_size: int | None) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = reference_module("workflows.tabular_dnn")
        seed = 1  # the workflow's own
        samples, params, _ = tabular_dnn.data_and_params(seed, tabular.generate(seed))
        rows = samples.train_features, samples.train_labels
        steps = min(1000, steps)
        batches: list[Batch] = [rows] * steps
        if batch_size is not None:
            generators = map(torch_compat.Generator, range(200))
            permutations = (generator.randperm(len(rows[0])) for generator in generators)
            indices = itertools.islice(_split(permutations, batch_size), steps)
            batches = [tuple(array[i] for array in rows) for i in indices]
        return network_torch(
            torch_compat.to_torch(params),
            batches,
            lambda: reference.network(8),
            outputs(reference.criterion),
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = tabular_dnn.optimizer(tabular_dnn.Config())
    return Case("tabular-dnn", lambda: network(tabular_dnn.loss, optimizer), torch)


def _digits(workflow: str, module: Any) -> Case:
    def torch_side(data: MNIST | None, steps: int) -> TorchSide:
        assert data is not None
        reference = reference_module(f"workflows.{module.__name__.rpartition('.')[2]}")
        config = module.Config()
        draws = reference_module("parity.training_run").initial_draws(reference.init, seed=0)
        generators = map(np.random.default_rng, itertools.count())
        permutations = (generator.permutation(60_000) for generator in generators)
        count = min(1000, config.epochs * EPOCH, steps)
        indices = itertools.islice(_split(permutations, 64), count)
        return network_torch(
            next(draws),
            [(data.train_images[i], data.train_labels[i]) for i in indices],
            reference.init,
            lambda model, x, y: reference.criterion(reference.predict(model, x), y.long()),
            lambda network: reference.optimizer(network, reference.Config()),
        )

    optimizer = module.optimizer(module.Config())
    return Case(workflow, lambda: network(module.loss, optimizer), torch_side, needs_mnist=True)


def _split(permutations: Any, batch_size: int) -> Iterator[np.ndarray]:
    """One batch of indices after the other; the last of an epoch may be shorter."""
    for permutation in permutations:
        yield from np.split(permutation, range(batch_size, len(permutation), batch_size))


def _derivatives() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        numbers = np.random.default_rng(0)
        batches = [
            (
                numbers.uniform(-2, 2, (2, 3)).astype(np.float32),
                numbers.uniform(0.1, 0.9, 3).astype(np.float32),
            )
            for _ in range(min(64, steps))
        ]
        return TorchSide({}, batches, reference_module("parity.workflow_steps").DerivativeStepper)

    def port() -> Port:
        return Port(None, None, optax.identity(), from_torch=dict, step=_differentiate)

    return Case("autograd", port, torch)


def _differentiate(
    state: State, batch: tuple[jax.Array, ...]
) -> tuple[State, StepInfo, Mapping[str, jax.Array]]:
    """The functions and derivatives of `jaxdnn.workflows.autograd` at one point."""
    x, y = batch
    point, w, b = y
    values = {
        "power": autograd.power(point),
        "power_gradient": autograd.power_gradient(point),
        "sigmoid_cross_entropy": autograd.sigmoid_cross_entropy(point, w),
        "sigmoid_cross_entropy_gradient": autograd.sigmoid_cross_entropy_gradient(point, w),
        "mean_of_squares_gradient": autograd.mean_of_squares_gradient(x),
        "untracked": autograd.untracked(y),
        "untracked_gradient": autograd.untracked_gradient(y),
        "line": autograd.line(point, w, b),
        "line_gradients": jnp.stack(autograd.line_gradients(point, w, b)),
        "doubled": autograd.doubled(y, 100.0)[0],
        "vector_function": autograd.vector_function(y),
        **autograd.jacobian_products(autograd.vector_function, y, y[:2], y)._asdict(),
    }
    observed = {f"activation/{name}": value for name, value in values.items()}
    return state, StepInfo(autograd.mean_of_squares(x), {}), observed


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "W25": _digits("lenet", lenet),
        "W29": _digits("mnist-dnn", mnist_dnn),
        "W26": _sums(),
        "W27": _table(None),
        "W28": _table(128),
        "W01-W06": _derivatives(),
        "W07": _by_hand(),
        "W08": _descent("parabola", 1.0, (), 10),
        "W09": _descent("quadratic_loss", [1, 1, 1], (_ROWS, _ROWS @ _COEFFICIENTS), 400),
        "W10": _descent("one_weight_loss", 0.0, (_POINTS, 2 * _POINTS), 20),
        "W11": _layer(),
        "W13 printed": _two_layer(as_printed=True),
        "W13 meant": _two_layer(as_printed=False),
        "W14": _two_layer(as_printed=None),
        "W15": _sequential(),
        "W16 W19 W20": _momentum(full_batch=True),
        "W20 batches": _momentum(full_batch=False),
        "W23": _plane(),
        "W24": _plane_by_layer(),
    }
)
"""The rows by name: the document's sections."""

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "W25": "mini-batches of 64",
        "W29": "mini-batches of 64",
        "W26": "full batch",
        "W27": "Adam, full batch",
        "W28": "Adam, batches of 128",
        "W01-W06": "every derivative",
        "W07": "the derivative by hand",
        "W08": "parabola by autodiff",
        "W09": "parabola through points",
        "W10": "one weight fitted",
        "W11": "one weight as a layer",
        "W13 printed": "by hand, as printed",
        "W13 meant": "by hand, as meant",
        "W14": "by autodiff",
        "W15": "as a module",
        "W16 W19 W20": "momentum, full batch",
        "W20 batches": "momentum, mini-batches",
        "W21 W22": "draws, shuffles, splits",
        "W23": "from scratch",
        "W24": "as a layer under SGD",
    }
)
"""What each row compares, for people; and so for the numbers that are drawn, which have no case."""
