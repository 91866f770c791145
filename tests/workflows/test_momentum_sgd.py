"""Momentum: by hand and under an optimiser, and the loop that overwrites its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxdnn.errors import ConfigError
from jaxdnn.runs.reports import momentum_sgd as report
from jaxdnn.runs.workflow import Request
from jaxdnn.torch_compat import Generator
from jaxdnn.workflows import momentum_sgd


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


@pytest.mark.parametrize("lr", [0.01, 0.3, 1.0])
def test_both_forms_agree_while_the_learning_rate_is_constant(x64: None, lr: float) -> None:
    """And part when it changes, since only one has the learning rate inside the velocity."""
    grads = np.random.default_rng(0).normal(size=(5, 3))
    for rates, alike in (([lr] * 5, True), ([lr, lr / 2, lr, lr, lr / 4], False)):
        by_hand = descend_by_hand(rates, grads)
        ours, theirs = descend_by_optimiser(rates, grads)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
        assert np.allclose(by_hand, ours, rtol=1e-10, atol=1e-12) == alike


def loop(epochs: int, batches: int) -> int:
    """The document's loop, as it is printed."""
    epoch, batch, steps = epochs, batches, 0
    for epoch in range(epoch):  # noqa: B007, B020
        for batch in range(batch):  # noqa: B007, B020
            steps += 1
    return steps


def test_loop_takes_the_steps_of_the_documents_loop() -> None:
    for epochs in range(1, 81, 7):
        for batches in range(1, 31):
            assert report.full_batch_steps(epochs, batches) == loop(epochs, batches)


def test_notebook_repeats_its_cells_and_the_text_does_not() -> None:
    printed, meant = (
        report.run(Request(420, report.Config(steps=2, epochs=2, as_printed=flag))).figures
        for flag in (True, False)
    )
    assert printed["momentum_sgd.linear1_grad"] == meant["momentum_sgd.linear1_grad"]
    w = np.array(momentum_sgd.init(Generator(420))["linear1"]["kernel"]).T
    dw = np.array(meant["momentum_sgd.linear1_grad"]["rows"])
    for figures, passes, steps in ((printed, 2, 4), (meant, 1, 1)):
        after = w - 10 * passes * dw
        shown = figures["momentum_sgd.linear1_weight_after_gd"]["rows"]
        np.testing.assert_allclose(shown, after, atol=1e-6)
        # v = -lr·dw·(1 + 0.9 + …), summed again over the steps.
        factor = sum((1 - 0.9**k) / (1 - 0.9) for k in range(1, steps + 1))
        shown = figures["momentum_sgd.linear1_weight_after_momentum"]["rows"]
        np.testing.assert_allclose(shown, after - 0.1 * passes * dw * factor, atol=1e-6)
    assert report.full_batch_steps(2, 10) == printed["momentum_sgd.loop"]["steps"] == 19
    assert meant["momentum_sgd.loop"]["steps"] == 20
    same = "momentum_sgd.optimizer"
    assert printed[same] == meant[same]


@pytest.mark.parametrize("batches", [1, 20, 500])
def test_mini_batches_hold_every_sample_once(batches: int) -> None:
    config = momentum_sgd.Config(epochs=2, batches=batches)
    indices = momentum_sgd.batches(Generator(0), config)
    assert indices.shape == (2 * batches, 500 // batches)
    for epoch in indices.reshape(2, 500):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(500))
    first, second = indices.reshape(2, 500)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("batches", [7, 600])
def test_mini_batches_must_be_of_equal_size(batches: int) -> None:
    with pytest.raises(ConfigError, match="batches must divide the 500 samples"):
        momentum_sgd.Config(batches=batches, as_printed=False)
    assert momentum_sgd.Config(batches=batches).batches == batches  # for the loop as printed
