"""The derivatives of the tutorials against torch's, and against what they are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.errors import ConfigError
from jaxdnn.workflows import autograd
from reference_torch.workflows import autograd as reference

NUMBERS = st.floats(-4, 4)


def equal(ours: Any, theirs: Any) -> None:
    ours, theirs = (side if isinstance(side, tuple) else (side,) for side in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("power", 1),
        ("sigmoid_cross_entropy", 2),
        ("line", 3),
    ],
)
@given(numbers=st.lists(NUMBERS, min_size=3, max_size=3))
@settings(max_examples=10)
def test_value_and_derivative_are_torchs(
    x64: None, name: str, arguments: int, numbers: list[float]
) -> None:
    ours = [jnp.asarray(number) for number in numbers[:arguments]]
    theirs = [torch.tensor(number, dtype=torch.float64) for number in numbers[:arguments]]
    equal(getattr(autograd, name)(*ours), getattr(reference, name)(*theirs))
    derivative = {"line": "line_gradients"}.get(name, f"{name}_gradient")
    equal(getattr(autograd, derivative)(*ours), getattr(reference, derivative)(*theirs))


@given(numbers=st.lists(NUMBERS, min_size=6, max_size=6))
@settings(max_examples=10)
def test_gradients_of_arrays_are_torchs(x64: None, numbers: list[float]) -> None:
    flat = np.array(numbers)
    square = flat.reshape(2, 3)
    equal(
        autograd.mean_of_squares(jnp.asarray(square)),
        reference.mean_of_squares(torch.tensor(square)),
    )
    equal(
        autograd.mean_of_squares_gradient(jnp.asarray(square)),
        reference.mean_of_squares_gradient(torch.tensor(square)),
    )
    equal(autograd.untracked(jnp.asarray(numbers)), reference.untracked(torch.tensor(flat)))
    equal(
        autograd.untracked_gradient(jnp.asarray(numbers)),
        reference.untracked_gradient(torch.tensor(flat)),
    )


@given(x=NUMBERS, y=st.floats(-3, 3))
@settings(max_examples=10)
def test_derivative_by_the_label_is_minus_x_squared(x64: None, x: float, y: float) -> None:
    slope = autograd.sigmoid_cross_entropy_gradient(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(slope, -(x**2), rtol=1e-7, atol=1e-12)


DOUBLED = jax.jit(autograd.doubled)
PRODUCTS = jax.jit(autograd.jacobian_products)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@given(seed=st.integers(0, 2**31 - 1), scale=st.integers(-3, 12), norm_limit=st.floats(1, 1e5))
@settings(max_examples=15)
def test_jacobian_is_torchs_in_every_form(
    x64: None, seed: int, scale: int, norm_limit: float
) -> None:
    """And a power of 2 times the identity, since how often to double is not differentiated."""
    x, v = np.random.default_rng(seed).normal(size=(2, 3)) * 2.0**scale
    y, doublings = DOUBLED(jnp.asarray(x), norm_limit)
    their_y, their_doublings = reference.doubled(torch.tensor(x), norm_limit)
    equal(y, their_y)
    k = int(doublings)
    assert k == their_doublings
    # Twice, and then as often as it takes: no more, no less.
    assert np.linalg.norm(y) >= norm_limit
    assert k == 0 or np.linalg.norm(y) / 2 < norm_limit

    ours = PRODUCTS(jnp.asarray(x), jnp.asarray(v), norm_limit)
    theirs = reference.jacobian_products(torch.tensor(x), torch.tensor(v), norm_limit)
    assert ours._fields == theirs._fields
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(ours.vector_jacobian, v * 2.0 ** (k + 1))
    np.testing.assert_array_equal(ours.by_rows, 2.0 ** (k + 1) * np.eye(3))
    np.testing.assert_array_equal(ours.by_rows, ours.by_columns)


def test_what_is_not_tracked_has_exactly_no_gradient() -> None:
    figures = autograd.run().figures
    assert figures["autograd.untracked"]["grad_of_constant"] == [0, 0, 0]
    normals = np.float32(figures["autograd.jacobian"]["x"])
    np.testing.assert_array_equal(figures["autograd.untracked"]["grad"], 2 * normals)
    assert figures["autograd.jacobian"]["forward_minus_reverse"] == [[0, 0, 0]] * 3


@pytest.mark.parametrize("seed", [0, 5])
def test_normals_are_those_of_the_seed(seed: int) -> None:
    torch.manual_seed(seed)
    figures = autograd.run(seed).figures
    np.testing.assert_allclose(figures["autograd.jacobian"]["x"], torch.randn(3), atol=2e-6)


def test_limit_of_the_doubling_is_a_setting() -> None:
    few, many = (
        autograd.run(0, autograd.Config(norm_limit=limit)).figures["autograd.jacobian"]["doublings"]
        for limit in (10.0, 1e6)
    )
    assert (few, many) == (1, 18)
    with pytest.raises(ConfigError, match="norm_limit must be above 0"):
        autograd.Config(norm_limit=0.0)
