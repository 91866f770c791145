"""Two layers: the backward pass that the document prints, and the one that is meant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.workflows import two_layer_net
from reference_torch.workflows import two_layer_net as reference


def small(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    shapes = {"w1": (4, 6), "w2": (6, 2)}
    weights = {name: generator.normal(size=shape) for name, shape in shapes.items()}
    return weights, generator.normal(size=(5, 4)), generator.normal(size=(5, 2))


@pytest.mark.parametrize("as_printed", [True, False])
@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=8)
def test_backward_by_hand_is_torchs(x64: None, as_printed: bool, seed: int) -> None:
    weights, x, y = small(seed)
    ours = two_layer_net.gradients_by_hand(
        jax.tree.map(jnp.asarray, weights), jnp.asarray(x), jnp.asarray(y), as_printed=as_printed
    )
    theirs = reference.gradients_by_hand(
        {name: torch.tensor(array) for name, array in weights.items()},
        torch.tensor(x),
        torch.tensor(y),
        as_printed=as_printed,
    )
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**31 - 1))
@settings(max_examples=8)
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


def test_figures_count_the_wrong_entries() -> None:
    x, y, weights = two_layer_net.data_and_start(0)
    figures = two_layer_net.run().figures
    active = x @ weights["w1"] > 0
    unmasked = 2 * (np.maximum(x @ weights["w1"], 0) @ weights["w2"] - y) @ weights["w2"].T
    by_hand = figures["two_layer_net.by_hand"]
    assert by_hand["wrongly_zeroed"] == (active & (unmasked < 0)).sum()
    assert by_hand["wrongly_passed"] == (~active & (unmasked > 0)).sum()
    masked = two_layer_net.run(0, two_layer_net.Config(as_printed=False)).figures
    assert masked["two_layer_net.by_hand"]["relative_error_w1"] < 1e-6
    assert masked["two_layer_net.by_hand"]["wrongly_zeroed"] == 0
    assert masked["two_layer_net.by_hand"]["wrongly_passed"] == 0
    assert masked["two_layer_net.autograd"] == figures["two_layer_net.autograd"]
    np.testing.assert_allclose(
        masked["two_layer_net.by_hand"]["losses"],
        masked["two_layer_net.autograd"]["losses"],
        rtol=1e-5,
    )
    module = figures["two_layer_net.module"]
    assert abs(module["loss_minus_autograd"]) < 1e-6 * by_hand["losses"][0]
    assert max(module["relative_error_w1"], module["relative_error_w2"]) < 1e-6


def test_module_takes_its_weights_as_arguments_and_its_backward_is_never_called(
    x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(reference.TwoLayer, "backward", lambda _: calls.append("backward"))
    arrays, *batch = small(0)
    weights = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    x, y = map(torch.tensor, batch)
    reference.loss(weights, x, y).backward()
    assert calls == []
    value, grads = jax.value_and_grad(two_layer_net.loss)(
        jax.tree.map(jnp.asarray, arrays), *map(jnp.asarray, batch)
    )
    outputs = two_layer_net.forward(jnp.asarray(batch[0]), **jax.tree.map(jnp.asarray, arrays))
    np.testing.assert_allclose(outputs, reference.forward(x, **weights).detach(), rtol=1e-12)
    np.testing.assert_allclose(value, reference.loss(weights, x, y).detach(), rtol=1e-12)
    for name, weight in weights.items():
        assert weight.grad is not None
        np.testing.assert_allclose(grads[name], weight.grad, rtol=1e-12, atol=1e-12)
