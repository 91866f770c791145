"""Data sets of several tensors, in shuffled batches, and split in two.

The mirror of `jaxdnn.workflows.data_loading`: read the two side by side.
"""

from typing import NamedTuple

import torch

from reference_torch import models

__all__ = ["Normals", "normals"]


class Normals(NamedTuple):
    """500 samples of three fields, standard normal."""

    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor


def normals(seed: int) -> Normals:
    """The document's tensors, drawn after the network 20-13-8-3 was built."""
    torch.manual_seed(seed)
    models.three_layer()
    return Normals(torch.randn(500, 2, 3), torch.randn(500, 3, 4, 5), torch.randn(500, 1))
