"""Losses, as torch defines them."""

from torch.nn.functional import binary_cross_entropy as bce
from torch.nn.functional import cross_entropy
from torch.nn.functional import mse_loss as mse

__all__ = ["bce", "cross_entropy", "mse"]
