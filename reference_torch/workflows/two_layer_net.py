"""Two layers without bias, differentiated by hand, automatically, and inside a module.

The mirror of `jaxdnn.workflows.two_layer_net`: read the two side by side.
"""

from dataclasses import dataclass

import torch
from torch import nn

from reference_torch.training import StepInfo

__all__ = ["Config", "TwoLayer", "data_and_params", "forward", "gradients_by_hand", "loss"]
__all__ += ["sequential_criterion", "step", "step_by_hand", "train"]

Weights = dict[str, torch.Tensor]
"""``w1`` of shape (1000, 100) and ``w2`` of shape (100, 10)."""


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 20
    """Full-batch steps."""

    lr: float = 1e-6
    """Learning rate."""

    as_printed: bool = True
    """Clamp the gradient by hand as in the document; otherwise mask it, as is correct."""


def data_and_params(seed: int) -> tuple[torch.Tensor, torch.Tensor, Weights]:
    """Inputs, targets and weights, all standard normal."""
    torch.manual_seed(seed)
    x, y = torch.randn(100, 1000), torch.randn(100, 10)
    return x, y, {"w1": torch.randn(1000, 100), "w2": torch.randn(100, 10)}


class TwoLayer(nn.Module):
    """A module whose forward pass takes its weights as arguments."""

    def forward(self, x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor) -> torch.Tensor:
        """``relu(x w1) w2``."""
        return (x @ w1).clamp(min=0) @ w2

    def backward(self) -> None:
        """Never called: autograd differentiates ``forward``."""
        raise AssertionError


forward = TwoLayer()
"""``relu(x w1) w2``; a module without weights is a function."""


def loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The sum of squared errors."""
    return (forward(x, **weights) - y).pow(2).sum()


@torch.no_grad()
def gradients_by_hand(
    weights: Weights, x: torch.Tensor, y: torch.Tensor, *, as_printed: bool
) -> tuple[torch.Tensor, Weights, torch.Tensor]:
    """The loss, its gradients, and the gradient of the hidden layer, by the chain rule.

    With ``as_printed`` the hidden layer's gradient is clamped at 0, which is not relu's derivative.
    """
    before = x.mm(weights["w1"])
    hidden = before.clamp(min=0)
    outputs = hidden.mm(weights["w2"])
    grad_outputs = 2 * (outputs - y)
    grad_hidden = grad_outputs.mm(weights["w2"].t())
    if as_printed:
        grad_hidden.clamp_(min=0)
    else:
        grad_hidden[before <= 0] = 0
    grads = {"w1": x.t().mm(grad_hidden), "w2": hidden.t().mm(grad_outputs)}
    return (outputs - y).pow(2).sum(), grads, grad_hidden


def step_by_hand(
    weights: Weights, x: torch.Tensor, y: torch.Tensor, *, lr: float, as_printed: bool
) -> StepInfo:
    """One step with the gradients by hand; the weights are changed in place."""
    value, grads, _ = gradients_by_hand(weights, x, y, as_printed=as_printed)
    with torch.no_grad():
        for name, weight in weights.items():
            weight -= lr * grads[name]
    return StepInfo(value, grads)


def step(weights: Weights, x: torch.Tensor, y: torch.Tensor, *, lr: float) -> StepInfo:
    """One step with the gradients that ``backward`` stores in the weights, in place."""
    value = loss(weights, x, y)
    value.backward()
    grads = {}
    with torch.no_grad():
        for name, weight in weights.items():
            assert weight.grad is not None
            grads[name] = weight.grad
            weight -= lr * weight.grad
            weight.grad = None  # backward accumulates into an existing gradient
    return StepInfo(value.detach(), grads)


def train(
    weights: Weights, x: torch.Tensor, y: torch.Tensor, config: Config, *, by_hand: bool
) -> torch.Tensor:
    """A complete run, which changes the weights; the loss before every step."""
    losses = []
    for _ in range(config.epochs):
        if by_hand:
            info = step_by_hand(weights, x, y, lr=config.lr, as_printed=config.as_printed)
        else:
            info = step(weights, x, y, lr=config.lr)
        losses.append(info.loss)
    return torch.stack(losses)


sequential_criterion = nn.MSELoss(reduction="sum")
"""The sum of squared errors of any module's outputs, such as an ``nn.Sequential``."""
