"""Each function of a lesson against its mirror: the same values and gradients, in float64."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
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
    ("autograd", "vector_function", (normal(3),)),
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
    ("linear_regression", "pulled_back_gradients", plane(), {}),
]


@pytest.mark.parametrize(("lesson", "name", "arguments", "settings"), VALUES)
def test_values_are_torchs(
    x64: None, lesson: str, name: str, arguments: tuple[Any, ...], settings: dict[str, Any]
) -> None:
    ours, theirs = both(lesson, name)
    grad = lesson == "linear_regression"  # its weights require gradients
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


def logits(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.net[:-1](x)


# The documents' identities: each loss written in another way, on both sides.
NETWORKS_AGAIN = {
    "momentum_sgd": NETWORKS["momentum_sgd"]._replace(
        loss=momentum_sgd.loss_in_two_parts, criterion=torch_momentum_sgd.criterion_in_two_parts
    ),
    "tabular_dnn": NETWORKS["tabular_dnn"]._replace(
        loss=tabular_dnn.loss_from_logits,
        criterion=torch_tabular_dnn.criterion_from_logits,
        predict=logits,
    ),
}


@pytest.mark.parametrize("lesson", NETWORKS_AGAIN)
def test_identities_of_the_losses_hold_on_both_sides(x64: None, lesson: str) -> None:
    network, other = NETWORKS[lesson], NETWORKS_AGAIN[lesson]
    params = jax.jit(network.init)(jax.random.key(0))
    module = torch_models.load_params(network.module(), torch_compat.to_torch(params))
    x, y = tensors(network.batch)
    y = y if y.is_floating_point() else y.long()
    first, second = (n.criterion(n.predict(module, x), y) for n in (network, other))
    batch = arrays(network.batch)
    for value in (second, network.loss(params, *batch), other.loss(params, *batch)):
        close(value if not torch.is_tensor(value) else value.detach().numpy(), first)
    grads, grads_again = (jax.grad(n.loss)(params, *batch) for n in (network, other))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), grads, grads_again)


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_gradients_accumulate_in_torch_and_are_added_here(x64: None, passes: int) -> None:
    params = momentum_sgd.MODEL.init(jax.random.key(0))
    module = torch_models.load_params(
        torch_momentum_sgd.ThreeLayer(), torch_compat.to_torch(params)
    )
    batch = NETWORKS["momentum_sgd"].batch
    assert module.linear1.weight.grad is None
    theirs = {}
    for _ in range(2):  # a second call begins from None again
        theirs = torch_momentum_sgd.accumulated_gradients(
            module,
            torch_momentum_sgd.Noise(*tensors(batch)),
            passes=passes,
        )
    ours = momentum_sgd.accumulated_gradients(params, *arrays(batch), passes=passes)
    once = torch_compat.to_torch(jax.grad(momentum_sgd.loss)(params, *arrays(batch)))
    for name, tensor in torch_compat.to_torch(ours).items():
        np.testing.assert_allclose(tensor, theirs[name], rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(tensor, passes * once[name], rtol=1e-12)


def test_gradient_of_a_vector_of_losses_is_that_of_their_sum(x64: None) -> None:
    weights, x, y = arrays(plane())
    pulled_back = linear_regression.pulled_back_gradients(weights, x, y)
    close(pulled_back, jax.grad(linear_regression.loss)(weights, x, y))


@pytest.mark.parametrize("labels", [[0, 2, 1, 2], [1, 1], [5, 0, 7]])
def test_classes_are_counted_as_in_torch(labels: list[int]) -> None:
    ours, theirs = both("momentum_sgd", "class_count")
    assert ours(np.array(labels)) == theirs(torch.tensor(labels)) == len(set(labels))


def test_saved_models_come_back_on_both_sides() -> None:
    """A whole module or its state in torch, the parameters here; both read the other's numbers."""
    torch.manual_seed(3)
    module = torch_sum_classifier.DNN()
    named = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    params = sum_classifier.from_bytes(safetensors.torch.save(module.state_dict()))
    content = sum_classifier.to_bytes(params)
    reloaded = torch_compat.to_torch(sum_classifier.from_bytes(content))
    assert list(reloaded) == list(named)
    for whole in (True, False):
        saved = torch_sum_classifier.to_bytes(module, whole=whole)
        assert (b"DNN" in saved) == whole  # the pickle names the class, the state has only numbers
        again = torch_sum_classifier.from_bytes(saved, whole=whole).state_dict()
        for tensors_ in (again, safetensors.torch.load(content)):
            for name, expected in named.items():
                np.testing.assert_array_equal(tensors_[name], expected)
                np.testing.assert_array_equal(reloaded[name], expected)


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
