"""The training loop in torch's idiom: it changes the module and the optimiser in place."""

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
    "train_classifier",
    "train_epoch",
]

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""An iterable over pairs of inputs and labels, iterated once per epoch: a ``DataLoader``."""

Criterion = nn.Module
"""``criterion(outputs, labels) -> scalar``, as in ``torch.nn``."""

Device = torch.device | str


class History(NamedTuple):
    """The history of a run.

    Attributes:
      losses: the loss of every step before its update, shape ``(epochs, steps)``.
      test_accuracy: the accuracy after every epoch, between 0 and 1, shape ``(epochs,)``; None
        without an evaluation.
    """

    losses: torch.Tensor
    test_accuracy: torch.Tensor | None


class StepInfo(NamedTuple):
    """The loss and the gradients of a step that is written by hand.

    Attributes:
      loss: the loss before the update.
      grads: the gradients before the update, as a tensor or as tensors by name.
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
    """One training step on every batch of a loader.

    In JAX a step takes a state and returns the next one. Here it changes the parameters, which the
    model and the optimiser share.

    Args:
      model: the module, on ``device``; changed in place.
      criterion: ``criterion(outputs, labels) -> scalar``.
      optimizer: an optimiser of the model's parameters; changed in place.
      loader: the batches of inputs and labels.
      device: the device to which each batch is moved.

    Returns:
      The loss of every step before its update, shape ``(steps,)``.

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
        losses.append(loss.detach())  # not .item(), which would wait for a GPU at every step
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
    """Train for several epochs, with an optional evaluation after each.

    Args:
      model: as in `train_epoch`.
      criterion: as in `train_epoch`.
      optimizer: as in `train_epoch`.
      loader: as in `train_epoch`; a list of a single batch for full-batch steps.
      epochs: the number of epochs.
      evaluate: a function that returns the current test accuracy; None for no evaluation.
      device: as in `train_epoch`.

    Returns:
      The losses and test accuracies.
    """
    losses, test_accuracy = [], []
    for _ in range(epochs):
        losses.append(train_epoch(model, criterion, optimizer, loader, device))
        if evaluate is not None:
            test_accuracy.append(evaluate())
    return History(torch.stack(losses), torch.tensor(test_accuracy) if test_accuracy else None)


def train_classifier(
    model: nn.Module,
    criterion: Criterion,
    optimizer: torch.optim.Optimizer,
    loaders: tuple[Batches, Batches],
    *,
    epochs: int,
    device: Device = "cpu",
) -> History:
    """`fit` for a classifier, with its accuracy on the test set after every epoch.

    Args:
      model: as in `train_epoch`.
      criterion: as in `train_epoch`.
      optimizer: as in `train_epoch`.
      loaders: the batches of the training set, and those of the test set.
      epochs: the number of epochs.
      device: as in `train_epoch`.

    Returns:
      The losses and test accuracies.
    """
    loader, test_loader = loaders
    return fit(
        model,
        criterion,
        optimizer,
        loader,
        epochs=epochs,
        evaluate=lambda: accuracy(model, test_loader, device),
        device=device,
    )


@torch.no_grad()
def accuracy(model: nn.Module, loader: Batches, device: Device = "cpu") -> float:
    """The fraction of samples whose largest output is at the labelled class.

    Args:
      model: a classifier, on ``device``; set to evaluation mode.
      loader: the batches of inputs and labels.
      device: the device to which each batch is moved.

    Returns:
      The accuracy, between 0 and 1.

    Example:
      >>> accuracy(nn.Identity(), [(torch.eye(4), torch.tensor([0, 1, 2, 0]))])
      0.75
    """
    model.eval()
    hits = [model(x.to(device)).argmax(-1) == y.to(device) for x, y in loader]
    return torch.cat(hits).double().mean().item()
