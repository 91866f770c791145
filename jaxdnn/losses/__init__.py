"""torch's losses as pure functions, with torch's arguments, defaults and edge cases.

Arrays are positional, hyperparameters are keyword-only. Derivatives are torch's too, also at kinks
and limits. Two things differ by design:

- Shapes must agree: outputs and targets are never broadcast.
- Invalid values in an array, for which torch raises, make the loss and its gradient NaN, because a
  jitted function cannot raise.

Start with `mse` and `cross_entropy`.
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
