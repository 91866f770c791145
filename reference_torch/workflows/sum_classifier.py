"""Classify three numbers by their sum.

The mirror of `jaxdnn.workflows.sum_classifier`: read the two side by side.
"""

import io
from dataclasses import dataclass

import torch
from torch import nn

from reference_torch import training
from reference_torch.data import synthetic
from reference_torch.data.synthetic import Split
from reference_torch.training import Device, History

__all__ = [
    "DNN",
    "Config",
    "accuracy",
    "accuracy_as_printed",
    "criterion",
    "data_and_params",
    "fit",
    "from_bytes",
    "optimizer",
    "to_bytes",
]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 1000
    """Full-batch steps."""

    lr: float = 0.01
    """Learning rate of SGD."""

    samples: int = 10_000
    """Samples to generate; 70% are for training."""

    as_printed: bool = True
    """Report the accuracy by the document's formula; otherwise the fraction of correct classes."""


class DNN(nn.Module):
    """3-5-5-5-3 with relu between the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Linear(3, 5), nn.ReLU()),
            *(nn.Linear(5, 5), nn.ReLU()),
            *(nn.Linear(5, 5), nn.ReLU()),
            nn.Linear(5, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs of three classes for each sample."""
        return self.net(x)


def data_and_params(seed: int, samples: int) -> tuple[Split, DNN]:
    """The split samples and the network, drawn from the global generator in this order."""
    torch.manual_seed(seed)
    data = synthetic.split(*synthetic.sums(samples))
    return data, DNN()


criterion = nn.MSELoss()
"""The mean squared error of outputs and one-hot classes."""


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD."""
    return torch.optim.SGD(model.parameters(), lr=config.lr)


def fit(
    seed: int, config: Config, data: Split, *, device: Device = "cpu"
) -> tuple[nn.Module, History]:
    """A complete run of full-batch steps.

    Example:
      >>> data, _ = data_and_params(0, 100)
      >>> model, history = fit(0, Config(epochs=50), data)
      >>> bool(history.losses[-1, 0] < history.losses[0, 0])
      True
    """
    torch.manual_seed(seed)
    model = DNN().to(device)
    batch = data.train_features.to(device), data.train_labels.to(device)
    history = training.fit(
        model, criterion, optimizer(model, config), [batch], epochs=config.epochs, device=device
    )
    return model, history


def accuracy(outputs: torch.Tensor, one_hot: torch.Tensor) -> float:
    """The fraction of samples whose largest output is at their class."""
    return (outputs.argmax(1) == one_hot.argmax(1)).double().mean().item()


def accuracy_as_printed(outputs: torch.Tensor, one_hot: torch.Tensor) -> float:
    """The document's formula, which sets the column of every predicted class to 1 in all rows."""
    filled = outputs.clone()  # assigned in place below
    filled[:, outputs.argmax(1)] = 1
    filled[filled != 1] = 0
    return (filled == one_hot).all(1).double().mean().item()


def to_bytes(model: nn.Module, *, whole: bool) -> bytes:
    """The content of a file of the whole model, a pickle, or of its ``state_dict``."""
    buffer = io.BytesIO()
    torch.save(model if whole else model.state_dict(), buffer)
    return buffer.getvalue()


def from_bytes(content: bytes, *, whole: bool) -> nn.Module:
    """The model from the content of such a file; the ``state_dict`` goes into a new one.

    A pickle needs the module's class where it had been, and runs code: load it from no stranger.
    """
    if whole:
        return torch.load(io.BytesIO(content), weights_only=False)
    model = DNN()
    model.load_state_dict(torch.load(io.BytesIO(content)))
    return model
