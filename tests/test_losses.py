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


@settings(max_examples=50)
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
