"""Linear regression: the true plane is found, and the two halves differ by the factor they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.workflows import linear_regression
from jaxdnn.workflows.linear_regression import TRUE_B, TRUE_W, Config


def test_default_run_finds_the_plane() -> None:
    result = linear_regression.run()
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


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=8)
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


def test_run_from_a_key_vmaps_over_keys_and_learning_rates(x64: None) -> None:
    data, _ = linear_regression.data_and_start(0, 60)
    data = jax.tree.map(lambda array: array.astype(np.float64), data)

    def fit(key: jax.Array, lr: jax.Array) -> jax.Array:
        return linear_regression.fit(key, Config(epochs=1, lr=lr), data)[1].losses

    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.array([0.01, 0.1])
    together = jax.jit(jax.vmap(fit))(keys, rates)
    alone = jax.jit(fit)
    for lane in range(2):
        np.testing.assert_allclose(together[lane], alone(keys[lane], rates[lane]), rtol=1e-12)
    assert not np.allclose(together[0], together[1])
