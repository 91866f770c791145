"""Each function of a lesson against its mirror: the same values and gradients, in float64."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdnn import torch_compat
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
from reference_torch import models as torch_models
from reference_torch.workflows import gradient_descent as torch_gradient_descent
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import linear_regression as torch_linear_regression
from reference_torch.workflows import mnist_dnn as torch_mnist_dnn
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd
from reference_torch.workflows import sum_classifier as torch_sum_classifier
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn
from reference_torch.workflows import two_layer_net as torch_two_layer_net

PACKAGES = ("jaxdnn", "reference_torch")
NUMBERS = np.random.default_rng(0)
PRINTED, MEANT = {"as_printed": True}, {"as_printed": False}


def normal(*shape: int) -> np.ndarray:
    return NUMBERS.normal(size=shape)


def two_layers() -> tuple[Any, ...]:
    return {"w1": normal(4, 6), "w2": normal(6, 2)}, normal(5, 4), normal(5, 2)


def plane() -> tuple[Any, ...]:
    return {"w": normal(2, 1), "b": normal(1)}, normal(5, 2), normal(5, 1)


def both(lesson: str, name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function of a lesson in JAX and in torch."""
    modules = (importlib.import_module(f"{p}.workflows.{lesson}") for p in PACKAGES)
    ours, theirs = (getattr(module, name) for module in modules)
    return ours, theirs


def arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


def tensors(tree: Any, *, grad: bool = False) -> Any:
    return jax.tree.map(lambda leaf: torch.tensor(leaf, requires_grad=grad), tree)


def leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=torch.is_tensor)


def close(ours: Any, theirs: Any) -> None:
    for actual, expected in zip(leaves(ours), leaves(theirs), strict=True):
        if torch.is_tensor(expected):
            expected = expected.detach().numpy()
        assert np.shape(actual) == np.shape(expected)
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)


DIFFERENTIABLE = [
    ("autograd", "power", (normal(),)),
    ("autograd", "sigmoid_cross_entropy", (normal(), normal())),
    ("autograd", "mean_of_squares", (normal(2, 3),)),
    ("autograd", "untracked", (normal(4),)),
    ("autograd", "line", (normal(), normal(), normal())),
    ("gradient_descent", "parabola", (normal(),)),
    ("gradient_descent", "design_matrix", (normal(4),)),
    ("gradient_descent", "quadratic_loss", (normal(3), normal(4, 3), normal(4))),
    ("gradient_descent", "one_weight_loss", (normal(), normal(4), normal(4))),
    ("two_layer_net", "forward", (normal(5, 4), normal(4, 6), normal(6, 2))),
    ("two_layer_net", "loss", two_layers()),
    ("linear_regression", "squared_loss", plane()),
    ("linear_regression", "loss", plane()),
    ("linear_regression", "mean_loss", plane()),
]


@pytest.mark.parametrize(("lesson", "name", "arguments"), DIFFERENTIABLE)
def test_value_and_gradients_are_torchs(
    x64: None, lesson: str, name: str, arguments: tuple[Any, ...]
) -> None:
    ours, theirs = both(lesson, name)
    their_arguments = tensors(arguments, grad=True)
    expected = theirs(*their_arguments)
    weights = np.random.default_rng(1).normal(size=tuple(expected.shape))
    expected.backward(torch.tensor(weights))

    value, pull_back = jax.vjp(ours, *arrays(arguments))
    close(value, expected)
    close(pull_back(jnp.asarray(weights)), [leaf.grad for leaf in leaves(their_arguments)])


VALUES: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
    ("autograd", "power_gradient", (normal(),), {}),
    ("autograd", "sigmoid_cross_entropy_gradient", (normal(), normal()), {}),
    ("autograd", "mean_of_squares_gradient", (normal(2, 3),), {}),
    ("autograd", "untracked_gradient", (normal(4),), {}),
    ("autograd", "line_gradients", (normal(), normal(), normal()), {}),
    ("gradient_descent", "parabola_slope", (normal(),), {}),
    ("gradient_descent", "newton", (normal(3), normal(4, 3), normal(4)), {}),
    ("two_layer_net", "gradients_by_hand", two_layers(), PRINTED),
    ("two_layer_net", "gradients_by_hand", two_layers(), MEANT),
    ("linear_regression", "example_gradients", plane(), {}),
]


@pytest.mark.parametrize(("lesson", "name", "arguments", "settings"), VALUES)
def test_values_are_torchs(
    x64: None, lesson: str, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    ours, theirs = both(lesson, name)
    grad = name == "example_gradients"
    close(ours(*arrays(arguments), **settings), theirs(*tensors(arguments, grad=grad), **settings))


STEPS: list[tuple[str, str, tuple[Any, ...], dict[str, Any], bool]] = [
    ("gradient_descent", "step_by_hand", (normal(),), {"lr": 0.3}, False),
    ("two_layer_net", "step_by_hand", two_layers(), {"lr": 0.3, **PRINTED}, False),
    ("two_layer_net", "step_by_hand", two_layers(), {"lr": 0.3, **MEANT}, False),
    ("two_layer_net", "step", two_layers(), {"lr": 0.3}, True),
    ("momentum_sgd", "gradient_step", (normal(4), normal(4)), {"lr": 0.3}, False),
    ("linear_regression", "step", plane(), {"lr": 0.3}, True),
]


@pytest.mark.parametrize(("lesson", "name", "arguments", "settings", "tracked"), STEPS)
def test_step_that_returns_is_torchs_that_changes_in_place(
    x64: None,
    lesson: str,
    name: str,
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
    tracked: bool,
) -> None:
    ours, theirs = both(lesson, name)
    their_arguments = tensors(arguments)
    for leaf in leaves(their_arguments[0]):
        leaf.requires_grad_(tracked)
    result = ours(*arrays(arguments), **settings)
    info = theirs(*their_arguments, **settings)
    if info is None:
        close(result, their_arguments[0])
    else:
        close(result[0], their_arguments[0])
        close(result[1].loss, info.loss)
        close(result[1].grads, info.grads)


@pytest.mark.parametrize("loss", ["parabola", "quadratic_loss"])
def test_step_down_any_loss_is_torchs(x64: None, loss: str) -> None:
    batch = () if loss == "parabola" else (normal(4, 3), normal(4))
    w = normal() if loss == "parabola" else normal(3)
    ours, theirs = both("gradient_descent", loss)
    their_w = torch.tensor(w, requires_grad=True)
    for _ in range(2):  # the second must not add to the first one's gradient
        expected = torch_gradient_descent.step(theirs, their_w, *tensors(batch), lr=0.1)
        w, info = gradient_descent.step(ours, jnp.asarray(w), *arrays(batch), lr=0.1)
        close((w, info.loss, info.grads), (their_w, expected.loss, expected.grads))


def test_momentum_step_is_torchs(x64: None) -> None:
    arguments = tuple(normal(3, 4))
    settings: dict[str, Any] = {"lr": 0.3, "momentum": 0.7}
    theirs = their_w, their_v, their_dw = tensors(arguments)
    torch_momentum_sgd.momentum_step(
        their_w, their_v, their_dw, torch_momentum_sgd.Config(**settings)
    )
    w, v, dw = arrays(arguments)
    ours = momentum_sgd.momentum_step(w, v, dw, momentum_sgd.Config(**settings))
    close(ours, theirs[:2])


class Network(NamedTuple):
    """A loss of a network's parameters in JAX; a module and a criterion in torch."""

    loss: Callable[..., Any]
    init: Callable[[jax.Array], Any]
    module: Callable[[], torch.nn.Module]
    criterion: torch.nn.Module
    batch: tuple[np.ndarray, np.ndarray]
    predict: Callable[..., torch.Tensor] = lambda model, x: model(x)


def classes(count: int, samples: int) -> np.ndarray:
    return NUMBERS.integers(0, count, samples)


DIGITS = NUMBERS.integers(0, 256, (4, 28, 28), dtype=np.uint8), classes(10, 4).astype(np.uint8)
BINARY = normal(6, 5), classes(2, 6)[:, None].astype(float)

NETWORKS = {
    "gradient_descent": Network(
        gradient_descent.layer_loss,
        gradient_descent.LAYER.init,
        lambda: torch_models.linear(1, 1, bias=False),
        torch_gradient_descent.layer_criterion,
        (normal(3, 1), normal(3, 1)),
    ),
    "two_layer_net": Network(
        two_layer_net.sequential_loss,
        two_layer_net.SEQUENTIAL.init,
        lambda: torch_models.mlp((1000, 100, 10)),
        torch_two_layer_net.sequential_criterion,
        (normal(3, 1000), normal(3, 10)),
    ),
    "momentum_sgd": Network(
        momentum_sgd.loss,
        momentum_sgd.MODEL.init,
        torch_momentum_sgd.ThreeLayer,
        torch_momentum_sgd.criterion,
        (normal(6, 20), classes(3, 6)),
    ),
    "linear_regression": Network(
        linear_regression.layer_loss,
        linear_regression.MODEL.init,
        lambda: torch_models.mlp((2, 1)),
        torch_linear_regression.layer_criterion,
        (normal(5, 2), normal(5, 1)),
    ),
    "sum_classifier": Network(
        sum_classifier.loss,
        sum_classifier.MODEL.init,
        torch_sum_classifier.DNN,
        torch_sum_classifier.criterion,
        (normal(6, 3), np.eye(3)[classes(3, 6)]),
    ),
    "tabular_dnn": Network(
        tabular_dnn.loss,
        lambda key: tabular_dnn.network(5).init(key),
        lambda: torch_tabular_dnn.network(5),
        torch_tabular_dnn.criterion,
        BINARY,
    ),
    "mnist_dnn": Network(
        mnist_dnn.loss,
        lambda key: mnist_dnn.init(key, mnist_dnn.Config(initial_scale=1.5)).params,
        torch_mnist_dnn.init,
        torch_mnist_dnn.criterion,
        DIGITS,
        torch_mnist_dnn.predict,
    ),
    "lenet": Network(
        lenet.loss,
        lambda key: lenet.init(key, lenet.Config(initial_scale=1.5)).params,
        torch_lenet.init,
        torch_lenet.criterion,
        DIGITS,
        torch_lenet.predict,
    ),
}


@pytest.mark.parametrize("lesson", NETWORKS)
def test_loss_and_gradients_of_a_network_are_torchs(x64: None, lesson: str) -> None:
    network = NETWORKS[lesson]
    params = jax.jit(network.init)(jax.random.key(0))
    module = torch_models.load_params(network.module(), torch_compat.to_torch(params))
    x, y = tensors(network.batch)
    outputs = network.predict(module, x)
    expected = network.criterion(outputs, y if y.is_floating_point() else y.long())
    expected.backward()

    value, grads = jax.jit(jax.value_and_grad(network.loss))(params, *arrays(network.batch))
    close(value, expected)
    named = torch_compat.to_torch(grads)
    parameters = dict(module.named_parameters())
    assert named.keys() == parameters.keys()
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        assert parameter.grad.any()
        np.testing.assert_allclose(named[name], parameter.grad, rtol=1e-9, atol=1e-12)


def test_convolution_alone_is_torchs(x64: None) -> None:
    """The document's smallest module: LeNet's first layer."""
    module = torch_lenet.init().double()
    kernel, bias = (p.detach().numpy() for p in module.conv1.parameters())
    params = {"conv1": {"kernel": jnp.asarray(kernel.transpose(2, 3, 1, 0)), "bias": bias}}
    maps = lenet.convolve(jax.tree.map(jnp.asarray, params), jnp.asarray(DIGITS[0]))
    assert maps.shape == (4, 6, 28, 28)
    close(maps, torch_lenet.convolve(module.conv1, torch.tensor(DIGITS[0])))


def test_images_are_prepared_as_torchs() -> None:
    images = jnp.asarray(DIGITS[0])
    for ours, theirs in (
        (mnist_dnn.normalise, torch_mnist_dnn.normalise),
        (lenet.pad, torch_lenet.pad),
    ):
        expected = theirs(torch.tensor(DIGITS[0]))
        np.testing.assert_allclose(ours(images, jnp.dtype("float32")), expected, atol=1e-6)
