"""Losses against torch's, values and gradients."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.losses
from jaxdnn import losses


@settings(max_examples=14)
@given(
    samples=st.integers(1, 6),
    classes=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    dtype=st.sampled_from(["uint8", "int32", "int64"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_cross_entropy_is_torchs(
    x64: None,
    samples: int,
    classes: int,
    scale: float,
    reduction: losses.Reduction,
    dtype: str,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(samples, classes)) * scale
    labels = generator.integers(0, classes, samples)
    weights = generator.normal(size=samples if reduction == "none" else ())

    values, pull_back = jax.vjp(
        lambda z: losses.cross_entropy(z, jnp.asarray(labels, dtype), reduction=reduction),
        jnp.asarray(logits),
    )
    (grads,) = pull_back(jnp.asarray(weights))
    torch_logits = torch.tensor(logits, requires_grad=True)
    expected = reference_torch.losses.cross_entropy(
        torch_logits, torch.tensor(labels), reduction=reduction
    )
    expected.backward(torch.tensor(weights))

    assert torch_logits.grad is not None
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(grads, torch_logits.grad, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("labels", "reduction", "says"),
    [
        (jnp.array([0]), "mean", r"one integer for each row of logits \(2, 3\); got int32 of"),
        (jnp.array([0.0, 1.0]), "mean", "got float32"),
        (jnp.array([0, 1]), "average", "reduction must be 'mean', 'sum' or 'none'"),
    ],
)
def test_wrong_use_is_an_error_not_a_number(labels: jax.Array, reduction: Any, says: str) -> None:
    unchecked = inspect.unwrap(losses.cross_entropy)  # without the tests' own check of types
    with pytest.raises(ValueError, match=says):
        unchecked(jnp.zeros((2, 3)), labels, reduction=reduction)


def test_label_that_wraps_in_32_bits_is_nan(x64: None) -> None:
    assert np.isnan(losses.cross_entropy(jnp.zeros((1, 3)), jnp.array([2**32])))


@pytest.mark.parametrize("label", [-1, -100, 3])
def test_label_out_of_range_is_nan_not_another_class(label: int) -> None:
    logits = jnp.zeros((2, 3))
    value = jax.jit(losses.cross_entropy)(logits, jnp.array([0, label]))
    assert np.isnan(value)


PROBABILITIES = st.sampled_from([0.0, 1.0, 0.5, 1e-45, 1e-13, 1e-300, 1 - 1e-16, 0.3])
TARGETS = st.sampled_from([0.0, 1.0, 0.25])


@settings(max_examples=14)
@given(
    name=st.sampled_from(["mse", "bce"]),
    pairs=st.lists(
        st.tuples(PROBABILITIES, st.sampled_from([0.0, 1.0, 0.25])), min_size=1, max_size=6
    ),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    seed=st.integers(0, 2**31 - 1),
)
def test_loss_of_two_arrays_is_torchs(
    x64: None,
    name: str,
    pairs: list[tuple[float, float]],
    reduction: losses.Reduction,
    seed: int,
) -> None:
    """Values and both gradients, at 0 and 1 too, where torch bounds the logarithms."""
    outputs, targets = (np.array(side)[:, None] for side in zip(*pairs, strict=True))
    weights = np.random.default_rng(seed).normal(size=outputs.shape if reduction == "none" else ())
    values, pull_back = jax.vjp(
        lambda x, y: getattr(losses, name)(x, y, reduction=reduction),
        jnp.asarray(outputs),
        jnp.asarray(targets),
    )
    grads = pull_back(jnp.asarray(weights))
    tensors = [torch.tensor(side, requires_grad=True) for side in (outputs, targets)]
    expected = getattr(reference_torch.losses, name)(*tensors, reduction=reduction)
    expected.backward(torch.tensor(weights))

    np.testing.assert_allclose(values, expected.detach(), rtol=1e-13, atol=1e-13)
    for grad, tensor in zip(grads, tensors, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(grad, tensor.grad, rtol=1e-13, atol=1e-13)


def test_probability_outside_is_nan() -> None:
    for probability in (-0.1, 1.1):
        for target in (0.0, 1.0):
            value = losses.bce(jnp.array([probability]), jnp.array([target]))
            assert np.isnan(value), (probability, target)


@pytest.mark.parametrize("name", ["mse", "bce"])
def test_nothing_is_broadcast(name: str) -> None:
    unchecked = inspect.unwrap(getattr(losses, name))
    with pytest.raises(ValueError, match=r"\(3, 1\) and targets \(3,\) differ"):
        unchecked(jnp.ones((3, 1)), jnp.ones(3))
