"""Observations: both frameworks see the same tensors, under the same names, as copies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import reference_torch.models
import reference_torch.parity.observe
from jaxdnn import models, parity, torch_compat
from jaxdnn.training import TrainState

SIZES = (4, 3, 2)
MODEL = models.mlp(SIZES)

OPTIMIZERS = {
    "sgd": (lambda: optax.sgd(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (
        lambda: optax.sgd(0.1, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ),
    "adam": (lambda: optax.adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
}


def loss(params: models.Params, x: jax.Array, y: jax.Array) -> jax.Array:
    return ((MODEL.apply(params, x) - y) ** 2).mean()


def torch_loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((model(x) - y) ** 2).mean()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_sides_see_the_same(x64: None, name: str) -> None:
    generator = np.random.default_rng(0)
    batches = [(generator.normal(size=(5, 4)), generator.normal(size=(5, 2))) for _ in range(30)]
    make_ours, make_theirs = OPTIMIZERS[name]
    params = MODEL.init(jax.random.key(0))
    module = reference_torch.models.mlp(SIZES).double()
    module.load_state_dict({k: torch.tensor(v) for k, v in torch_compat.to_torch(params).items()})

    tensors = (tuple(torch.tensor(array) for array in batch) for batch in batches)
    torch_run = reference_torch.parity.observe.observe(
        torch_loss, make_theirs(module.parameters()), module, tensors
    )
    optimizer = make_ours()
    state = TrainState(params, optimizer.init(params))
    comparison = parity.compare(
        torch_run, parity.observe(loss, optimizer, state, batches), tolerance=1e-12
    )

    assert comparison.first_divergence is None
    fields = {key.rsplit("/", 1)[1] for key in comparison.errors if key.startswith("optimizer/")}
    # Plain SGD has no state in torch, and a trace that holds nothing in optax.
    expected = {"momentum": {"momentum_buffer"}, "adam": {"exp_avg", "exp_avg_sq"}}
    assert fields == expected.get(name, set())


@pytest.mark.parametrize("side", ["jax", "torch"])
def test_observations_are_not_overwritten_by_later_steps(side: str) -> None:
    batches = [(np.ones((5, 4), np.float32), np.ones((5, 2), np.float32))] * 3
    params = MODEL.init(jax.random.key(0))
    if side == "jax":
        optimizer = optax.sgd(0.1)
        state = TrainState(params, optimizer.init(params))
        steps = list(parity.observe(loss, optimizer, state, batches))
    else:
        module = reference_torch.models.mlp(SIZES)
        module.load_state_dict(
            {k: torch.tensor(v) for k, v in torch_compat.to_torch(params).items()}
        )
        sgd = torch.optim.SGD(module.parameters(), lr=0.1)
        tensors = (tuple(torch.tensor(array) for array in batch) for batch in batches)
        steps = list(reference_torch.parity.observe.observe(torch_loss, sgd, module, tensors))
    for key in ("param/net.0.weight", "grad/net.0.weight"):
        assert not np.array_equal(steps[0][key], steps[2][key])


def test_a_parameter_without_gradient_is_missing_not_zero() -> None:
    """torch leaves .grad None; a port that reports zeros there must not pass as the same."""
    module = reference_torch.models.mlp(SIZES)
    module.net[0].requires_grad_(False)
    sgd = torch.optim.SGD(module.parameters(), lr=0.1)
    [step] = reference_torch.parity.observe.observe(
        torch_loss, sgd, module, [(torch.ones(5, 4), torch.ones(5, 2))]
    )
    assert "grad/net.0.weight" not in step
    assert "grad/net.2.weight" in step
    assert jnp.isfinite(jnp.asarray(step["loss"]))
