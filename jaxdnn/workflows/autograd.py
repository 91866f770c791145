"""Automatic differentiation in six examples.

The mirror of `reference_torch.workflows.autograd`. There a tensor remembers how it was computed and
``backward`` walks back through that record; here `jax.grad` takes a function and returns another
function, its derivative.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdnn.errors import ConfigError
from jaxdnn.workflows.config import require_positive

__all__ = ["Config", "Products", "doubled", "jacobian_products", "line", "line_gradients"]
__all__ += ["mean_of_squares", "mean_of_squares_gradient", "power", "power_gradient"]
__all__ += ["sigmoid_cross_entropy", "sigmoid_cross_entropy_gradient", "untracked"]
__all__ += ["untracked_gradient", "vector_function"]

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


power_gradient = jax.grad(power)
"""``2x``: where torch differentiates a value, JAX differentiates a function."""


def sigmoid_cross_entropy(x: Scalar, y: Scalar) -> Scalar:
    """Binary cross-entropy of ``σ(x²)``: ``-(y log σ + (1 - y) log(1 - σ))``."""
    sigma = jax.nn.sigmoid(x**2)
    return -(y * jnp.log(sigma) + (1 - y) * jnp.log(1 - sigma))


sigmoid_cross_entropy_gradient = jax.grad(sigmoid_cross_entropy, argnums=1)
"""With respect to the label ``y``: ``-x²``. torch marks a tensor, JAX names an argument."""


def mean_of_squares(x: Float[Array, "rows columns"]) -> Scalar:
    """The mean of ``3(x + 2)²``."""
    return (3 * (x + 2) ** 2).mean()


mean_of_squares_gradient = jax.grad(mean_of_squares)
"""``6(x + 2)`` divided by the number of entries."""


def doubled(
    x: Float[Array, " n"], norm_limit: float | Scalar
) -> tuple[Float[Array, " n"], Int[Array, ""]]:
    """``2x``, doubled until its norm reaches a limit; and how often it was doubled.

    A loop whose length depends on a value is Python's ``while`` in torch. In a compiled function it
    is a `jax.lax.while_loop`, which has no reverse mode; it only counts here, so needs none.
    """
    y = jax.lax.stop_gradient(2 * x)
    doublings = jax.lax.while_loop(
        lambda k: jnp.linalg.norm(y * 2.0**k) < norm_limit, lambda k: k + 1, jnp.array(0)
    )
    return 2 * x * 2.0**doublings, doublings


def vector_function(x: Float[Array, " 3"]) -> Float[Array, " 2"]:
    """``(x₀ x₁, x₁ sin x₂)``; unlike that of `doubled`, its Jacobian is not symmetric or square."""
    return jnp.stack([x[0] * x[1], x[1] * jnp.sin(x[2])])


class Products(NamedTuple):
    """A vector function's derivative in four forms."""

    vector_jacobian: Float[Array, " n"]  # uᵀ J, what torch's y.backward(u) leaves in x.grad
    jacobian_vector: Float[Array, " m"]  # J v
    by_rows: Float[Array, "m n"]  # J in reverse mode, a row for each output
    by_columns: Float[Array, "m n"]  # J in forward mode, a column for each input


def jacobian_products(
    function: Callable[[Float[Array, " n"]], Float[Array, " m"]],
    x: Float[Array, " n"],
    u: Float[Array, " m"],
    v: Float[Array, " n"],
) -> Products:
    """Products of the Jacobian at ``x`` with a vector from either side, and itself both ways."""
    _, pull_back = jax.vjp(function, x)
    _, push_forward = jax.jvp(function, (x,), (v,))
    # Each row is the pull-back of a unit vector; vmap takes all of them at once.
    rows = jax.vmap(lambda unit: pull_back(unit)[0])(jnp.eye(len(u)))
    return Products(pull_back(u)[0], push_forward, rows, jax.jacfwd(function)(x))


def untracked(x: Float[Array, " n"]) -> Scalar:
    """The sum of ``x² + x²``, the second of which counts as a constant.

    ``stop_gradient`` marks a value as constant; torch's ``no_grad`` suspends the record.
    """
    return (x**2 + jax.lax.stop_gradient(x**2)).sum()


untracked_gradient = jax.grad(untracked)
"""``2x``: nothing comes through the part that is not tracked."""


def line(x: Scalar, w: Scalar, b: Scalar) -> Scalar:
    """``w x + b``."""
    return w * x + b


line_gradients = jax.grad(line, argnums=(0, 1, 2))
"""The derivatives with respect to all three."""
