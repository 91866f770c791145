"""Backpropagation and momentum on three classes, by hand and under an optimiser.

The mirror of `jaxdnn.workflows.momentum_sgd`: read the two side by side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from reference_torch import models, training
from reference_torch.losses import cross_entropy

__all__ = [
    "Config",
    "Data",
    "data",
    "full_batch_steps",
    "gradient_step",
    "loss",
    "momentum_step",
    "optimizer",
    "orders",
    "start",
    "train_full_batch",
    "train_mini_batches",
]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    plain_lr: float = 10.0
    """Learning rate of the one step without momentum."""

    lr: float = 0.1
    """Learning rate of the steps with momentum."""

    momentum: float = 0.9
    """Share of the last velocity that the next step keeps."""

    steps: int = 17
    """Full-batch steps of the optimiser before its weights are shown."""

    epochs: int = 60
    """Passes of the mini-batch loop over the data."""

    batches: int = 10
    """Mini-batches an epoch."""

    as_printed: bool = True
    """Repeat what the notebook ran: twice the gradient, four steps of momentum, 55 steps in the
    mini-batch loop, each on all the data."""


class Data(NamedTuple):
    """500 samples of 20 features, in three classes."""

    inputs: torch.Tensor
    labels: torch.Tensor


def data(seed: int) -> Data:
    """The samples: uniform features up to 100, random labels."""
    torch.manual_seed(seed)
    return Data(torch.rand(500, 20) * 100, torch.randint(0, 3, (500,)))


def start(seed: int) -> models.ThreeLayer:
    """The network with torch's default start."""
    torch.manual_seed(seed)
    return models.three_layer()


def loss(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy."""
    return cross_entropy(model(inputs), labels.long())


@torch.no_grad()
def gradient_step(w: torch.Tensor, dw: torch.Tensor, *, lr: float) -> None:
    """Plain gradient descent; ``w`` is changed."""
    w -= lr * dw


@torch.no_grad()
def momentum_step(w: torch.Tensor, v: torch.Tensor, dw: torch.Tensor, config: Config) -> None:
    """Momentum by hand: v ← γ v − lr·dw, w ← w + v; both are changed."""
    v *= config.momentum
    v -= config.lr * dw
    w += v


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum: buf ← γ·buf + g, w ← w − lr·buf."""
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)


def train_full_batch(
    model: nn.Module, descent: torch.optim.Optimizer, data: Data, *, steps: int
) -> torch.Tensor:
    """Steps on all the data; the loss before each."""
    return training.train_full_batch(loss, descent, model, data, steps=steps)


def full_batch_steps(epochs: int, batches: int) -> int:
    """How many steps the document's loop takes, written as it is there."""
    epoch, batch, steps = epochs, batches, 0
    for epoch in range(epoch):  # noqa: B007, B020
        for batch in range(batch):  # noqa: B007, B020
            steps += 1
    return steps


def orders(seed: int, epochs: int, samples: int = 500) -> Iterator[torch.Tensor]:
    """The orders of a DataLoader that shuffles, for each epoch after a seed."""
    torch.manual_seed(seed)
    indices: Sequence[int] = range(samples)
    loader = DataLoader(indices, batch_size=samples, shuffle=True)  # type: ignore[arg-type]
    for _ in range(epochs):
        (order,) = loader
        yield order


def train_mini_batches(
    model: nn.Module,
    descent: torch.optim.Optimizer,
    orders: Iterator[torch.Tensor],
    config: Config,
    data: Data,
) -> torch.Tensor:
    """Each epoch's samples once, in its order, in batches of equal size.

    Args:
      model: changed in place.
      descent: its optimiser.
      orders: for each epoch, the samples' indices in the order of use.
      config: in how many batches.
      data: the samples.

    Returns:
      The loss before every step, shape ``(epochs, batches)``.
    """
    batch_size = len(data.labels) // config.batches
    return torch.stack(
        [
            training.train_epoch(loss, descent, model, data, order, batch_size=batch_size)
            for order in orders
        ]
    )
