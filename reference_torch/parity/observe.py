"""What a torch training step saw and did, as NumPy arrays."""

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from reference_torch.parity.trajectory import Arrays, as_array, moments_of, parameters_of
from reference_torch.training import Batch, Loss, train_step

__all__ = ["observe"]


def observe(
    loss: Loss, optimizer: torch.optim.Optimizer, model: nn.Module, batches: Iterable[Batch]
) -> Iterator[Arrays]:
    """Train, one step a batch, and yield what each step computed.

    Args:
      loss: ``loss(model, *batch) -> scalar``.
      optimizer: over the parameters of ``model``.
      model: trained in place.
      batches: tensors with one first axis.

    Yields:
      For each step an ordered mapping ``phase/tensor -> array``: the batch, the loss before the
      update, every gradient, the optimiser's tensors and the parameters after it. The arrays are
      copies.

    Example:
      >>> model = nn.Linear(1, 1, bias=False)
      >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
      >>> batches = [(torch.tensor([[1.0]]), torch.tensor([[2.0]]))]
      >>> [step] = observe(lambda m, x, y: ((m(x) - y) ** 2).mean(), sgd, model, batches)
      >>> list(step)
      ['batch/0', 'batch/1', 'loss', 'grad/weight', 'optimizer/weight/momentum_buffer', \
'param/weight']
    """
    for batch in batches:
        seen = {f"batch/{i}": as_array(tensor) for i, tensor in enumerate(batch)}
        seen["loss"] = as_array(train_step(loss, optimizer, model, batch))
        for name, param in model.named_parameters():
            if param.grad is not None:
                seen[f"grad/{name}"] = as_array(param.grad)
        yield seen | moments_of(model, optimizer) | parameters_of(model)
