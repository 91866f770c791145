"""Newton's method, which `torch.optim` does not have."""

from collections.abc import Callable

import torch

__all__ = ["newton_step"]


def newton_step(
    loss: Callable[[torch.Tensor], torch.Tensor], w: torch.Tensor, *, lr: float = 1.0
) -> torch.Tensor:
    """One step of Newton's method, ``w - lr · H⁻¹ ∇L``.

    Args:
      loss: a twice differentiable function from weights of shape ``(n,)`` to a scalar.
      w: the weights before the step, shape ``(n,)``; not changed.
      lr: the fraction of the full step.

    Returns:
      The weights after the step, shape ``(n,)``.

    Example:
      >>> newton_step(lambda w: ((w - 3.0) ** 2).sum(), torch.zeros(2))
      tensor([3., 3.])
    """
    hessian = torch.autograd.functional.hessian(loss, w)
    gradient = torch.autograd.functional.jacobian(loss, w)
    return w - lr * torch.linalg.solve(hessian, gradient)
