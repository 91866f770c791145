"""What a torch training step saw and did, as NumPy arrays."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn

from reference_torch.training import Batch, Loss, train_step

__all__ = ["observe"]


def observe(
    loss: Loss, optimizer: torch.optim.Optimizer, model: nn.Module, batches: Iterable[Batch]
) -> Iterator[dict[str, np.ndarray]]:
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
        seen = {f"batch/{i}": _array(tensor) for i, tensor in enumerate(batch)}
        seen["loss"] = _array(train_step(loss, optimizer, model, batch))
        named = dict(model.named_parameters())
        for name, param in named.items():
            if param.grad is not None:
                seen[f"grad/{name}"] = _array(param.grad)
        for name, param in named.items():
            for field, value in optimizer.state[param].items():
                if isinstance(value, torch.Tensor) and value.shape == param.shape:
                    seen[f"optimizer/{name}/{field}"] = _array(value)
        for name, param in named.items():
            seen[f"param/{name}"] = _array(param)
        yield seen


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()
