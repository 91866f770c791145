"""torch's optimisers as optax transformations, its learning-rate schedules, and Newton's step.

Names, defaults and edge cases are those of `torch.optim`. Each optimiser is an
`optax.GradientTransformation`, so that it chains with optax's own:
``optax.chain(clip_grad_norm(1.0), adam(1e-3))``. Two rules hold for all of them:

- A hyperparameter is a number, or a scalar array that a sweep varies under `jax.vmap`. Numbers are
  checked when the transformation is built; arrays are not. Flags are static.
- Every leaf gets a step: where torch skips a parameter without a gradient, here its gradient is
  zeros, so it still decays and its moments advance.
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
