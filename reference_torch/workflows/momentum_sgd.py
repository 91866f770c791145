"""Backpropagation and momentum on three classes, by hand and under an optimiser.

The mirror of `jaxdnn.workflows.momentum_sgd`: read the two side by side.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reference_torch import training
from reference_torch.data.synthetic import Noise, noise

__all__ = ["Config", "ThreeLayer", "accumulated_gradients", "batches", "class_count"]
__all__ += ["criterion", "criterion_in_two_parts", "data", "gradient_step", "init"]
__all__ += ["momentum_step", "optimizer", "train_full_batch", "train_mini_batches"]


@dataclass(frozen=True)
class Config:
    """Hyperparameters; the defaults are the document's."""

    plain_lr: float = 10.0
    """Learning rate of the single step without momentum."""

    lr: float = 0.1
    """Learning rate of the steps with momentum."""

    momentum: float = 0.9
    """Fraction of the velocity that the next step keeps."""

    steps: int = 17
    """Full-batch steps of the optimiser before the printed weights."""

    epochs: int = 60
    """Passes of the mini-batch loop over the data."""

    batches: int = 10
    """Mini-batches per epoch."""

    as_printed: bool = True
    """Repeat the notebook: twice the gradient, four steps of momentum, 55 full-batch steps."""


class ThreeLayer(nn.Module):
    """20-13-8-3 with relu and sigmoid. It owns its weights and draws them when it is created."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(20, 13, bias=False)
        self.linear2 = nn.Linear(13, 8, bias=False)
        self.output = nn.Linear(8, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The score of each class, shape ``(batch, 3)``."""
        hidden = torch.relu(self.linear1(inputs))
        hidden = torch.sigmoid(self.linear2(hidden))
        return self.output(hidden)


def data(seed: int) -> Noise:
    """500 samples of 20 features in [0, 100) with random labels."""
    torch.manual_seed(seed)
    return noise(500, 20, 3)


def class_count(labels: torch.Tensor) -> int:
    """The number of outputs that the labels ask for."""
    return len(labels.unique())


def init(seed: int) -> ThreeLayer:
    """The network with torch's default initialisation."""
    torch.manual_seed(seed)
    return ThreeLayer()


criterion = nn.CrossEntropyLoss()
"""Mean cross-entropy of outputs; ``backward`` finds the parameters in the recorded graph."""


def criterion_in_two_parts(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same: cross-entropy is the negative log-likelihood of a log-softmax."""
    return nn.NLLLoss()(nn.LogSoftmax(dim=1)(outputs), labels)


def accumulated_gradients(model: nn.Module, data: Noise, *, passes: int) -> dict[str, torch.Tensor]:
    """``.grad`` after several backward passes through one graph, each of which adds to it.

    Before the first pass it is None. ``retain_graph`` keeps the recorded graph for the next one.
    """
    model.zero_grad()  # to None again
    loss = criterion(model(data.inputs), data.labels)
    for _ in range(passes):
        loss.backward(retain_graph=True)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def gradient_step(w: torch.Tensor, dw: torch.Tensor, *, lr: float) -> None:
    """Gradient descent without momentum, in place: ``w ← w - lr · dw``."""
    w -= lr * dw


@torch.no_grad()
def momentum_step(w: torch.Tensor, v: torch.Tensor, dw: torch.Tensor, config: Config) -> None:
    """Momentum by hand, in place: ``v ← γ v - lr · dw``, ``w ← w + v``."""
    v *= config.momentum
    v -= config.lr * dw
    w += v


def optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD with momentum in torch's form: ``u ← γ u + dw``, ``w ← w - lr · u``."""
    return torch.optim.SGD(model.parameters(), lr=config.lr, momentum=config.momentum)


def train_full_batch(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: Noise, *, steps: int
) -> torch.Tensor:
    """Full-batch steps, which change the model; the loss before each step."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(data.inputs), data.labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def batches(data: Noise, config: Config) -> DataLoader[Any]:
    """A loader of shuffled batches; every pass over it draws a new permutation."""
    return DataLoader(TensorDataset(*data), len(data.labels) // config.batches, shuffle=True)


def train_mini_batches(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[Any], config: Config
) -> torch.Tensor:
    """A step on each batch of every epoch; the loss before each step."""
    losses = [
        training.train_epoch(model, criterion, optimizer, batches) for _ in range(config.epochs)
    ]
    return torch.cat(losses)
