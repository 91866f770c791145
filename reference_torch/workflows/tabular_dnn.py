"""A deep network for binary classification of a table, full-batch or with mini-batches.

The mirror of `jaxdnn.workflows.tabular_dnn`: read the two side by side.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reference_torch import training
from reference_torch.data import synthetic
from reference_torch.data.synthetic import Split
from reference_torch.training import Batches, Device, History

__all__ = [
    "DNN",
    "Config",
    "accuracy",
    "batches",
    "criterion",
    "criterion_from_logits",
    "data_and_params",
    "fit",
    "network",
    "optimizer",
]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 5000
    """Passes over the training rows; the document uses 500 with mini-batches."""

    lr: float = 0.005
    """Learning rate of Adam."""

    batch_size: int | None = None
    """Rows per step, shuffled in every epoch (128 in the document); None for all rows."""

    standardise: bool = False
    """Scale every feature to mean 0 and standard deviation 1 over the training rows."""


class DNN(nn.Module):
    """``features``-32-8-4-1 with a sigmoid after every layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(features, 32), nn.Sigmoid()),
            *(nn.Linear(32, 8), nn.Sigmoid()),
            *(nn.Linear(8, 4), nn.Sigmoid()),
            *(nn.Linear(4, 1), nn.Sigmoid()),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The probability of the second class, shape ``(batch, 1)``."""
        return self.net(x)


def network(features: int) -> DNN:
    """A network with its initial parameters; in JAX a network holds no parameters."""
    return DNN(features)


def data_and_params(
    seed: int, features: torch.Tensor, labels: torch.Tensor, *, standardise: bool = False
) -> tuple[Split, DNN]:
    """Split the rows and create the network, with random numbers in this order.

    Args:
      seed: the seed of the global generator.
      features: the features of all rows, shape ``(rows, features)``.
      labels: the labels of all rows, shape ``(rows,)``.
      standardise: whether to standardise the features with the training rows' statistics.

    Returns:
      The two parts, and the network.
    """
    torch.manual_seed(seed)
    data = synthetic.split(features, labels.reshape(-1, 1))
    model = network(features.shape[1])
    if standardise:
        mean, std = data.train_features.mean(0), data.train_features.std(0, correction=0)
        std[std == 0] = 1  # a constant feature becomes 0
        data = data._replace(
            train_features=(data.train_features - mean) / std,
            test_features=(data.test_features - mean) / std,
        )
    return data, model


criterion = nn.BCELoss()
"""Mean binary cross-entropy."""


criterion_from_logits = nn.BCEWithLogitsLoss()
"""The same of the outputs before the last sigmoid, ``model.net[:-1](x)``."""


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Adam."""
    return torch.optim.Adam(model.parameters(), lr=config.lr)


def batches(data: Split, config: Config, device: Device = "cpu") -> Batches:
    """A loader of shuffled training rows, or all of them as a single batch."""
    if config.batch_size is None:
        return [(data.train_features.to(device), data.train_labels.to(device))]
    rows = TensorDataset(data.train_features, data.train_labels)
    return DataLoader(rows, config.batch_size, shuffle=True)


def fit(
    seed: int, config: Config, data: Split, *, device: Device = "cpu"
) -> tuple[nn.Module, History]:
    """A complete run: initialise, then train for all epochs."""
    torch.manual_seed(seed)
    model = network(data.train_features.shape[1]).to(device)
    history = training.fit(
        model,
        criterion,
        optimizer(model, config),
        batches(data, config, device),
        epochs=config.epochs,
        device=device,
    )
    return model, history


def accuracy(probabilities: torch.Tensor, labels: torch.Tensor) -> float:
    """The fraction of rows whose probability is on the correct side of 0.5."""
    return ((probabilities >= 0.5) == labels).double().mean().item()
