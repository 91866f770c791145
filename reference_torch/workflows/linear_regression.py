"""Linear regression twice: from bare tensors, and as a layer under an optimiser.

The mirror of `jaxdnn.workflows.linear_regression`: read the two side by side.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reference_torch import models, training
from reference_torch.data.batches import permutations
from reference_torch.data.synthetic import Line, line
from reference_torch.training import StepInfo

__all__ = ["Config", "History", "data_and_params", "example_gradients", "layer_batches"]
__all__ += ["layer_criterion", "layer_data_and_params", "layer_optimizer", "layer_train", "loss"]
__all__ += ["mean_loss", "permutations", "pulled_back_gradients", "squared_loss", "step", "train"]

Weights = dict[str, torch.Tensor]
"""``w`` of shape (2, 1) and ``b`` of shape (1,); both require gradients."""


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 3
    """Passes over the data."""

    lr: float = 0.03
    """Learning rate."""

    batch_size: int = 10
    """Samples per step."""

    samples: int = 1000
    """Samples to generate."""


class History(NamedTuple):
    """Mean losses: of each batch before its step, and of all samples after each epoch."""

    losses: torch.Tensor
    epoch_losses: torch.Tensor


# From scratch.
def data_and_params(seed: int, samples: int) -> tuple[Line, Weights]:
    """Data and weights: ``w`` from N(0, 0.01²), ``b`` zero."""
    torch.manual_seed(seed)
    data = line(samples)
    w, b = torch.normal(0.0, 0.01, (2, 1)), torch.zeros(1)
    return data, {"w": w.requires_grad_(), "b": b.requires_grad_()}


def squared_loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``½(ŷ - y)²`` of each sample, with ``ŷ = x w + b``."""
    return (x @ weights["w"] + weights["b"] - y) ** 2 / 2


def loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The sum over a batch."""
    return squared_loss(weights, x, y).sum()


def example_gradients(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> Weights:
    """The gradient of each sample's loss, along a first axis: one backward pass per sample."""
    losses = [loss(weights, x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
    grads = [torch.autograd.grad(value, list(weights.values())) for value in losses]
    return dict(zip(weights, map(torch.stack, zip(*grads, strict=True)), strict=True))


def pulled_back_gradients(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> Weights:
    """The gradient of `loss` without the sum: ``backward`` of a vector needs a vector, of ones."""
    losses = squared_loss(weights, x, y)
    grads = torch.autograd.grad(losses, list(weights.values()), torch.ones_like(losses))
    return dict(zip(weights, grads, strict=True))


def step(weights: Weights, x: torch.Tensor, y: torch.Tensor, *, lr: float) -> StepInfo:
    """``w ← w - lr · gradient / batch size``, in place; the loss and gradients before it."""
    value = loss(weights, x, y)
    value.backward()
    grads = {}
    with torch.no_grad():
        for name, weight in weights.items():
            assert weight.grad is not None
            grads[name] = weight.grad
            weight -= lr * weight.grad / len(x)
            weight.grad = None  # backward accumulates into an existing gradient
    return StepInfo(value.detach(), grads)


def mean_loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean over a batch; a step of SGD on it equals `step`."""
    return squared_loss(weights, x, y).mean()


def train(
    weights: Weights, permutations: Iterable[torch.Tensor], config: Config, data: Line
) -> History:
    """Train from scratch by `step`, which changes the weights; the history."""
    losses, epoch_losses = [], []
    for permutation in permutations:
        for indices in permutation.split(config.batch_size):
            x, y = data.features[indices], data.labels[indices]
            losses.append(step(weights, x, y, lr=config.lr).loss / len(indices))
        with torch.no_grad():
            epoch_losses.append(mean_loss(weights, *data))
    return History(torch.stack(losses).view(len(epoch_losses), -1), torch.stack(epoch_losses))


# As a layer.
def layer_data_and_params(seed: int, samples: int) -> tuple[Line, nn.Module]:
    """Data and layer, initialised as in the document, from torch's global generator."""
    torch.manual_seed(seed)
    data, model = line(samples), models.mlp((2, 1))
    weight, bias = model.parameters()
    nn.init.normal_(weight, 0, 0.01)
    nn.init.zeros_(bias)
    return data, model


def layer_batches(data: Line, config: Config) -> DataLoader[Any]:
    """A loader of shuffled batches; every pass over it draws a new permutation."""
    return DataLoader(TensorDataset(*data), config.batch_size, shuffle=True)


layer_criterion = nn.MSELoss()
"""The mean squared error of a batch's outputs, without the half."""


def layer_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD."""
    return torch.optim.SGD(model.parameters(), lr=config.lr)


def layer_train(model: nn.Module, batches: DataLoader[Any], config: Config, data: Line) -> History:
    """Train the layer by an optimiser; apart from `train`, since a module is no dictionary."""
    optimizer = layer_optimizer(model, config)
    losses, epoch_losses = [], []
    for _ in range(config.epochs):
        losses.append(training.train_epoch(model, layer_criterion, optimizer, batches))
        with torch.no_grad():
            epoch_losses.append(layer_criterion(model(data.features), data.labels))
    return History(torch.stack(losses), torch.stack(epoch_losses))
