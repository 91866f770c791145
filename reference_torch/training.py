"""The training loop as torch writes it: the module and the optimiser are changed in place."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn

__all__ = [
    "Batches",
    "Criterion",
    "Device",
    "History",
    "StepInfo",
    "accuracy",
    "fit",
    "train_epoch",
]

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""What yields inputs and labels, again in every epoch: a ``DataLoader``."""

Criterion = nn.Module
"""``criterion(outputs, labels) -> scalar``, as in ``torch.nn``."""

Device = torch.device | str


class History(NamedTuple):
    """What a run of several epochs reports.

    Attributes:
      losses: of every step, before its update, shape ``(epochs, steps)``.
      test_accuracy: after every epoch, between 0 and 1, shape ``(epochs,)``; None where nothing is
        evaluated.
    """

    losses: torch.Tensor
    test_accuracy: torch.Tensor | None


class StepInfo(NamedTuple):
    """What a step written by hand reports.

    Attributes:
      loss: before the update.
      grads: a tensor, or tensors by name, as they were before the update.
    """

    loss: torch.Tensor
    grads: torch.Tensor | dict[str, torch.Tensor]


def train_epoch(
    model: nn.Module,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    loader: Batches,
    device: Device = "cpu",
) -> torch.Tensor:
    """A step on every batch of a loader.

    In JAX a step takes a state and returns the next one. Here it changes the parameters that the
    model and the optimiser both hold.

    Args:
      model: on ``device``; changed in place.
      criterion: of its outputs and the labels.
      optimizer: over its parameters.
      loader: the batches.
      device: where each batch goes.

    Returns:
      The loss of every step before its update.

    Example:
      >>> model = nn.Linear(1, 1, bias=False)
      >>> _ = nn.init.zeros_(model.weight)
      >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
      >>> batch = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]])
      >>> losses = train_epoch(model, nn.MSELoss(), optimizer, [batch])
      >>> print(f"loss {losses[0]}, gradient {model.weight.grad}, weight {model.weight.item()}")
      loss 10.0, gradient tensor([[-10.]]), weight 1.0
    """
    model.train()
    losses = []
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def fit(
    model: nn.Module,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    loader: Batches,
    *,
    epochs: int,
    evaluate: Callable[[], float] | None = None,
    device: Device = "cpu",
) -> History:
    """Epochs of `train_epoch`, each followed by an evaluation.

    Args:
      model: as in `train_epoch`.
      criterion: as in `train_epoch`.
      optimizer: as in `train_epoch`.
      loader: as in `train_epoch`; a list of one batch for steps on all the data.
      epochs: how many.
      evaluate: the test accuracy of the model as it is then; None for none.
      device: as in `train_epoch`.

    Returns:
      The history.
    """
    losses, test_accuracy = [], []
    for _ in range(epochs):
        losses.append(train_epoch(model, criterion, optimizer, loader, device))
        if evaluate is not None:
            test_accuracy.append(evaluate())
    return History(torch.stack(losses), torch.tensor(test_accuracy) if test_accuracy else None)


@torch.no_grad()
def accuracy(model: nn.Module, loader: Batches, device: Device = "cpu") -> float:
    """The fraction of samples whose largest output is the labelled class.

    Args:
      model: a classifier, on ``device``.
      loader: the samples in batches.
      device: where each batch goes.

    Returns:
      A number between 0 and 1.

    Example:
      >>> accuracy(nn.Identity(), [(torch.eye(4), torch.tensor([0, 1, 2, 0]))])
      0.75
    """
    model.eval()
    hits = [model(x.to(device)).argmax(-1) == y.to(device) for x, y in loader]
    return torch.cat(hits).double().mean().item()
