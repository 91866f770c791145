"""The report of ``jaxdnn run autograd``: every example at the document's points."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdnn import torch_compat
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.workflows import autograd
from jaxdnn.workflows.autograd import Config
from jaxdnn.workflows.config import require_seed

__all__ = ["SEED", "Config", "Inputs", "run"]

SEED = 0

Inputs = NoInputs


def run(request: Request) -> Result:
    """Differentiate the examples; the seed determines the point of the Jacobian.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> run(Request(SEED, Config())).figures["autograd.power"]
      {'grad': 2.0}
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    one, two, three = (jnp.array(float(number)) for number in (1, 2, 3))
    v = jnp.array([0.1, 1.0, 0.0001])
    normals = jnp.asarray(torch_compat.Generator(seed).randn(3), v.dtype)

    y, doublings = jax.jit(autograd.doubled)(normals, config.norm_limit)

    def products(function: Callable[[Array], Array], *vectors: Array) -> autograd.Products:
        return jax.jit(partial(autograd.jacobian_products, function))(normals, *vectors)

    square = products(lambda x: autograd.doubled(x, config.norm_limit)[0], v, v)
    oblong = products(autograd.vector_function, v[:2], v)
    dx, dw, db = jax.jit(autograd.line_gradients)(one, two, three)
    (each,) = np.unique(jax.jit(autograd.mean_of_squares_gradient)(jnp.ones((2, 2))))
    constant = jax.grad(lambda x: jax.lax.stop_gradient(x**2).sum())(normals)
    figures = {
        "autograd.power": {"grad": autograd.power_gradient(one)},
        "autograd.sigmoid_cross_entropy": {
            "x": one,
            "y": two,
            "dloss_dy": jax.jit(autograd.sigmoid_cross_entropy_gradient)(one, two),
        },
        "autograd.mean_of_squares": {"z": 3 * (one + 2) ** 2, "grad_each": each},
        "autograd.linear_node": {"x": one, "w": two, "b": three, "dx": dx, "dw": dw, "db": db},
        "autograd.jacobian": {
            "x": normals,
            "doublings": doublings,
            "y": y,
            "vector_jacobian_product": square.vector_jacobian,
            "jacobian_vector_product": square.jacobian_vector,
            "jacobian": square.by_rows,
            "forward_minus_reverse": square.by_columns - square.by_rows,
        },
        "autograd.jacobian_of_vector_function": {
            "vector_jacobian_product": oblong.vector_jacobian,
            "jacobian_vector_product": oblong.jacobian_vector,
            "jacobian": oblong.by_rows,
            "forward_minus_reverse": oblong.by_columns - oblong.by_rows,
        },
        "autograd.untracked": {
            "grad": jax.jit(autograd.untracked_gradient)(normals),
            "grad_of_constant": constant,
        },
    }
    remarks = (
        "000 In [7]: label 2 is not a probability, but the derivative with respect to the label, "
        "-x² = -1, holds for any label",
        "001, Jacobian matrix: backward(v) computes Jᵀv and not, as written there, J·v. The "
        "document's own function has 2ᵏ times the identity as its Jacobian, so both are equal; "
        f"for (x₀ x₁, x₁ sin x₂) Jᵀu has {oblong.vector_jacobian.size} entries and J·v "
        f"{oblong.jacobian_vector.size}",
    )
    return Result("autograd", seed, config, figures, remarks)
