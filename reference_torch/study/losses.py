"""The losses of a training run in one precision, for a curve."""

from collections.abc import Sequence

import numpy as np
import torch

from reference_torch.parity.stepper import Batch, Stepper

__all__ = ["train"]


def train(stepper: Stepper, batches: Sequence[Batch], dtype: str) -> np.ndarray:
    """Take a step on each batch.

    Args:
      stepper: what to train; it changes.
      batches: in their order.
      dtype: ``"float32"`` or ``"float64"``.

    Returns:
      The loss of each step, in float64.
    """
    stepper.cast(getattr(torch, dtype))
    observed = (stepper.step(batch, number) for number, batch in enumerate(batches))
    return np.array([step["loss"] for step in observed], np.float64)
