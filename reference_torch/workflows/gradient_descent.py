"""Gradient descent, from a derivative by hand to a layer under an optimiser.

The mirror of `jaxdnn.workflows.gradient_descent`: read the two side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from reference_torch import models
from reference_torch.optim import newton_step
from reference_torch.training import StepInfo

__all__ = ["Config", "design_matrix", "layer_criterion", "layer_init"]
__all__ += ["layer_optimizer", "layer_train", "newton", "one_weight_loss", "parabola"]
__all__ += ["parabola_slope", "quadratic_loss", "step", "step_by_hand", "train"]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    lr: float = 0.1
    """Learning rate of all fits but the last."""

    layer_lr: float = 0.01
    """Learning rate of the layer under SGD."""


def parabola(x: torch.Tensor) -> torch.Tensor:
    """``x² + 2x + 1``, whose minimum is 0 at -1."""
    return x**2 + 2 * x + 1


def parabola_slope(x: torch.Tensor) -> torch.Tensor:
    """``2x + 2``, the derivative of `parabola` by hand."""
    return 2 * x + 2


def step_by_hand(x: torch.Tensor, *, lr: float) -> StepInfo:
    """One step of gradient descent on `parabola`; ``x`` is changed in place."""
    value, slope = parabola(x), parabola_slope(x)
    x -= lr * slope
    return StepInfo(value, slope)


def step(
    loss: Callable[..., torch.Tensor], w: torch.Tensor, *batch: torch.Tensor, lr: float
) -> StepInfo:
    """One step of gradient descent; ``w``, which requires a gradient, is changed in place."""
    w.grad = None  # backward accumulates into an existing gradient
    value = loss(w, *batch)
    value.backward()
    assert w.grad is not None
    with torch.no_grad():  # autograd refuses to record an update in place
        w -= lr * w.grad
    return StepInfo(value.detach(), w.grad)


def train(
    step: Callable[[torch.Tensor], StepInfo], w: torch.Tensor, *, steps: int
) -> list[StepInfo]:
    """Repeat a step, which changes ``w`` in place; every step's info.

    Example:
      >>> x = torch.tensor(1.0, requires_grad=True)
      >>> history = train(lambda x: step(parabola, x, lr=0.1), x, steps=10)
      >>> print(f"{x.item():.4f}", [round(info.grads.item(), 2) for info in history[:3]])
      -0.7853 [4.0, 3.2, 2.56]
    """
    return [step(w) for _ in range(steps)]


def design_matrix(x: torch.Tensor) -> torch.Tensor:
    """The row ``(x², x, 1)`` of each point: three columns, stacked."""
    return torch.stack([x**2, x, torch.ones_like(x)], dim=1)


def quadratic_loss(w: torch.Tensor, rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error of a parabola with the coefficients ``w``."""
    return ((rows @ w - y) ** 2).mean()


def one_weight_loss(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error of ``w x``."""
    return ((w * x - y) ** 2).mean()


def newton(w: torch.Tensor, rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The parabola's coefficients in one second-order step, ``w - H⁻¹ ∇loss``."""
    return newton_step(lambda w: quadratic_loss(w, rows, y), w)


def layer_init(seed: int) -> nn.Module:
    """A layer of one weight, initialised from torch's global generator."""
    torch.manual_seed(seed)
    return models.linear(1, 1, bias=False)


layer_criterion = nn.MSELoss()
"""Mean squared error of outputs; a criterion does not see the module or its parameters."""


def layer_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD; the optimiser holds references to the parameters that it changes."""
    return torch.optim.SGD(model.parameters(), lr=config.layer_lr)


def layer_train(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, config: Config, *, steps: int
) -> torch.Tensor:
    """Full-batch steps that change the layer; every step's loss before its update."""
    optimizer = layer_optimizer(model, config)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = layer_criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)
