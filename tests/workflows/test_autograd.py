"""The derivatives of the tutorials against what they are; against torch in `test_mirror`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdnn.errors import ConfigError
from jaxdnn.workflows import autograd
from reference_torch.workflows import autograd as reference


@pytest.mark.parametrize("x", [-4.0, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("y", [-3.0, 0.5, 2.0])
def test_derivative_by_the_label_is_minus_x_squared(x64: None, x: float, y: float) -> None:
    slope = autograd.sigmoid_cross_entropy_gradient(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(slope, -(x**2), rtol=1e-7, atol=1e-12)


DOUBLED = jax.jit(autograd.doubled)


@pytest.mark.parametrize(
    ("scale", "norm_limit"), [(-3, 1.0), (0, 1000.0), (5, 1e5), (12, 1.0), (12, 1e5)]
)
def test_doubled_as_often_as_it_takes(x64: None, scale: int, norm_limit: float) -> None:
    """And how often is not differentiated: the derivative is a power of 2 times the identity."""
    x, v = np.random.default_rng(scale + 3).normal(size=(2, 3)) * 2.0**scale
    y, doublings = DOUBLED(jnp.asarray(x), norm_limit)
    their_y, their_doublings = reference.doubled(torch.tensor(x), norm_limit)
    np.testing.assert_allclose(y, their_y, rtol=1e-12)
    k = int(doublings)
    assert k == their_doublings
    assert np.linalg.norm(y) >= norm_limit
    assert k == 0 or np.linalg.norm(y) / 2 < norm_limit

    ours = autograd.jacobian_products(
        lambda x: autograd.doubled(x, norm_limit)[0], *map(jnp.asarray, (x, v, v))
    )
    np.testing.assert_array_equal(ours.vector_jacobian, v * 2.0 ** (k + 1))
    np.testing.assert_array_equal(ours.by_rows, 2.0 ** (k + 1) * np.eye(3))


def test_doubling_ends_where_the_limit_is_reached_exactly(x64: None) -> None:
    x = np.array([1.5, 0.0, 2.0])  # 2x has norm 5
    for limit, expected in ((5.0, 0), (10.0, 1), (10.5, 2)):
        assert int(DOUBLED(jnp.asarray(x), limit)[1]) == expected
        assert reference.doubled(torch.tensor(x), limit)[1] == expected


MATRIX = np.random.default_rng(9).normal(size=(4, 3))

FUNCTIONS = {
    "the lesson's": (autograd.vector_function, reference.vector_function),
    "the document's": (
        lambda x: autograd.doubled(x, 1000.0)[0],
        lambda x: reference.doubled(x, 1000.0)[0],
    ),
    "more outputs than inputs": (
        lambda x: jnp.tanh(jnp.asarray(MATRIX) @ x),
        lambda x: torch.tanh(torch.tensor(MATRIX) @ x),
    ),
    "square": (
        lambda x: x[0] * jnp.asarray(MATRIX[:3]) @ x,
        lambda x: x[0] * torch.tensor(MATRIX[:3]) @ x,
    ),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("name", FUNCTIONS)
def test_jacobian_is_torchs_in_every_form(x64: None, name: str) -> None:
    """All but one of the Jacobians change when they are transposed."""
    function, reference_function = FUNCTIONS[name]
    x, v, weights = np.random.default_rng(len(name)).normal(size=(3, 3))
    u = np.resize(weights, len(function(jnp.asarray(x))))
    ours = jax.jit(autograd.jacobian_products, static_argnums=0)(
        function, *map(jnp.asarray, (x, u, v))
    )
    theirs = reference.jacobian_products(reference_function, *map(torch.tensor, (x, u, v)))
    assert ours._fields == theirs._fields
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
    # Central differences need neither framework's derivatives.
    step = 1e-6 * jnp.eye(3)
    columns = [(function(x + dx) - function(x - dx)) / 2e-6 for dx in step]
    np.testing.assert_allclose(ours.by_rows, np.stack(columns, 1), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(ours.vector_jacobian, u @ ours.by_rows, rtol=1e-13)
    np.testing.assert_allclose(ours.jacobian_vector, ours.by_rows @ v, rtol=1e-13)


@pytest.mark.parametrize(("limit", "message"), [(0.0, "above 0"), (1e19, "at most 1e18")])
def test_limit_out_of_range(limit: float, message: str) -> None:
    with pytest.raises(ConfigError, match=f"norm_limit must be {message}"):
        autograd.Config(norm_limit=limit)
