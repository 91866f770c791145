"""Gradient descent, from a derivative by hand to a layer under an optimiser.

The mirror of `jaxdnn.workflows.gradient_descent`: read the two side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from reference_torch import models, training
from reference_torch.losses import mse
from reference_torch.optim import newton_step
from reference_torch.training import StepInfo

__all__ = [
    "Config",
    "closed_form",
    "design_matrix",
    "layer_loss",
    "layer_optimizer",
    "layer_start",
    "layer_train",
    "newton",
    "one_weight_loss",
    "parabola",
    "parabola_slope",
    "quadratic_loss",
    "step",
    "step_by_hand",
    "train",
]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

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
    """One step down `parabola`; ``x`` is changed."""
    value, slope = parabola(x), parabola_slope(x)
    x -= lr * slope
    return StepInfo(value, slope)


def step(
    loss: Callable[..., torch.Tensor], w: torch.Tensor, *batch: torch.Tensor, lr: float
) -> StepInfo:
    """One step of gradient descent; ``w``, which requires a gradient, is changed.

    Args:
      loss: ``loss(w, *batch) -> scalar``.
      w: the weights.
      batch: what the loss sees beside the weights.
      lr: the learning rate.

    Returns:
      The loss and its gradient before the step.
    """
    value = loss(w, *batch)
    value.backward()
    assert w.grad is not None
    gradient = w.grad.clone()
    with torch.no_grad():
        w -= lr * gradient
    w.grad = None  # backward adds to what is there
    return StepInfo(value.detach(), gradient)


def train(
    step: Callable[[torch.Tensor], StepInfo], w: torch.Tensor, *, steps: int
) -> list[StepInfo]:
    """Repeat a step; ``w`` is changed.

    Example:
      >>> x = torch.tensor(1.0, requires_grad=True)
      >>> history = train(lambda x: step(parabola, x, lr=0.1), x, steps=10)
      >>> print(f"{x.item():.4f}", [round(info.grads.item(), 2) for info in history[:3]])
      -0.7853 [4.0, 3.2, 2.56]
    """
    return [step(w) for _ in range(steps)]


def design_matrix(x: torch.Tensor) -> torch.Tensor:
    """The row ``(x², x, 1)`` of each point."""
    return torch.stack([x**2, x, torch.ones_like(x)], dim=1)


def quadratic_loss(w: torch.Tensor, rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error of a parabola's coefficients."""
    return ((rows @ w - y) ** 2).mean()


def one_weight_loss(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error of ``w x``."""
    return ((w * x - y) ** 2).mean()


def newton(w: torch.Tensor, rows: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The parabola's coefficients in one second-order step."""
    return newton_step(lambda w: quadratic_loss(w, rows, y), w)


def layer_start(seed: int) -> models.Linear:
    """A layer of one weight with torch's default start after this seed."""
    torch.manual_seed(seed)
    return models.linear(1, 1, bias=False)


def layer_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the layer."""
    return mse(model(x), y)


def layer_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD."""
    return torch.optim.SGD(model.parameters(), lr=config.layer_lr)


def layer_train(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, config: Config, *, steps: int
) -> torch.Tensor:
    """Train the layer in place on all points at once; every step's loss."""
    optimizer = layer_optimizer(model, config)
    return training.train_full_batch(layer_loss, optimizer, model, (x, y), steps=steps)


def closed_form(w: float, steps: int, lr: float = 0.01) -> float:
    """Where the layer's weight is after some steps."""
    return 2 - (2 - w) * (1 - 2 * lr * 14 / 3) ** steps
