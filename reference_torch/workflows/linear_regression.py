"""Linear regression twice: from bare tensors, and as a layer under an optimiser.

The mirror of `jaxdnn.workflows.linear_regression`: read the two side by side.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from reference_torch import models, training
from reference_torch.data.synthetic import Line, line
from reference_torch.losses import mse
from reference_torch.training import StepInfo

__all__ = [
    "Config",
    "History",
    "data_and_start",
    "example_gradients",
    "fit",
    "layer_loss",
    "layer_optimizer",
    "layer_orders",
    "layer_start",
    "layer_train",
    "loss",
    "orders",
    "predict",
    "squared_loss",
    "step",
    "train",
]

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 3
    """Passes over the data."""

    lr: float = 0.03
    """Learning rate."""

    batch_size: int = 10
    """Samples a step."""

    samples: int = 1000
    """How many are generated."""


class History(NamedTuple):
    """What a run reports.

    Attributes:
      losses: of every step, before its update, a mean over the batch.
      epoch_losses: after every epoch, a mean over all data.
    """

    losses: torch.Tensor
    epoch_losses: torch.Tensor


def data_and_start(seed: int, samples: int) -> tuple[Line, Weights]:
    """Data and weights: ``w`` from N(0, 0.01²), ``b`` zero."""
    torch.manual_seed(seed)
    data = line(samples)
    return data, {"w": torch.normal(0.0, 0.01, (2, 1)), "b": torch.zeros(1)}


def orders(seed: int, epochs: int, samples: int) -> Iterator[torch.Tensor]:
    """The samples' order in each epoch."""
    generator = random.Random(seed)
    for _ in range(epochs):
        indices = list(range(samples))
        generator.shuffle(indices)
        yield torch.tensor(indices)


def predict(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """``x w + b``."""
    return x @ weights["w"] + weights["b"]


def squared_loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``½(ŷ - y)²`` of each sample."""
    return (predict(weights, x) - y) ** 2 / 2


def loss(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The sum over a batch."""
    return squared_loss(weights, x, y).sum()


def example_gradients(weights: Weights, x: torch.Tensor, y: torch.Tensor) -> Weights:
    """The gradient of each sample's own loss, along a first axis: one backward pass for each."""
    of_each = []
    for i in range(len(x)):
        value = loss(weights, x[i : i + 1], y[i : i + 1])
        of_each.append(torch.autograd.grad(value, list(weights.values())))
    stacked = [torch.stack(grads) for grads in zip(*of_each, strict=True)]
    return dict(zip(weights, stacked, strict=True))


def step(weights: Weights, x: torch.Tensor, y: torch.Tensor, *, lr: float) -> StepInfo:
    """One step of stochastic gradient descent; the weights, which need gradients, are changed."""
    value = loss(weights, x, y)
    value.backward()
    grads = {}
    with torch.no_grad():
        for name, weight in weights.items():
            assert weight.grad is not None
            grads[name] = weight.grad.clone()
            weight -= lr * weight.grad / len(x)
            weight.grad = None  # backward adds to what is there
    return StepInfo(value.detach(), grads)


def train(weights: Weights, orders: Iterable[torch.Tensor], config: Config, data: Line) -> History:
    """Every epoch in its order, in batches of which the last may be smaller.

    Args:
      weights: the start, changed in place.
      orders: for each epoch, the samples' indices in the order of use.
      config: how fast, and in which batches.
      data: features and labels.

    Returns:
      The history.
    """
    losses, epoch_losses = [], []
    for order in orders:
        for indices in order.split(config.batch_size):
            x, y = data.features[indices], data.labels[indices]
            losses.append(step(weights, x, y, lr=config.lr).loss / len(indices))
        with torch.no_grad():
            epoch_losses.append(squared_loss(weights, *data).mean())
    return History(torch.stack(losses).view(len(epoch_losses), -1), torch.stack(epoch_losses))


def fit(seed: int, config: Config) -> tuple[Weights, History]:
    """A whole run from a seed: data, start, shuffles, every step."""
    data, weights = data_and_start(seed, config.samples)
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    return weights, train(weights, orders(seed, config.epochs, config.samples), config, data)


def layer_start(seed: int, samples: int) -> tuple[Line, models.MLP]:
    """Data and layer."""
    torch.manual_seed(seed)
    data = line(samples)
    model = models.mlp((2, 1))
    weight, bias = model.parameters()
    nn.init.normal_(weight, 0, 0.01)
    nn.init.zeros_(bias)
    return data, model


def layer_orders(epochs: int, samples: int) -> Iterator[torch.Tensor]:
    """The samples' order in each epoch of a DataLoader that shuffles."""
    loader = DataLoader(range(samples), batch_size=samples, shuffle=True)  # type: ignore[arg-type]
    for _ in range(epochs):
        (order,) = loader
        yield order


def layer_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean squared error of a batch, without the half."""
    return mse(model(x), y)


def layer_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD."""
    return torch.optim.SGD(model.parameters(), lr=config.lr)


def layer_train(
    model: nn.Module, orders: Iterable[torch.Tensor], config: Config, data: Line
) -> History:
    """The same epochs for the layer, which is changed, under its optimiser."""
    optimizer = layer_optimizer(model, config)
    losses, epoch_losses = [], []
    for order in orders:
        losses.append(
            training.train_epoch(
                layer_loss, optimizer, model, data, order, batch_size=config.batch_size
            )
        )
        with torch.no_grad():
            epoch_losses.append(layer_loss(model, *data))
    return History(torch.stack(losses), torch.stack(epoch_losses))
