"""Linear regression: the true plane is found, and the two halves differ by the factor they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn import training
from jaxdnn.data.synthetic import TRUE_B, TRUE_W
from jaxdnn.errors import ConfigError
from jaxdnn.runs.reports import linear_regression as report
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows import linear_regression
from jaxdnn.workflows.linear_regression import Config


def test_default_run_finds_the_plane() -> None:
    result = report.run(Request(report.SEED, Config()))
    for half in ("from_scratch", "layer"):
        figures = result.figures[f"linear_regression.{half}"]
        errors = [*figures["error_of_w"], *figures["error_of_b"]]
        assert len(errors) == 3
        assert max(map(abs, errors)) < 1e-3
        assert figures["epoch_losses"][-1] < 2e-4
        assert figures["epoch_losses"][-1] < figures["epoch_losses"][0]
    assert result.network is not None
    layer = result.network.params["net.0"]
    np.testing.assert_allclose(
        np.ravel(layer["kernel"]),
        np.array(TRUE_W, np.float32) - result.figures["linear_regression.layer"]["error_of_w"],
        atol=1e-6,
    )
    assert layer["bias"] == pytest.approx(TRUE_B, abs=1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradient_of_the_layer_is_twice_as_long(x64: None, seed: int) -> None:
    """And that of a batch is the sum of its samples' own."""
    batch = 5
    generator = np.random.default_rng(seed)
    x, y, w = (
        jnp.asarray(generator.normal(size=(n, k))) for n, k in ((batch, 2), (batch, 1), (2, 1))
    )
    weights = {"w": w, "b": jnp.ones(1)}
    grads = jax.grad(linear_regression.loss)(weights, x, y)
    of_each = linear_regression.example_gradients(weights, x, y)
    for name, grad in grads.items():
        np.testing.assert_allclose(of_each[name].sum(0), grad, rtol=1e-10, atol=1e-12)
    layer = jax.grad(linear_regression.layer_loss)(
        {"net.0": {"kernel": w, "bias": weights["b"]}}, x, y
    )["net.0"]
    np.testing.assert_allclose(layer["kernel"], 2 * grads["w"] / batch, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(layer["bias"], 2 * grads["b"] / batch, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", [5, 1])
def test_step_from_scratch_is_a_step_of_sgd_on_the_mean(x64: None, batch: int) -> None:
    """So that a run from scratch is `train` under `mean_loss`."""
    generator = np.random.default_rng(0)
    x, y, w = (
        jnp.asarray(generator.normal(size=shape)) for shape in ((batch, 2), (batch, 1), (2, 1))
    )
    weights = {"w": w, "b": jnp.ones(1)}
    by_hand, info = linear_regression.step(weights, x, y, lr=0.3)
    optimizer = linear_regression.layer_optimizer(Config(lr=0.3))
    state = training.TrainState(weights, optimizer.init(weights))
    state, mean = training.train_step(linear_regression.mean_loss, optimizer, state, (x, y))
    for name, weight in by_hand.items():
        np.testing.assert_allclose(state.params[name], weight, rtol=1e-14)
    np.testing.assert_allclose(mean.loss, info.loss / batch, rtol=1e-14)


def test_one_program_serves_many_learning_rates(x64: None) -> None:
    data, params, generator = linear_regression.layer_data_and_params(0, 65)
    permutations = jnp.asarray(linear_regression.layer_permutations(generator, 1, 65))

    def losses(lr: float | jax.Array) -> jax.Array:
        config = Config(epochs=1, lr=lr)
        loss = linear_regression.layer_loss
        return linear_regression.train(loss, params, permutations, config, data)[1].losses

    rates = jnp.array([0.01, 0.1], jnp.float32)
    batched = jax.jit(jax.vmap(losses))(rates)
    for i, rate in enumerate(rates):
        np.testing.assert_allclose(batched[i], losses(rate), rtol=1e-5)
    assert not np.allclose(batched[0], batched[1])


def test_permutations_of_all_epochs_fit_into_memory() -> None:
    config = Config(epochs=2 * 10**4, samples=10**4)
    with pytest.raises(ConfigError, match=r"epochs times samples must be at most 10\*\*8"):
        report.run(Request(0, config))
