"""Losses as torch defines them: its arguments, defaults and edge cases, as pure functions.

Each takes arrays by position and hyperparameters by keyword, and gives torch's derivatives too,
at kinks and limits as elsewhere. Two things differ by design: shapes must agree, since nothing is
broadcast in silence, and what torch finds wrong in the values of an array, which cannot raise
under jit, is NaN, in the loss and in its gradient.
"""

from jaxdnn.losses.classification import bce, bce_with_logits, cross_entropy, kl_div, nll
from jaxdnn.losses.reduction import Reduction
from jaxdnn.losses.regression import huber, l1, mse, smooth_l1

__all__ = [
    "Reduction",
    "bce",
    "bce_with_logits",
    "cross_entropy",
    "huber",
    "kl_div",
    "l1",
    "mse",
    "nll",
    "smooth_l1",
]
