"""Three classes by the sum of three numbers.

The mirror of `jaxdnn.workflows.sum_classifier`: read the two side by side.
"""

from dataclasses import dataclass

import torch
from torch import nn

from reference_torch import models, training
from reference_torch.data import synthetic
from reference_torch.data.synthetic import Split
from reference_torch.losses import mse

__all__ = [
    "Config",
    "accuracy",
    "accuracy_as_printed",
    "data_and_start",
    "fit",
    "loss",
    "optimizer",
    "train",
]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 1000
    """Steps, each on all training samples."""

    lr: float = 0.01
    """Learning rate of SGD."""

    samples: int = 10_000
    """How many are generated; 70% are for training."""

    as_printed: bool = True
    """Report the accuracy by the document's formula; otherwise the share of right classes."""


def data_and_start(seed: int, samples: int) -> tuple[Split, models.MLP]:
    """Samples, their split and the network, in this order."""
    torch.manual_seed(seed)
    data = synthetic.split(*synthetic.sums(samples))
    return data, models.mlp((3, 5, 5, 5, 3))


def loss(model: nn.Module, x: torch.Tensor, one_hot: torch.Tensor) -> torch.Tensor:
    """The mean squared error against the one-hot classes."""
    return mse(model(x), one_hot)


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD."""
    return torch.optim.SGD(model.parameters(), lr=config.lr)


def train(model: nn.Module, config: Config, data: Split) -> torch.Tensor:
    """Every step of a run; the loss before each step."""
    return training.train_full_batch(
        loss,
        optimizer(model, config),
        model,
        (data.train_features, data.train_labels),
        steps=config.epochs,
    )


def fit(seed: int, config: Config) -> tuple[nn.Module, torch.Tensor]:
    """A whole run from a seed; the network, and the loss before each step."""
    data, model = data_and_start(seed, config.samples)
    return model, train(model, config, data)


def accuracy(outputs: torch.Tensor, one_hot: torch.Tensor) -> float:
    """The share of samples whose largest output is at their class."""
    return (outputs.argmax(1) == one_hot.argmax(1)).double().mean().item()


def accuracy_as_printed(outputs: torch.Tensor, one_hot: torch.Tensor) -> float:
    """The document's formula: columns where any row is largest become 1 in every row."""
    filled = outputs.clone()
    filled[:, outputs.argmax(1)] = 1
    filled[filled != 1] = 0
    return (filled == one_hot).all(1).double().mean().item()
