"""The networks against torch's: the same function, the same gradients, the same kind of start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.models
from jaxdnn import models, torch_compat
from jaxdnn.workflows import lenet, momentum_sgd
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import momentum_sgd as torch_momentum_sgd

ACTIVATIONS = {
    "relu": (jax.nn.relu, torch.nn.ReLU),
    "sigmoid": (jax.nn.sigmoid, torch.nn.Sigmoid),
    "tanh": (jnp.tanh, torch.nn.Tanh),
}


@settings(max_examples=3)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    samples=st.integers(1, 5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    flatten=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_mlp_is_torchs_function_with_torchs_gradients(
    x64: None, sizes: list[int], samples: int, activation: str, flatten: bool, seed: int
) -> None:
    ours, theirs = ACTIVATIONS[activation]
    model = models.mlp(sizes, activation=ours, flatten=flatten)
    torch.manual_seed(seed)
    module = reference_torch.models.mlp(sizes, activation=theirs, flatten=flatten).double()
    tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    params = torch_compat.from_torch(tensors, like=jax.eval_shape(model.init, jax.random.key(0)))
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(samples, sizes[0]))
    weights = generator.normal(size=(samples, sizes[-1]))

    outputs, pull_back = jax.vjp(model.apply, params, jnp.asarray(inputs))
    param_grads, input_grads = pull_back(jnp.asarray(weights))
    torch_inputs = torch.tensor(inputs, requires_grad=True)
    torch_outputs = module(torch_inputs)
    torch_outputs.backward(torch.tensor(weights))

    def close(actual: object, expected: torch.Tensor | None) -> None:
        assert expected is not None
        np.testing.assert_allclose(np.asarray(actual), expected.detach(), rtol=1e-12, atol=1e-13)

    close(outputs, torch_outputs)
    close(input_grads, torch_inputs.grad)
    grads = torch_compat.to_torch(param_grads)
    for name, param in module.named_parameters():
        close(grads[name], param.grad)


def test_start_is_torchs_uniform_in_one_over_root_fan_in() -> None:
    model = models.mlp((400, 300, 200))
    ours = torch_compat.to_torch(model.init(jax.random.key(0)))
    torch.manual_seed(0)
    theirs = reference_torch.models.mlp((400, 300, 200)).state_dict()
    for layer, fan_in in (("net.0", 400), ("net.2", 300)):
        for leaf in ("weight", "bias"):
            bound = fan_in**-0.5
            for values in (ours[f"{layer}.{leaf}"], theirs[f"{layer}.{leaf}"].numpy()):
                scaled = np.sort(np.ravel(values)) / bound
                assert np.abs(scaled).max() <= 1
                # Kolmogorov–Smirnov against the uniform distribution, at the level of 1e-6.
                cumulative = (np.arange(scaled.size) + 0.5) / scaled.size
                distance = np.abs((scaled + 1) / 2 - cumulative).max()
                assert distance < 2.7 / np.sqrt(scaled.size)


def test_starts_of_two_keys_and_of_two_layers_differ() -> None:
    model = models.mlp((8, 8, 8))
    params = model.init(jax.random.key(0))
    other = model.init(jax.random.key(1))
    assert not np.array_equal(params["net.0"]["kernel"], params["net.2"]["kernel"])
    assert not np.array_equal(params["net.0"]["kernel"], other["net.0"]["kernel"])


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 12), (5, 3, 2, 2)])
def test_flattening_is_torchs(shape: tuple[int, ...]) -> None:
    model = models.mlp((12, 2), flatten=True)
    params = model.init(jax.random.key(0))
    module = reference_torch.models.mlp((12, 2), flatten=True)
    module.load_state_dict({k: torch.tensor(v) for k, v in torch_compat.to_torch(params).items()})
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = module(torch.tensor(inputs)).detach()
    np.testing.assert_allclose(model.apply(params, jnp.asarray(inputs)), expected, atol=1e-6)


def test_one_size_is_no_network() -> None:
    with pytest.raises(ValueError, match="sizes of its input and its output"):
        models.mlp((3,))


NETWORKS = {
    "linear": (
        models.linear(3, 2, bias=False),
        lambda: reference_torch.models.linear(3, 2, bias=False),
        (4, 3),
    ),
    "momentum_sgd": (momentum_sgd.MODEL, torch_momentum_sgd.ThreeLayer, (4, 20)),
    "lenet": (lenet.MODEL, torch_lenet.LeNet, (2, 1, 32, 32)),
    "final_activation": (
        models.mlp((3, 4, 1), activation=jax.nn.sigmoid, final_activation=jax.nn.sigmoid),
        lambda: reference_torch.models.mlp(
            (3, 4, 1), activation=torch.nn.Sigmoid, final_activation=torch.nn.Sigmoid
        ),
        (4, 3),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_torchs_function_with_torchs_gradients(x64: None, name: str) -> None:
    model, make, shape = NETWORKS[name]
    params = jax.jit(model.init)(jax.random.key(0))
    module = reference_torch.models.load_params(make(), torch_compat.to_torch(params))
    inputs = np.random.default_rng(0).normal(size=shape)

    outputs = model.apply(params, jnp.asarray(inputs))
    weights = np.random.default_rng(1).normal(size=outputs.shape)
    weighted = jax.grad(lambda p, x: (model.apply(p, x) * weights).sum(), argnums=(0, 1))
    param_grads, input_grads = jax.jit(weighted)(params, jnp.asarray(inputs))
    torch_inputs = torch.tensor(inputs, requires_grad=True)
    expected = module(torch_inputs)
    expected.backward(torch.tensor(weights))

    np.testing.assert_allclose(outputs, expected.detach(), rtol=1e-12, atol=1e-12)
    assert torch_inputs.grad is not None
    np.testing.assert_allclose(input_grads, torch_inputs.grad, rtol=1e-12, atol=1e-12)
    grads = torch_compat.to_torch(param_grads)
    assert set(grads) == {key for key, _ in module.named_parameters()}
    for key, param in module.named_parameters():
        np.testing.assert_allclose(grads[key], param.grad, rtol=1e-12, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_start_is_within_torchs_bound_and_fills_it(name: str) -> None:
    model, make, _ = NETWORKS[name]
    ours = torch_compat.to_torch(jax.jit(model.init)(jax.random.key(3)))
    fan_in = {
        key.removesuffix(".weight"): tensor[0].numel()
        for key, tensor in make().state_dict().items()
        if key.endswith("weight")
    }
    for key, values in ours.items():
        bound = fan_in[key.rpartition(".")[0]] ** -0.5
        assert np.abs(values).max() <= bound
        if values.size >= 50:
            assert np.abs(values).max() > 0.9 * bound
