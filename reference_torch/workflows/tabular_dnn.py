"""A deep network on a table: two classes, all rows at once or in mini-batches.

The mirror of `jaxdnn.workflows.tabular_dnn`: read the two side by side.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from reference_torch import models, training
from reference_torch.data import synthetic
from reference_torch.data.synthetic import Split
from reference_torch.losses import bce

__all__ = ["Config", "accuracy", "data_and_start", "fit", "loss", "model", "optimizer", "train"]


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 5000
    """Passes over the training rows; the document takes 500 with mini-batches."""

    lr: float = 0.005
    """Learning rate of Adam."""

    batch_size: int | None = None
    """Rows a step, shuffled in every epoch, 128 in the document; None for all rows."""

    standardise: bool = False
    """Give every feature mean 0 and standard deviation 1 over the training rows."""


def model(features: int) -> models.MLP:
    """The network ``features``-32-8-4-1, a sigmoid after every layer."""
    return models.mlp((features, 32, 8, 4, 1), activation=nn.Sigmoid, final_activation=nn.Sigmoid)


def data_and_start(
    seed: int, features: torch.Tensor, labels: torch.Tensor, *, standardise: bool = False
) -> tuple[Split, models.MLP]:
    """The split and the network, in this order.

    Args:
      seed: torch's.
      features: of all rows.
      labels: of all rows.
      standardise: subtract from each feature its mean over the training rows, and divide by its
        standard deviation over them.

    Returns:
      The two parts, and the network.
    """
    torch.manual_seed(seed)
    data, network = synthetic.split(features, labels.reshape(-1, 1)), model(features.shape[1])
    if standardise:
        mean = data.train_features.mean(0)
        std = data.train_features.std(0, correction=0)
        std[std == 0] = 1
        data = data._replace(
            train_features=(data.train_features - mean) / std,
            test_features=(data.test_features - mean) / std,
        )
    return data, network


def loss(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy."""
    return bce(network(x), y)


def optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam."""
    return torch.optim.Adam(network.parameters(), lr=config.lr)


def train(
    network: nn.Module, orders: Iterable[torch.Tensor], config: Config, data: Split
) -> torch.Tensor:
    """Every step of a run.

    Args:
      network: changed in place.
      orders: for each epoch, the training rows' indices in the order of use, if there are
        mini-batches.
      config: how long, how fast, and in which batches.
      data: the training rows are used.

    Returns:
      The loss before every step.
    """
    rows = data.train_features, data.train_labels
    descent = optimizer(network, config)
    if config.batch_size is None:
        return training.train_full_batch(loss, descent, network, rows, steps=config.epochs)
    losses = [
        training.train_epoch(loss, descent, network, rows, order, batch_size=config.batch_size)
        for order in orders
    ]
    return torch.cat(losses)


def fit(
    seed: int, config: Config, features: torch.Tensor, labels: torch.Tensor
) -> tuple[nn.Module, torch.Tensor]:
    """A whole run from a seed; the network, and the loss before every step."""
    data, network = data_and_start(seed, features, labels, standardise=config.standardise)
    count = len(data.train_labels)
    orders = (torch.randperm(count) for _ in range(config.epochs))
    return network, train(network, orders, config, data)


def accuracy(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of rows on the right side of 0.5."""
    return ((probabilities >= 0.5) == labels).double().mean().item()
