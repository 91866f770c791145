"""Gradient descent: where it ends is known, and each descent under vmap is a descent alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdnn.runs.reports import gradient_descent as report
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows import gradient_descent
from reference_torch.workflows import gradient_descent as reference

NEWTON = jax.jit(gradient_descent.newton)


def test_closed_form_is_where_the_layer_ends(x64: None) -> None:
    """From every initial weight that the layer can have, after any number of steps."""
    x = jnp.array([[1.0], [2.0], [3.0]])
    initial = jnp.linspace(-1, 1, 41)

    def end(weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = {"linear": {"kernel": weight[None, None]}}
        config = gradient_descent.Config()
        half, _ = gradient_descent.layer_train(params, x, 2 * x, config, steps=30)
        full, _ = gradient_descent.layer_train(half.params, x, 2 * x, config, steps=30)
        return half.params["linear"]["kernel"], full.params["linear"]["kernel"]

    for steps, ends in zip((30, 60), jax.jit(jax.vmap(end))(initial), strict=True):
        expected = [report.closed_form(w, steps) for w in initial.tolist()]
        np.testing.assert_allclose(np.ravel(ends), expected, rtol=1e-13)


def test_descent_by_hand_is_the_automatic_one_for_a_whole_batch(x64: None) -> None:
    initial = jnp.linspace(-1, 1, 41)
    ends = []
    for step in (
        partial(gradient_descent.step_by_hand, lr=0.1),
        partial(gradient_descent.step, gradient_descent.parabola, lr=0.1),
    ):
        descend = jax.jit(jax.vmap(partial(gradient_descent.train, step, steps=10)))
        batched, info = descend(initial)
        assert info.grads.shape == (41, 10)
        np.testing.assert_allclose(descend(initial[:1])[0], batched[:1], rtol=1e-14)
        ends.append(batched)
    np.testing.assert_allclose(*ends, rtol=1e-13)
    # Each step leaves 0.8 of the distance from the minimum.
    np.testing.assert_allclose(ends[0] + 1, (initial + 1) * 0.8**10, rtol=1e-12)

    x = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    history = reference.train(partial(reference.step, reference.parabola, lr=0.1), x, steps=10)
    np.testing.assert_allclose(x.item(), ends[1][-1], rtol=1e-14)
    theirs = torch.stack([torch.as_tensor(step.grads) for step in history])
    np.testing.assert_allclose(theirs, info.grads[-1], rtol=1e-13)


@pytest.mark.parametrize("points", [[0, 1, 2, 3], [-4, -1, 2, 4], [-3, 3, 1, 0]])
def test_newton_solves_every_parabola_in_one_step(x64: None, points: list[int]) -> None:
    coefficients, initial = np.random.default_rng(points[0] + 4).normal(size=(2, 3))
    rows = np.stack([np.square(points), points, np.ones(len(points))], 1).astype(np.float64)
    design = gradient_descent.design_matrix(jnp.asarray(points, jnp.float64))
    np.testing.assert_array_equal(design, rows)
    solved = NEWTON(jnp.asarray(initial), design, jnp.asarray(rows @ coefficients))
    np.testing.assert_allclose(solved, coefficients, rtol=1e-7, atol=1e-8)


def test_other_seed_is_another_initial_weight_of_the_layer() -> None:
    """And of nothing else."""
    two, three = (report.run(Request(seed, report.Config())).figures for seed in (2, 3))
    layer = "gradient_descent.linear_layer"
    assert two[layer]["start"] != three[layer]["start"]
    assert {**two, layer: None} == {**three, layer: None}
    for figures in (two, three):
        assert abs(figures[layer]["start"]) <= 1
        assert abs(figures[layer]["w"] - figures[layer]["closed_form"]) < 1e-6
