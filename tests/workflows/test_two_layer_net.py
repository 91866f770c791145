"""Two layers: the backward pass that the document prints, and the one that is meant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdnn.workflows import two_layer_net
from reference_torch.workflows import two_layer_net as reference


def small(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = {"w1": (4, 6), "w2": (6, 2)}
    weights = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    return weights, generator.normal(size=(5, 4)), generator.normal(size=(5, 2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_masked_is_the_gradient_and_clamped_is_not(x64: None, seed: int) -> None:
    """Clamping loses what is negative and lets through what belongs to a relu that is off."""
    arrays, *batch = small(seed)
    weights = jax.tree.map(jnp.asarray, arrays)
    x, y = map(jnp.asarray, batch)
    value, grads = jax.value_and_grad(two_layer_net.loss)(weights, x, y)
    masked = two_layer_net.gradients_by_hand(weights, x, y, as_printed=False)
    printed = two_layer_net.gradients_by_hand(weights, x, y, as_printed=True)
    for loss, by_hand, _ in (masked, printed):
        np.testing.assert_allclose(loss, value, rtol=1e-13)
        np.testing.assert_allclose(by_hand["w2"], grads["w2"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(masked[1]["w1"], grads["w1"], rtol=1e-12, atol=1e-12)

    active = np.array(x @ weights["w1"] > 0)
    unmasked = np.array(2 * (two_layer_net.forward(x, **weights) - y) @ weights["w2"].T)
    np.testing.assert_allclose(masked[2], np.where(active, unmasked, 0), atol=1e-12)
    np.testing.assert_allclose(printed[2], np.where(unmasked > 0, unmasked, 0), atol=1e-12)
    differ = ~np.isclose(masked[2], printed[2])
    np.testing.assert_array_equal(differ, active != (unmasked > 0))
    assert differ.any()


def test_modules_own_backward_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(reference.TwoLayer, "backward", lambda _: calls.append("backward"))
    arrays, *batch = small(0)
    weights = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    x, y = map(torch.tensor, batch)
    reference.loss(weights, x, y).backward()
    assert calls == []
    assert all(weight.grad is not None for weight in weights.values())
