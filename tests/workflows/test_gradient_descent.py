"""Gradient descent: where it ends is known, and each start under vmap is a start alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.workflows import gradient_descent
from reference_torch.workflows import gradient_descent as reference

NEWTON = jax.jit(gradient_descent.newton)


def test_closed_form_is_where_the_layer_ends(x64: None) -> None:
    """From every start that the layer can have, after any number of steps."""
    x = jnp.array([[1.0], [2.0], [3.0]])
    starts = jnp.linspace(-1, 1, 41)

    def end(start: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = {"linear": {"kernel": start[None, None]}}
        config = gradient_descent.Config()
        half, _ = gradient_descent.layer_train(params, x, 2 * x, config, steps=30)
        full, _ = gradient_descent.layer_train(half.params, x, 2 * x, config, steps=30)
        return half.params["linear"]["kernel"], full.params["linear"]["kernel"]

    for steps, ends in zip((30, 60), jax.jit(jax.vmap(end))(starts), strict=True):
        expected = [gradient_descent.closed_form(start, steps) for start in starts.tolist()]
        theirs = [reference.closed_form(start, steps) for start in starts.tolist()]
        np.testing.assert_allclose(np.ravel(ends), expected, rtol=1e-13)
        np.testing.assert_array_equal(expected, theirs)


def test_descent_by_hand_is_the_automatic_one_for_all_starts_at_once(x64: None) -> None:
    starts = jnp.linspace(-1, 1, 41)
    by_hand, automatic = (
        partial(gradient_descent.step_by_hand, lr=0.1),
        partial(gradient_descent.step, gradient_descent.parabola, lr=0.1),
    )
    ends = []
    for step in (by_hand, automatic):
        descend = partial(gradient_descent.train, step, steps=10)
        together, info = jax.jit(jax.vmap(descend))(starts)
        assert info.grads.shape == (41, 10)
        for start, end in zip(starts[::10], together[::10], strict=True):
            np.testing.assert_allclose(descend(start)[0], end, rtol=1e-14)
        ends.append(together)
    np.testing.assert_allclose(*ends, rtol=1e-13)
    # Each step leaves 0.8 of the distance from the minimum.
    np.testing.assert_allclose(ends[0] + 1, (starts + 1) * 0.8**10, rtol=1e-12)


@given(
    points=st.lists(st.integers(-4, 4), min_size=4, max_size=4, unique=True),
    seed=st.integers(0, 2**31 - 1),
)
@settings(max_examples=10)
def test_newton_solves_every_parabola_in_one_step(x64: None, points: list[int], seed: int) -> None:
    coefficients, start = np.random.default_rng(seed).normal(size=(2, 3))
    rows = np.stack([np.square(points), points, np.ones(len(points))], 1).astype(np.float64)
    y = rows @ coefficients
    design = gradient_descent.design_matrix(jnp.asarray(points, jnp.float64))
    np.testing.assert_array_equal(design, rows)
    their_points = torch.tensor(points, dtype=torch.float64)
    np.testing.assert_array_equal(design, reference.design_matrix(their_points))
    ours = NEWTON(jnp.asarray(start), design, jnp.asarray(y))
    theirs = reference.newton(torch.tensor(start), torch.tensor(rows), torch.tensor(y))
    np.testing.assert_allclose(ours, coefficients, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)


def test_other_seed_is_another_start_of_the_layer() -> None:
    """And of nothing else."""
    two, three = (gradient_descent.run(seed).figures for seed in (2, 3))
    layer = "gradient_descent.linear_layer"
    assert two[layer]["start"] != three[layer]["start"]
    assert {**two, layer: None} == {**three, layer: None}
    for figures in (two, three):
        assert abs(figures[layer]["start"]) <= 1
        assert abs(figures[layer]["w"] - figures[layer]["closed_form"]) < 1e-6
