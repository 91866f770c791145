"""Automatic differentiation in six examples.

The mirror of `reference_torch.workflows.autograd`. There a tensor remembers how it was computed and
``backward`` walks back through that record; here `jax.grad` takes a function and returns another
one, its derivative. What is not to be differentiated is not marked on a tensor, but is an argument
that is not asked for, or passes through ``stop_gradient``.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdnn import torch_compat
from jaxdnn.errors import ConfigError
from jaxdnn.runs.result import Result
from jaxdnn.workflows.config import require_positive, require_seed

__all__ = [
    "SEED",
    "Config",
    "Products",
    "doubled",
    "jacobian_products",
    "line",
    "line_gradients",
    "mean_of_squares",
    "mean_of_squares_gradient",
    "power",
    "power_gradient",
    "run",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_gradient",
    "untracked",
    "untracked_gradient",
]

SEED = 0

Scalar = Float[Array, ""]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    norm_limit: float = 1000.0
    """The Jacobian's example doubles a vector until its Euclidean norm reaches this."""

    def __post_init__(self) -> None:
        require_positive("norm_limit", self.norm_limit)
        if self.norm_limit > 1e18:
            raise ConfigError(
                f"norm_limit must be at most 1e18, whose square float32 holds; got "
                f"{self.norm_limit!r}."
            )


def power(x: Scalar) -> Scalar:
    """``x²``."""
    return x**2


def power_gradient(x: Scalar) -> Scalar:
    """``2x``, by `jax.grad`."""
    return jax.grad(power)(x)


def sigmoid_cross_entropy(x: Scalar, y: Scalar) -> Scalar:
    r"""Binary cross-entropy of a sigmoid of a square.

    .. math:: -(y \log \sigma(x^2) + (1 - y) \log(1 - \sigma(x^2)))
    """
    sigma = jax.nn.sigmoid(x**2)
    return -(y * jnp.log(sigma) + (1 - y) * jnp.log(1 - sigma))


def sigmoid_cross_entropy_gradient(x: Scalar, y: Scalar) -> Scalar:
    """The derivative with respect to the label ``y``, which is ``-x²`` whatever ``y`` is."""
    return jax.grad(sigmoid_cross_entropy, argnums=1)(x, y)


def mean_of_squares(x: Float[Array, "rows columns"]) -> Scalar:
    """The mean of ``3(x + 2)²``."""
    return (3 * (x + 2) ** 2).mean()


def mean_of_squares_gradient(x: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """``6(x + 2)`` divided by the number of entries."""
    return jax.grad(mean_of_squares)(x)


def doubled(
    x: Float[Array, " n"], norm_limit: float | Scalar
) -> tuple[Float[Array, " n"], Int[Array, ""]]:
    """``2x``, doubled until its norm reaches a limit.

    How often is a matter of the value alone: it is decided outside of what is differentiated.

    Args:
      x: a vector that is not zero.
      norm_limit: the smallest norm to end with.

    Returns:
      ``2x · 2**doublings``, and the number of doublings.
    """
    start = jax.lax.stop_gradient(2 * x)
    doublings = jax.lax.while_loop(
        lambda k: jnp.linalg.norm(start * 2.0**k) < norm_limit, lambda k: k + 1, jnp.array(0)
    )
    return 2 * x * 2.0**doublings, doublings


class Products(NamedTuple):
    """A vector function's derivative in four forms.

    Attributes:
      vector_jacobian: ``vᵀ J``, what torch's ``y.backward(v)`` leaves in ``x.grad``.
      jacobian_vector: ``J v``.
      by_rows: ``J`` itself in reverse mode, a row for each output.
      by_columns: ``J`` itself in forward mode, a column for each input.
    """

    vector_jacobian: Float[Array, " n"]
    jacobian_vector: Float[Array, " n"]
    by_rows: Float[Array, "n n"]
    by_columns: Float[Array, "n n"]


def jacobian_products(
    x: Float[Array, " n"], v: Float[Array, " n"], norm_limit: float | Scalar
) -> Products:
    """The derivative of `doubled`: products with a vector, and the full Jacobian both ways."""

    def function(x: Float[Array, " n"]) -> Float[Array, " n"]:
        return doubled(x, norm_limit)[0]

    _, pull_back = jax.vjp(function, x)
    _, push_forward = jax.jvp(function, (x,), (v,))
    # A Jacobian's rows are one pull-back of each unit vector: vmap takes them all at once.
    rows = jax.vmap(lambda unit: pull_back(unit)[0])(jnp.eye(len(x)))
    return Products(pull_back(v)[0], push_forward, rows, jax.jacfwd(function)(x))


def untracked(x: Float[Array, " n"]) -> Scalar:
    """The sum of ``x² + x²``, the second of which counts as a constant."""
    return (x**2 + jax.lax.stop_gradient(x**2)).sum()


def untracked_gradient(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """``2x``: nothing comes through the part that is not tracked."""
    return jax.grad(untracked)(x)


def line(x: Scalar, w: Scalar, b: Scalar) -> Scalar:
    """``w x + b``."""
    return w * x + b


def line_gradients(x: Scalar, w: Scalar, b: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The derivatives with respect to all three."""
    return jax.grad(line, argnums=(0, 1, 2))(x, w, b)


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run autograd`` does: every example at the document's points.

    Args:
      seed: of the three normals whose Jacobian is taken.
      config: when to stop doubling.

    Returns:
      The derivatives, as figures.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> run().figures["autograd.power"]
      {'grad': 2.0}
    """
    require_seed(seed)
    one, two, three = (jnp.array(float(number)) for number in (1, 2, 3))
    square = jnp.ones((2, 2))
    v = jnp.array([0.1, 1.0, 0.0001])
    normals = jnp.asarray(torch_compat.Generator(seed).randn(3), v.dtype)

    y, doublings = jax.jit(doubled)(normals, config.norm_limit)
    products = jax.jit(jacobian_products)(normals, v, config.norm_limit)
    dx, dw, db = jax.jit(line_gradients)(one, two, three)
    (each,) = np.unique(jax.jit(mean_of_squares_gradient)(square))
    constant = jax.grad(lambda x: jax.lax.stop_gradient(x**2).sum())(normals)
    figures = {
        "autograd.power": {"grad": power_gradient(one)},
        "autograd.sigmoid_cross_entropy": {
            "x": one,
            "y": two,
            "dloss_dy": jax.jit(sigmoid_cross_entropy_gradient)(one, two),
        },
        "autograd.mean_of_squares": {"grad_each": each},
        "autograd.linear_node": {"x": one, "w": two, "b": three, "dx": dx, "dw": dw, "db": db},
        "autograd.jacobian": {
            "x": normals,
            "doublings": doublings,
            "y": y,
            "vector_jacobian_product": products.vector_jacobian,
            "jacobian_vector_product": products.jacobian_vector,
            "jacobian": products.by_rows,
            "forward_minus_reverse": products.by_columns - products.by_rows,
        },
        "autograd.untracked": {
            "grad": jax.jit(untracked_gradient)(normals),
            "grad_of_constant": constant,
        },
    }
    remarks = (
        "label 2: no probability, though the derivative with respect to the label, -x² = -1, "
        "holds for any label",
    )
    return Result("autograd", seed, config, figures, remarks)
