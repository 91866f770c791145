"""The rows of the tutorials that train, each in JAX and in torch, from one start on one data."""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdnn import models, torch_compat
from jaxdnn.data import tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity.port import Arrays, PortState, Seen, Steps
from jaxdnn.training import TrainState, train_step
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

__all__ = ["CASES", "Case", "TorchSide", "network"]

Batch = tuple[np.ndarray, ...]


class TorchSide(NamedTuple):
    """A row in torch.

    Attributes:
      start: the parameters by torch name, in float32.
      batches: what it trains on.
      stepper: makes what trains, a `reference_torch.parity.trajectory.Stepper`.
      optimizer: the class of its optimiser, or None.
    """

    start: Arrays
    batches: Sequence[Batch]
    stepper: Callable[[], Any]
    optimizer: str | None = None


class Case(NamedTuple):
    """A row in both frameworks.

    Attributes:
      workflow: its id.
      run: its steps in JAX.
      torch: ``torch(data, steps)``, with at most so many batches; ``data`` is MNIST or None.
      needs_mnist: whether it needs MNIST.
    """

    workflow: str
    run: Callable[[], Steps]
    torch: Callable[[MNIST | None, int], TorchSide]
    needs_mnist: bool = False


def _reference(name: str) -> Any:
    return importlib.import_module(f"reference_torch.{name}")


# How a row is written in JAX.


def _bare(step: Callable[..., Any]) -> Steps:
    """From scratch: ``step(params, *batch) -> (params, info)``."""

    def steps(state: PortState, *batch: Any) -> tuple[PortState, Seen]:
        params, info = step(state.params, *batch)
        return state._replace(params=params), Seen(info.loss, info.grads)

    def from_torch(tensors: Arrays) -> models.Params:
        return jax.device_put(dict(tensors))

    return Steps(steps, lambda params: (), from_torch)


def network(loss: Callable[..., Any], optimizer: optax.GradientTransformation) -> Steps:
    """A module under an optimiser, as a training run.

    Args:
      loss: ``loss(params, *batch) -> scalar``.
      optimizer: any optax transformation.
    """

    def steps(state: PortState, *batch: Any) -> tuple[PortState, Seen]:
        before = TrainState(state.params, state.opt_state)
        after, info = train_step(loss, optimizer, before, batch)
        return PortState(after.params, after.opt_state, {}), Seen(info.loss, info.grads)

    return Steps(steps, optimizer.init, torch_compat.from_torch)


def _named(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of one array, as a step of ``{"w": array}``."""

    def named(params: Mapping[str, Any], *batch: Any) -> Any:
        w, info = step(params["w"], *batch)
        return {"w": w}, info._replace(grads={"w": info.grads})

    return named


def _named_in_place(step: Callable[..., Any]) -> Callable[..., Any]:
    def named(params: Mapping[str, Any], *batch: Any) -> Any:
        info = step(params["w"], *batch)
        return info._replace(grads={"w": info.grads})

    return named


# How a row is written in torch.


def _bare_torch(
    start: Mapping[str, Any],
    batches: Sequence[Batch],
    step: Callable[..., Any],
    *,
    tracked: bool = True,
) -> TorchSide:
    arrays = {name: np.asarray(array, np.float32) for name, array in start.items()}
    stepper = _reference("workflow_steps").BareStepper
    return TorchSide(arrays, batches, lambda: stepper(arrays, step, tracked=tracked))


def _network_torch(
    start: Arrays,
    batches: Sequence[Batch],
    module: Callable[[], Any],
    loss: Callable[..., Any],
    optimizer: Callable[[Any], Any],
) -> TorchSide:
    stepper = _reference("workflow_steps").NetworkStepper
    name = type(optimizer(module())).__name__
    return TorchSide(start, batches, lambda: stepper(module(), start, loss, optimizer), name)


# The rows.

_POINTS = np.array([1, 2, 3], np.float32)
_ROWS = np.array([[0, 0, 1], [1, 1, 1], [4, 2, 1]], np.float32)
_COEFFICIENTS = np.array([2, 3, 4], np.float32)


def _by_hand() -> Case:
    lr = gradient_descent.Config().lr

    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = _reference("workflows.gradient_descent")
        step = functools.partial(reference.step_by_hand, lr=reference.Config().lr)
        batches = [()] * min(10, steps)
        return _bare_torch({"w": 0.0}, batches, _named_in_place(step), tracked=False)

    step = functools.partial(gradient_descent.step_by_hand, lr=lr)
    return Case("gradient-descent", lambda: _bare(_named(step)), torch)


def _descent(loss: str, start: Any, batch: Batch, length: int) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = _reference("workflows.gradient_descent")
        lr = reference.Config().lr

        def step(w: Any, *batch: Any) -> Any:
            return reference.step(getattr(reference, loss), w, *batch, lr=lr)

        return _bare_torch({"w": start}, [batch] * min(length, steps), _named_in_place(step))

    def step(w: Any, *batch: Any) -> Any:
        lr = gradient_descent.Config().lr
        return gradient_descent.step(getattr(gradient_descent, loss), w, *batch, lr=lr)

    return Case("gradient-descent", lambda: _bare(_named(step)), torch)


def _layer() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = _reference("workflows.gradient_descent"), _reference("models")
        return _network_torch(
            torch_compat.to_torch(gradient_descent.layer_start(2)),
            [(_POINTS[:, None], 2 * _POINTS[:, None])] * min(30, steps),
            lambda: models.linear(1, 1, bias=False),
            reference.layer_loss,
            lambda module: reference.layer_optimizer(module, reference.Config()),
        )

    optimizer = gradient_descent.layer_optimizer(gradient_descent.Config())
    return Case("gradient-descent", lambda: network(gradient_descent.layer_loss, optimizer), torch)


def _two_layer(*, as_printed: bool | None) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = _reference("workflows.two_layer_net")
        x, y, start = two_layer_net.data_and_start(0)
        lr = reference.Config().lr
        if as_printed is None:
            step = functools.partial(reference.step, lr=lr)
        else:
            step = functools.partial(reference.step_by_hand, lr=lr, as_printed=as_printed)
        tracked = as_printed is None
        return _bare_torch(start, [(x, y)] * min(20, steps), step, tracked=tracked)

    def run() -> Steps:
        lr = two_layer_net.Config().lr
        if as_printed is None:
            return _bare(functools.partial(two_layer_net.step, lr=lr))
        return _bare(functools.partial(two_layer_net.step_by_hand, lr=lr, as_printed=as_printed))

    return Case("two-layer-net", run, torch)


def _sequential() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = _reference("workflows.two_layer_net"), _reference("models")
        x, y, weights = two_layer_net.data_and_start(0)
        start = {
            "net.0.weight": weights["w1"].T,
            "net.0.bias": np.zeros(100, np.float32),
            "net.2.weight": weights["w2"].T,
            "net.2.bias": np.zeros(10, np.float32),
        }
        sgd = _reference("optim").torch.optim.SGD
        return _network_torch(
            start,
            [(x, y)] * min(20, steps),
            lambda: models.mlp((1000, 100, 10)),
            reference.sequential_loss,
            lambda module: sgd(module.parameters(), lr=reference.Config().lr),
        )

    optimizer = optax.sgd(two_layer_net.Config().lr)
    return Case("two-layer-net", lambda: network(two_layer_net.sequential_loss, optimizer), torch)


def _momentum(*, full_batch: bool) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = _reference("workflows.momentum_sgd"), _reference("models")
        samples = momentum_sgd.data(420)
        inputs, labels = np.array(samples.inputs), np.array(samples.labels)
        if full_batch:
            batches = [(inputs, labels)] * min(17 + 55, steps)
        else:
            indices = momentum_sgd.orders(420, 60).reshape(-1, 50)[:steps]
            batches = [(inputs[i], labels[i]) for i in indices]
        return _network_torch(
            torch_compat.to_torch(momentum_sgd.start(420)),
            batches,
            models.three_layer,
            reference.loss,
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = momentum_sgd.optimizer(momentum_sgd.Config())
    return Case("momentum-sgd", lambda: network(momentum_sgd.loss, optimizer), torch)


def _plane() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = _reference("workflows.linear_regression")
        samples, start = linear_regression.data_and_start(0, 1000)
        indices = linear_regression.orders(0, 3, 1000).reshape(-1, 10)[:steps]
        batches = [(samples.features[i], samples.labels[i]) for i in indices]
        step = functools.partial(reference.step, lr=reference.Config().lr)
        return _bare_torch(start, batches, step)

    lr = linear_regression.Config().lr
    step = functools.partial(linear_regression.step, lr=lr)
    return Case("linear-regression", lambda: _bare(step), torch)


def _plane_by_layer() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = _reference("workflows.linear_regression"), _reference("models")
        samples, params, generator = linear_regression.layer_start(0, 1000)
        orders = linear_regression.layer_orders(generator, 3, 1000).reshape(-1, 10)[:steps]
        return _network_torch(
            torch_compat.to_torch(params),
            [(samples.features[i], samples.labels[i]) for i in orders],
            lambda: models.mlp((2, 1)),
            reference.layer_loss,
            lambda module: reference.layer_optimizer(module, reference.Config()),
        )

    optimizer = linear_regression.layer_optimizer(linear_regression.Config())
    return Case(
        "linear-regression", lambda: network(linear_regression.layer_loss, optimizer), torch
    )


def _sums() -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference, models = _reference("workflows.sum_classifier"), _reference("models")
        samples, params = sum_classifier.data_and_start(0, 10_000)
        return _network_torch(
            torch_compat.to_torch(params),
            [(samples.train_features, samples.train_labels)] * min(1000, steps),
            lambda: models.mlp(sum_classifier.SIZES),
            reference.loss,
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = sum_classifier.optimizer(sum_classifier.Config())
    return Case("sum-classifier", lambda: network(sum_classifier.loss, optimizer), torch)


def _table(batch_size: int | None) -> Case:
    def torch(data: MNIST | None, steps: int) -> TorchSide:
        reference = _reference("workflows.tabular_dnn")
        seed = tabular_dnn.SEED
        samples, params, _ = tabular_dnn.data_and_start(seed, tabular.generate(seed))
        rows = samples.train_features, samples.train_labels
        steps = min(1000, steps)
        batches: list[Batch] = [rows] * steps
        if batch_size is not None:
            orders = (torch_compat.Generator(epoch).randperm(len(rows[0])) for epoch in range(200))
            indices = itertools.islice(_split(orders, batch_size), steps)
            batches = [tuple(array[i] for array in rows) for i in indices]
        return _network_torch(
            torch_compat.to_torch(params),
            batches,
            lambda: reference.model(8),
            reference.loss,
            lambda module: reference.optimizer(module, reference.Config()),
        )

    optimizer = tabular_dnn.optimizer(tabular_dnn.Config())
    return Case("tabular-dnn", lambda: network(tabular_dnn.loss, optimizer), torch)


def _digits(workflow: str, module: Any) -> Case:
    def torch_side(data: MNIST | None, steps: int) -> TorchSide:
        assert data is not None
        reference = _reference(f"workflows.{module.__name__.rpartition('.')[2]}")
        config = module.Config()
        start = next(_reference("training_run").starts(reference.init, seed=0))
        orders = (np.random.default_rng(epoch).permutation(60_000) for epoch in itertools.count())
        count = min(1000, config.epochs * 938, steps)
        indices = itertools.islice(_split(orders, 64), count)
        return _network_torch(
            start,
            [(data.train_images[i], data.train_labels[i]) for i in indices],
            reference.init,
            reference.loss,
            lambda network: reference.optimizer(network, reference.Config()),
        )

    optimizer = module.optimizer(module.Config())
    return Case(workflow, lambda: network(module.loss, optimizer), torch_side, needs_mnist=True)


def _split(orders: Any, batch_size: int) -> Iterator[np.ndarray]:
    """One batch of indices after the other, the last of an epoch shorter."""
    for order in orders:
        yield from np.split(order, range(batch_size, len(order), batch_size))


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
        return TorchSide({}, batches, _reference("workflow_steps").DerivativeStepper)

    return Case("autograd", lambda: Steps(_differentiate, lambda params: (), dict), torch)


def _differentiate(state: PortState, x: jax.Array, y: jax.Array) -> tuple[PortState, Seen]:
    """The functions and derivatives of `jaxdnn.workflows.autograd` at one point."""
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
        **autograd.jacobian_products(y, jnp.ones_like(y), 100.0)._asdict(),
    }
    return state, Seen(autograd.mean_of_squares(x), {}, activations=values)


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
"""The rows by name."""
