"""Newton's step: quadratics in one step, and torch's step elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_torch.optim
from jaxdnn import optim


@settings(max_examples=2)
@given(size=st.sampled_from([1, 4]), seed=st.integers(0, 2**31 - 1))
def test_a_quadratic_is_solved_in_one_step(x64: None, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(size, size))
    hessian = root @ root.T + np.eye(size)
    minimum, start = generator.normal(size=(2, size))

    def loss(w: jax.Array) -> jax.Array:
        return (w - minimum) @ hessian @ (w - minimum)

    np.testing.assert_allclose(optim.newton_step(loss, jnp.asarray(start)), minimum, atol=1e-9)


@settings(max_examples=2)
@given(size=st.sampled_from([1, 4]), lr=st.floats(0.1, 1), seed=st.integers(0, 2**31 - 1))
def test_a_step_is_torchs(x64: None, size: int, lr: float, seed: int) -> None:
    start = np.random.default_rng(seed).normal(size=size)
    ours = optim.newton_step(lambda w: jnp.cosh(w - 1).sum() + w @ w, jnp.asarray(start), lr=lr)
    theirs = reference_torch.optim.newton_step(
        lambda w: torch.cosh(w - 1).sum() + w @ w, torch.tensor(start), lr=lr
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
