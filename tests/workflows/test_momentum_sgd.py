"""Momentum: by hand and under an optimiser, and the loop that overwrites its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.errors import ConfigError
from jaxdnn.training import TrainState
from jaxdnn.workflows import momentum_sgd
from reference_torch.workflows import momentum_sgd as reference


def descend_by_hand(rates: list[float], grads: np.ndarray) -> jax.Array:
    w, v = jnp.ones(3), jnp.zeros(3)
    for lr, dw in zip(rates, grads, strict=True):
        w, v = momentum_sgd.momentum_step(w, v, jnp.asarray(dw), momentum_sgd.Config(lr=lr))
    return w


def descend_by_optimiser(rates: list[float], grads: np.ndarray) -> tuple[jax.Array, torch.Tensor]:
    w, theirs = jnp.ones(3), torch.ones(3, dtype=torch.float64, requires_grad=True)
    state = momentum_sgd.optimizer(momentum_sgd.Config()).init(w)
    descent = torch.optim.SGD([theirs], lr=1.0, momentum=0.9)
    for lr, dw in zip(rates, grads, strict=True):
        optimizer = momentum_sgd.optimizer(momentum_sgd.Config(lr=lr))
        updates, state = optimizer.update(jnp.asarray(dw), state)
        w = jnp.asarray(optax.apply_updates(w, updates))
        descent.param_groups[0]["lr"] = lr
        theirs.grad = torch.tensor(dw)
        descent.step()
    return w, theirs.detach()


@given(lr=st.floats(0.01, 1), seed=st.integers(0, 2**31 - 1))
@settings(max_examples=8)
def test_both_forms_agree_while_the_learning_rate_is_constant(
    x64: None, lr: float, seed: int
) -> None:
    """And part when it changes, since only one has the learning rate inside the velocity."""
    grads = np.random.default_rng(seed).normal(size=(5, 3))
    for rates, alike in (([lr] * 5, True), ([lr, lr / 2, lr, lr, lr / 4], False)):
        by_hand = descend_by_hand(rates, grads)
        ours, theirs = descend_by_optimiser(rates, grads)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        assert np.allclose(by_hand, ours, rtol=1e-10, atol=1e-12) == alike


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=8)
def test_steps_by_hand_are_torchs(x64: None, seed: int) -> None:
    w, v, dw = np.random.default_rng(seed).normal(size=(3, 4))
    config = momentum_sgd.Config(lr=0.3, momentum=0.7)
    their_w, their_v = torch.tensor(w), torch.tensor(v)
    reference.momentum_step(
        their_w, their_v, torch.tensor(dw), reference.Config(lr=0.3, momentum=0.7)
    )
    ours = momentum_sgd.momentum_step(jnp.asarray(w), jnp.asarray(v), jnp.asarray(dw), config)
    np.testing.assert_allclose(ours, (their_w, their_v), rtol=1e-12)
    plain = torch.tensor(w)
    reference.gradient_step(plain, torch.tensor(dw), lr=0.3)
    ours = momentum_sgd.gradient_step(jnp.asarray(w), jnp.asarray(dw), lr=0.3)
    np.testing.assert_allclose(ours, plain, rtol=1e-12)


@given(epochs=st.integers(1, 80), batches=st.integers(1, 30))
@settings(max_examples=50)
def test_loop_takes_the_steps_of_the_documents_loop(epochs: int, batches: int) -> None:
    steps = momentum_sgd.full_batch_steps(epochs, batches)
    assert steps == reference.full_batch_steps(epochs, batches)
    if epochs >= batches:
        assert steps == batches * (batches + 1) // 2


def test_notebook_repeats_its_cells_and_the_text_does_not() -> None:
    printed, meant = (
        momentum_sgd.run(420, momentum_sgd.Config(steps=2, epochs=2, as_printed=flag)).figures
        for flag in (True, False)
    )
    assert printed["momentum_sgd.linear1_grad"] == meant["momentum_sgd.linear1_grad"]
    w = np.array(momentum_sgd.start(420)["linear1"]["kernel"]).T
    dw = np.array(meant["momentum_sgd.linear1_grad"]["rows"])
    for figures, passes, steps in ((printed, 2, 4), (meant, 1, 1)):
        after = w - 10 * passes * dw
        shown = figures["momentum_sgd.linear1_weight_after_gd"]["rows"]
        np.testing.assert_allclose(shown, after, atol=1e-6)
        # v = -lr·dw·(1 + 0.9 + …), summed again over the steps.
        share = sum((1 - 0.9**k) / (1 - 0.9) for k in range(1, steps + 1))
        shown = figures["momentum_sgd.linear1_weight_after_momentum"]["rows"]
        np.testing.assert_allclose(shown, after - 0.1 * passes * dw * share, atol=1e-6)
    assert momentum_sgd.full_batch_steps(2, 10) == printed["momentum_sgd.loop"]["steps"] == 19
    assert meant["momentum_sgd.loop"]["steps"] == 20
    same = "momentum_sgd.optimizer"
    assert printed[same] == meant[same]


@pytest.mark.parametrize(("batches", "steps"), [(1, 1), (20, 20), (500, 500)])
def test_mini_batches_hold_every_sample_once(batches: int, steps: int) -> None:
    data = momentum_sgd.data(0)
    config = momentum_sgd.Config(batches=batches, lr=0.0)
    params = momentum_sgd.start(0)
    state = TrainState(params, momentum_sgd.optimizer(config).init(params))
    order = jnp.asarray(momentum_sgd.orders(0, 1))
    _, losses = jax.jit(momentum_sgd.train_mini_batches)(state, order, config, data)
    assert losses.shape == (1, steps)
    # At a learning rate of 0 the loss over all is the mean of the batches'.
    np.testing.assert_allclose(losses.mean(), momentum_sgd.loss(params, *data), rtol=1e-5)


@pytest.mark.parametrize("batches", [7, 600])
def test_mini_batches_must_be_of_equal_size(batches: int) -> None:
    with pytest.raises(ConfigError, match="batches must divide the 500 samples"):
        momentum_sgd.Config(batches=batches, as_printed=False)
