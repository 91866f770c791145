"""torch's optimisers and learning-rate schedules for optax, and a step of Newton's method.

Names, defaults and edge cases are those of `torch.optim`. Each optimiser is an
`optax.GradientTransformation` and can be chained with optax's:
``optax.chain(clip_grad_norm(1.0), adam(1e-3))``. Start with `sgd`. Two rules hold for all
optimisers:

- A hyperparameter is a number, or a scalar array, which a sweep may vary under `jax.vmap`. Numbers
  are checked when the transformation is built; arrays are not checked. Flags are static.
- Every leaf is updated. torch skips a parameter without a gradient; here its gradient is zero, so
  that it still decays and its moments advance.
"""

from jaxdnn.optim.adagrad import AdagradState, adagrad
from jaxdnn.optim.adam import AdamState, adam, adamw
from jaxdnn.optim.clipping import clip_grad_norm
from jaxdnn.optim.conversion import from_settings, from_torch
from jaxdnn.optim.hyperparameters import Number, Schedule
from jaxdnn.optim.newton import newton_step
from jaxdnn.optim.one_cycle import OneCycle, one_cycle_lr
from jaxdnn.optim.rmsprop import RMSpropState, rmsprop
from jaxdnn.optim.schedules import (
    cosine_annealing_lr,
    exponential_lr,
    linear_lr,
    per_epoch,
    step_lr,
)
from jaxdnn.optim.sgd import SGDState, sgd

__all__ = [
    "AdagradState",
    "AdamState",
    "Number",
    "OneCycle",
    "RMSpropState",
    "SGDState",
    "Schedule",
    "adagrad",
    "adam",
    "adamw",
    "clip_grad_norm",
    "cosine_annealing_lr",
    "exponential_lr",
    "from_settings",
    "from_torch",
    "linear_lr",
    "newton_step",
    "one_cycle_lr",
    "per_epoch",
    "rmsprop",
    "sgd",
    "step_lr",
]
