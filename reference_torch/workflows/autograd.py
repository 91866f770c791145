"""Automatic differentiation in six examples.

The mirror of `jaxdnn.workflows.autograd`: read the two side by side.
"""

from typing import NamedTuple

import torch

__all__ = [
    "Products",
    "doubled",
    "jacobian_products",
    "line",
    "line_gradients",
    "mean_of_squares",
    "mean_of_squares_gradient",
    "power",
    "power_gradient",
    "sigmoid_cross_entropy",
    "sigmoid_cross_entropy_gradient",
    "untracked",
    "untracked_gradient",
]


def power(x: torch.Tensor) -> torch.Tensor:
    """``x²``."""
    return x**2


def power_gradient(x: torch.Tensor) -> torch.Tensor:
    """``2x``, by ``torch.autograd.grad``."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(power(x), x)
    return gradient


def sigmoid_cross_entropy(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of a sigmoid of a square."""
    sigma = torch.sigmoid(x**2)
    return -(y * torch.log(sigma) + (1 - y) * torch.log(1 - sigma))


def sigmoid_cross_entropy_gradient(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The derivative with respect to the label ``y``, which is ``-x²`` whatever ``y`` is."""
    y = y.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(sigmoid_cross_entropy(x, y), y)
    return gradient


def mean_of_squares(x: torch.Tensor) -> torch.Tensor:
    """The mean of ``3(x + 2)²``."""
    return (3 * (x + 2) ** 2).mean()


def mean_of_squares_gradient(x: torch.Tensor) -> torch.Tensor:
    """``6(x + 2)`` divided by the number of entries."""
    x = x.detach().requires_grad_()
    mean_of_squares(x).backward()
    assert x.grad is not None
    return x.grad


def doubled(x: torch.Tensor, norm_limit: float) -> tuple[torch.Tensor, int]:
    """``2x``, doubled until its norm reaches a limit, and the number of doublings."""
    y, doublings = 2 * x, 0
    while y.detach().norm() < norm_limit:
        y, doublings = 2 * y, doublings + 1
    return y, doublings


class Products(NamedTuple):
    """A vector function's derivative in four forms.

    Attributes:
      vector_jacobian: ``vᵀ J``, what ``y.backward(v)`` leaves in ``x.grad``.
      jacobian_vector: ``J v``.
      by_rows: ``J`` itself in reverse mode, a row for each output.
      by_columns: ``J`` itself in forward mode, a column for each input.
    """

    vector_jacobian: torch.Tensor
    jacobian_vector: torch.Tensor
    by_rows: torch.Tensor
    by_columns: torch.Tensor


def jacobian_products(x: torch.Tensor, v: torch.Tensor, norm_limit: float) -> Products:
    """The derivative of `doubled`: products with a vector, and the full Jacobian both ways."""

    def function(x: torch.Tensor) -> torch.Tensor:
        return doubled(x, norm_limit)[0]

    x = x.detach().requires_grad_()
    function(x).backward(v)
    assert x.grad is not None
    _, jacobian_vector, *_ = torch.func.jvp(function, (x.detach(),), (v,))
    jacobian = torch.autograd.functional.jacobian
    by_rows = jacobian(function, x.detach())
    by_columns = jacobian(function, x.detach(), strategy="forward-mode", vectorize=True)
    return Products(x.grad, jacobian_vector, by_rows, by_columns)


def untracked(x: torch.Tensor) -> torch.Tensor:
    """The sum of ``x² + x²``, the second of which is computed without a record."""
    with torch.no_grad():
        constant = x**2
    return (x**2 + constant).sum()


def untracked_gradient(x: torch.Tensor) -> torch.Tensor:
    """``2x``: nothing comes through the part that is not tracked."""
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
    line(x, w, b).backward()
    assert x.grad is not None
    assert w.grad is not None
    assert b.grad is not None
    return x.grad, w.grad, b.grad
