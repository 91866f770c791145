"""torch's losses under the names that they have in `jaxdnn.losses`."""

from torch.nn.functional import binary_cross_entropy as bce
from torch.nn.functional import binary_cross_entropy_with_logits as bce_with_logits
from torch.nn.functional import cross_entropy, kl_div
from torch.nn.functional import huber_loss as huber
from torch.nn.functional import l1_loss as l1
from torch.nn.functional import mse_loss as mse
from torch.nn.functional import nll_loss as nll
from torch.nn.functional import smooth_l1_loss as smooth_l1

__all__ = [
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
