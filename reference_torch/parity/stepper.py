"""What trains in torch step by step: the protocol, and the arrays that a step leaves."""

from typing import Protocol

import numpy as np
import torch

__all__ = ["Arrays", "Batch", "Stepper", "as_array", "as_tensors"]

Arrays = dict[str, np.ndarray]
Batch = tuple[np.ndarray, ...]


class Stepper(Protocol):
    """Something that trains, and can be copied with `copy.deepcopy`."""

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in another floating-point type from now on."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors before the next step, which change in place if these are changed.

        They are called ``param/…``, ``buffer/…`` and ``optimizer/…``.
        """
        ...

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, whose number counts from 0; return what the step computed."""
        ...


def as_tensors(
    batch: Batch, dtype: torch.dtype, device: torch.device | None = None
) -> list[torch.Tensor]:
    """A batch as tensors, with floats of one type.

    Raises:
      ValueError: it does not hold real numbers.
    """
    tensors = []
    for array in map(np.asarray, batch):
        if array.dtype.kind not in "biuf":
            raise ValueError(f"A batch must hold real numbers; one holds {array.dtype}.")
        tensor = torch.tensor(array, device=device)
        tensors.append(tensor.to(dtype) if tensor.is_floating_point() else tensor)
    return tensors


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A copy in NumPy, which has neither bfloat16 nor sparse tensors."""
    if tensor.layout != torch.strided:  # the gradient of an embedding may be sparse
        tensor = tensor.to_dense()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.detach().cpu().numpy().copy()
