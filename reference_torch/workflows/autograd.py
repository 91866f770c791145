"""Automatic differentiation in six examples.

The mirror of `jaxdnn.workflows.autograd`: read the two side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

__all__ = ["Config", "Products", "doubled", "jacobian_products", "line", "line_gradients"]
__all__ += ["mean_of_squares", "mean_of_squares_gradient", "power", "power_gradient"]
__all__ += ["sigmoid_cross_entropy", "sigmoid_cross_entropy_gradient", "untracked"]
__all__ += ["untracked_gradient", "vector_function"]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    norm_limit: float = 1000.0
    """Euclidean norm at which the example of the Jacobian stops doubling its vector."""


def power(x: torch.Tensor) -> torch.Tensor:
    """``x²``."""
    return x**2


def power_gradient(x: torch.Tensor) -> torch.Tensor:
    """``2x``. torch differentiates a computed value, JAX a function at a point."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(power(x), x)
    return gradient


def sigmoid_cross_entropy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of ``σ(x²)``: ``-(y log σ + (1 - y) log(1 - σ))``."""
    sigma = torch.sigmoid(x**2)
    return -(y * torch.log(sigma) + (1 - y) * torch.log(1 - sigma))


def sigmoid_cross_entropy_gradient(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``-x²``, the derivative with respect to ``y``, the tensor that requires a gradient."""
    y = y.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(sigmoid_cross_entropy(x, y), y)
    return gradient


def mean_of_squares(x: torch.Tensor) -> torch.Tensor:
    """The mean of ``3(x + 2)²``."""
    return (3 * (x + 2) ** 2).mean()


def mean_of_squares_gradient(x: torch.Tensor) -> torch.Tensor:
    """``6(x + 2) / n`` for ``n`` entries; ``backward`` stores it in ``x.grad``."""
    x = x.detach().requires_grad_()
    mean_of_squares(x).backward()
    assert x.grad is not None  # None before backward
    return x.grad


def doubled(x: torch.Tensor, norm_limit: float) -> tuple[torch.Tensor, int]:
    """``2x``, doubled until its norm reaches a limit; and the number of doublings.

    A Python ``while`` is sufficient, because torch records the operations that are executed.
    """
    y, doublings = 2 * x, 0
    while y.detach().norm() < norm_limit:
        y, doublings = 2 * y, doublings + 1
    return y, doublings


def vector_function(x: torch.Tensor) -> torch.Tensor:
    """``(x₀ x₁, x₁ sin x₂)``; unlike that of `doubled`, its Jacobian is not symmetric or square."""
    return torch.stack([x[0] * x[1], x[1] * torch.sin(x[2])])


class Products(NamedTuple):
    """The derivative of a vector function: two products with a vector, and the Jacobian twice."""

    vector_jacobian: torch.Tensor  # uᵀ J, what y.backward(u) leaves in x.grad
    jacobian_vector: torch.Tensor  # J v
    by_rows: torch.Tensor  # J in reverse mode, a row for each output
    by_columns: torch.Tensor  # J in forward mode, a column for each input


def jacobian_products(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    u: torch.Tensor,
    v: torch.Tensor,
) -> Products:
    """Products of the Jacobian at ``x`` with a vector from either side, and itself both ways."""
    x = x.detach().requires_grad_()
    function(x).backward(u)
    assert x.grad is not None
    # The other three transform a function, as in JAX.
    _, jacobian_vector, *_ = torch.func.jvp(function, (x.detach(),), (v,))
    jacobian = torch.autograd.functional.jacobian
    by_rows = jacobian(function, x.detach())
    by_columns = jacobian(function, x.detach(), strategy="forward-mode", vectorize=True)
    return Products(x.grad, jacobian_vector, by_rows, by_columns)


def untracked(x: torch.Tensor) -> torch.Tensor:
    """The sum of ``x² + x²``; autograd does not record the second term."""
    with torch.no_grad():
        constant = x**2
    return (x**2 + constant).sum()


def untracked_gradient(x: torch.Tensor) -> torch.Tensor:
    """``2x``: the term that is not recorded is a constant."""
    x = x.detach().requires_grad_()
    untracked(x).backward()
    assert x.grad is not None
    return x.grad


def line(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``w x + b``."""
    return w * x + b


def line_gradients(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The derivatives with respect to all three."""
    x, w, b = (tensor.detach().requires_grad_() for tensor in (x, w, b))
    dx, dw, db = torch.autograd.grad(line(x, w, b), (x, w, b))
    return dx, dw, db
