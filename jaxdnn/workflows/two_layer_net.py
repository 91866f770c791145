"""Two layers without bias, differentiated by hand, automatically, and inside a module.

The mirror of `reference_torch.workflows.two_layer_net`. The document's backward pass by hand is
not the gradient of its loss: it sets to zero what is negative in the gradient of the hidden layer,
where it should set to zero what belongs to a relu that was off. Both are here.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdnn import models, torch_compat
from jaxdnn.losses import mse
from jaxdnn.training import StepInfo
from jaxdnn.workflows.config import Real, hyperparameters

__all__ = ["SEQUENTIAL", "Config", "data_and_params", "forward", "gradients_by_hand", "loss"]
__all__ += ["sequential_loss", "step", "step_by_hand", "train"]

Scalar = Float[Array, ""]
Inputs = Float[Array, "batch in"]
Targets = Float[Array, "batch out"]
Weights = dict[str, Float[Array, "..."]]
"""``w1`` of shape (1000, 100) and ``w2`` of shape (100, 10)."""


@hyperparameters
class Config:
    """The document's settings."""

    epochs: int = 20
    """Steps, each on all the data."""

    lr: Real = 1e-6
    """Learning rate."""

    as_printed: bool = True
    """Clamp the gradient by hand as the document does; otherwise mask it, as is meant."""


def data_and_params(
    seed: int,
) -> tuple[Float[np.ndarray, "100 1000"], Float[np.ndarray, "100 10"], dict[str, np.ndarray]]:
    """Inputs, targets and weights, all standard normal, as torch draws them after a seed."""
    generator = torch_compat.Generator(seed)
    x, y = generator.randn(100, 1000), generator.randn(100, 10)
    return x, y, {"w1": generator.randn(1000, 100), "w2": generator.randn(100, 10)}


def forward(x: Inputs, w1: Float[Array, "in hidden"], w2: Float[Array, "hidden out"]) -> Targets:
    """``relu(x w1) w2``: a function of its weights, which torch wraps in a module."""
    return jax.nn.relu(x @ w1) @ w2


def loss(weights: Weights, x: Inputs, y: Targets) -> Scalar:
    """The sum of squared errors."""
    return ((forward(x, **weights) - y) ** 2).sum()


def gradients_by_hand(
    weights: Weights, x: Inputs, y: Targets, *, as_printed: bool
) -> tuple[Scalar, Weights, Float[Array, "batch hidden"]]:
    r"""The loss, its derivatives, and the hidden layer's gradient :math:`G_h`, written out.

    .. math:: G_y = 2(\hat y - y), \quad \frac{\partial L}{\partial W_2} = h^T G_y, \quad
              G_h = G_y W_2^T \odot [x W_1 > 0], \quad \frac{\partial L}{\partial W_1} = x^T G_h

    With ``as_printed``, :math:`G_h` is :math:`\max(G_y W_2^T, 0)`, which is not the gradient.
    """
    before = x @ weights["w1"]
    hidden = jnp.maximum(before, 0)
    outputs = hidden @ weights["w2"]
    grad_outputs = 2 * (outputs - y)
    grad_hidden = grad_outputs @ weights["w2"].T
    grad_hidden = jnp.maximum(grad_hidden, 0) if as_printed else grad_hidden * (before > 0)
    grads = {"w1": x.T @ grad_hidden, "w2": hidden.T @ grad_outputs}
    return ((outputs - y) ** 2).sum(), grads, grad_hidden


def step_by_hand(
    weights: Weights, x: Inputs, y: Targets, *, lr: Real, as_printed: bool
) -> tuple[Weights, StepInfo]:
    """New weights, one step along the gradients by hand; the loss and those gradients."""
    value, grads, _ = gradients_by_hand(weights, x, y, as_printed=as_printed)
    return jax.tree.map(lambda w, grad: w - lr * grad, weights, grads), StepInfo(value, grads)


def step(weights: Weights, x: Inputs, y: Targets, *, lr: Real) -> tuple[Weights, StepInfo]:
    """The same along the gradients that `jax.grad` finds, for the whole tree of weights."""
    value, grads = jax.value_and_grad(loss)(weights, x, y)
    return jax.tree.map(lambda w, grad: w - lr * grad, weights, grads), StepInfo(value, grads)


def train(
    weights: Weights, x: Inputs, y: Targets, config: Config, *, by_hand: bool
) -> tuple[Weights, Float[Array, " epochs"]]:
    """Every step of a run, as a scan; the last weights, and the loss before every step."""
    take = partial(step_by_hand, as_printed=config.as_printed) if by_hand else step

    def epoch(weights: Weights, _: None) -> tuple[Weights, Scalar]:
        weights, info = take(weights, x, y, lr=config.lr)
        return weights, info.loss

    return jax.lax.scan(epoch, weights, length=config.epochs)


SEQUENTIAL = models.mlp((1000, 100, 10))
"""The same network as a module; its layers have biases too."""


def sequential_loss(params: models.Params, x: Inputs, y: Targets) -> Scalar:
    """The sum of squared errors of `SEQUENTIAL`; in torch the criterion sees only its outputs."""
    return mse(SEQUENTIAL.apply(params, x), y, reduction="sum")
