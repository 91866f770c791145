"""Training as torch does it: the module and the optimiser are changed in place."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import nn

__all__ = [
    "History",
    "StepInfo",
    "accuracy",
    "train_classifier",
    "train_epoch",
    "train_full_batch",
    "train_step",
]

Batch = tuple[torch.Tensor, ...]
Loss = Callable[..., torch.Tensor]


class History(NamedTuple):
    """What a run of several epochs reports.

    Attributes:
      losses: of every step, before its update, shape ``(epochs, steps)``.
      test_accuracy: after every epoch, between 0 and 1, shape ``(epochs,)``.
    """

    losses: torch.Tensor
    test_accuracy: torch.Tensor


class StepInfo(NamedTuple):
    """What a step written by hand reports.

    Attributes:
      loss: before the update.
      grads: a tensor, or tensors by name, as they were before the update.
    """

    loss: torch.Tensor
    grads: torch.Tensor | dict[str, torch.Tensor]


def train_step(
    loss: Loss, optimizer: torch.optim.Optimizer, model: nn.Module, batch: Batch
) -> torch.Tensor:
    """One step of gradient descent.

    Args:
      loss: ``loss(model, *batch) -> scalar``.
      optimizer: over the parameters of ``model``.
      model: changed in place; its parameters keep this step's gradients in ``.grad``.
      batch: tensors with one first axis.

    Returns:
      The loss before the update, detached.

    Example:
      >>> model = nn.Linear(1, 1, bias=False)
      >>> _ = nn.init.zeros_(model.weight)
      >>> def loss(model, x, y):
      ...     return ((model(x) - y) ** 2).mean()
      >>> batch = torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]])
      >>> value = train_step(loss, torch.optim.SGD(model.parameters(), lr=0.1), model, batch)
      >>> print(f"loss {value}, gradient {model.weight.grad}, weight {model.weight.item()}")
      loss 10.0, gradient tensor([[-10.]]), weight 1.0
    """
    value = loss(model, *batch)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.detach()


def train_epoch(
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    model: nn.Module,
    data: Batch,
    order: torch.Tensor,
    *,
    batch_size: int,
) -> torch.Tensor:
    """Every sample once, in the given order; a shorter last batch is kept.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      model: changed in place.
      data: tensors with one first axis, the samples.
      order: indices into that axis, in the order of use.
      batch_size: samples a step.

    Returns:
      The loss of every step.
    """
    losses = [
        train_step(loss, optimizer, model, tuple(tensor[indices] for tensor in data))
        for indices in order.split(batch_size)
    ]
    return torch.stack(losses)


def train_classifier(
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    predict: Callable[[nn.Module, torch.Tensor], torch.Tensor],
    model: nn.Module,
    train_data: Batch,
    test_data: Batch,
    orders: Iterable[torch.Tensor],
    *,
    batch_size: int,
) -> History:
    """Epochs of mini-batches, each followed by an evaluation.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      predict: scores of the classes, for the model and a batch of inputs.
      model: changed in place.
      train_data: inputs and labels.
      test_data: inputs and labels.
      orders: for each epoch, the training samples' indices in the order of use.
      batch_size: samples a step.

    Returns:
      The history.
    """
    losses, test_accuracy = [], []
    for order in orders:
        losses.append(train_epoch(loss, optimizer, model, train_data, order, batch_size=batch_size))
        inputs, labels = test_data
        test_accuracy.append(accuracy(lambda x: predict(model, x), inputs, labels))
    return History(torch.stack(losses), torch.tensor(test_accuracy))


def train_full_batch(
    loss: Loss, optimizer: torch.optim.Optimizer, model: nn.Module, batch: Batch, *, steps: int
) -> torch.Tensor:
    """The same batch, all the data, again and again.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      model: changed in place.
      batch: tensors with one first axis.
      steps: how many.

    Returns:
      The loss of every step.
    """
    return torch.stack([train_step(loss, optimizer, model, batch) for _ in range(steps)])


@torch.no_grad()
def accuracy(
    predict: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    batch_size: int = 1000,
) -> float:
    """The share of samples whose largest output is the labelled class.

    Args:
      predict: outputs for a batch of inputs, shape ``(batch, classes)``.
      inputs: the samples along the first axis.
      labels: their classes, shape ``(samples,)``.
      batch_size: samples at once, which bounds the memory and does not change the result.

    Returns:
      A number between 0 and 1.

    Example:
      >>> accuracy(lambda x: x, torch.eye(4), torch.tensor([0, 1, 2, 0]))
      0.75
    """
    batches: Sequence[torch.Tensor] = inputs.split(batch_size)
    outputs = torch.cat([predict(batch) for batch in batches])
    return (outputs.argmax(-1) == labels).double().mean().item()
