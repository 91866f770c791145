"""Two layers without bias, differentiated by hand, automatically, and inside a module.

The mirror of `reference_torch.workflows.two_layer_net`. The document's backward pass by hand is
not the gradient of its loss: it sets to zero what is negative in the gradient of the hidden layer,
where it should set to zero what belongs to a relu that was off. Both are here.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdnn import models, torch_compat
from jaxdnn.losses import mse
from jaxdnn.runs.result import Result
from jaxdnn.training import StepInfo
from jaxdnn.workflows.config import (
    Real,
    register,
    require_count,
    require_nonnegative,
    require_seed,
)

__all__ = [
    "SEED",
    "SEQUENTIAL",
    "Config",
    "data_and_start",
    "forward",
    "gradients_by_hand",
    "loss",
    "run",
    "sequential_loss",
    "step",
    "step_by_hand",
    "train",
]

SEED = 0

Scalar = Float[Array, ""]
Weights = dict[str, Float[Array, "..."]]
"""``w1`` of shape (1000, 100) and ``w2`` of shape (100, 10)."""


@register(numbers=["lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 20
    """Steps, each on all the data."""

    lr: Real = 1e-6
    """Learning rate."""

    as_printed: bool = True
    """Clamp the gradient by hand as the document does; otherwise mask it, as is meant."""

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)
        require_nonnegative("lr", self.lr)


def data_and_start(
    seed: int,
) -> tuple[Float[np.ndarray, "100 1000"], Float[np.ndarray, "100 10"], dict[str, np.ndarray]]:
    """Standard normals as torch draws them after a seed, in the document's order.

    Args:
      seed: torch's.

    Returns:
      The inputs, the targets, and the weights ``w1`` and ``w2``.
    """
    generator = torch_compat.Generator(seed)
    x, y = generator.randn(100, 1000), generator.randn(100, 10)
    return x, y, {"w1": generator.randn(1000, 100), "w2": generator.randn(100, 10)}


def forward(
    x: Float[Array, "batch in"], w1: Float[Array, "in hidden"], w2: Float[Array, "hidden out"]
) -> Float[Array, "batch out"]:
    """``relu(x w1) w2``."""
    return jax.nn.relu(x @ w1) @ w2


def loss(weights: Weights, x: Float[Array, "batch in"], y: Float[Array, "batch out"]) -> Scalar:
    """The sum of squared errors."""
    return ((forward(x, **weights) - y) ** 2).sum()


def gradients_by_hand(
    weights: Weights,
    x: Float[Array, "batch in"],
    y: Float[Array, "batch out"],
    *,
    as_printed: bool,
) -> tuple[Scalar, Weights, Float[Array, "batch hidden"]]:
    r"""The loss and its derivatives, written out.

    .. math:: G_y = 2(\hat y - y), \quad \frac{\partial L}{\partial W_2} = h^T G_y, \quad
              G_h = G_y W_2^T \odot [x W_1 > 0], \quad \frac{\partial L}{\partial W_1} = x^T G_h

    Args:
      weights: ``w1`` and ``w2``.
      x: inputs.
      y: targets.
      as_printed: take ``max(G_y W_2ᵀ, 0)`` for :math:`G_h`, which is not the gradient.

    Returns:
      The loss, the gradients of both weights, and :math:`G_h`.
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
    weights: Weights,
    x: Float[Array, "batch in"],
    y: Float[Array, "batch out"],
    *,
    lr: Real,
    as_printed: bool,
) -> tuple[Weights, StepInfo]:
    """One step along the gradients by hand.

    Args:
      weights: ``w1`` and ``w2``.
      x: inputs.
      y: targets.
      lr: learning rate.
      as_printed: see `gradients_by_hand`.

    Returns:
      ``weights - lr · gradients``, and the loss and those gradients.
    """
    value, grads, _ = gradients_by_hand(weights, x, y, as_printed=as_printed)
    return jax.tree.map(lambda w, grad: w - lr * grad, weights, grads), StepInfo(value, grads)


def step(
    weights: Weights, x: Float[Array, "batch in"], y: Float[Array, "batch out"], *, lr: Real
) -> tuple[Weights, StepInfo]:
    """One step along the gradients that `jax.grad` finds.

    Args:
      weights: ``w1`` and ``w2``.
      x: inputs.
      y: targets.
      lr: learning rate.

    Returns:
      ``weights - lr · gradients``, and the loss and those gradients.
    """
    value, grads = jax.value_and_grad(loss)(weights, x, y)
    return jax.tree.map(lambda w, grad: w - lr * grad, weights, grads), StepInfo(value, grads)


def train(
    weights: Weights,
    x: Float[Array, "batch in"],
    y: Float[Array, "batch out"],
    config: Config,
    *,
    by_hand: bool,
) -> tuple[Weights, Float[Array, " epochs"]]:
    """Every step of a run.

    Args:
      weights: the start.
      x: inputs.
      y: targets.
      config: how long, how fast, and which backward pass by hand.
      by_hand: whether to differentiate by hand.

    Returns:
      The weights at the end, and the loss before every step.
    """
    take = partial(step_by_hand, as_printed=config.as_printed) if by_hand else step

    def epoch(weights: Weights, _: None) -> tuple[Weights, Scalar]:
        weights, info = take(weights, x, y, lr=config.lr)
        return weights, info.loss

    return jax.lax.scan(epoch, weights, length=config.epochs)


SEQUENTIAL = models.mlp((1000, 100, 10))
"""The same network as a module, whose layers have biases too."""


def sequential_loss(
    params: models.Params, x: Float[Array, "batch in"], y: Float[Array, "batch out"]
) -> Scalar:
    """The sum of squared errors of `SEQUENTIAL`."""
    return mse(SEQUENTIAL.apply(params, x), y, reduction="sum")


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run two-layer-net`` does: the run by hand beside the automatic one.

    Args:
      seed: of torch's normals, the data and the start.
      config: how long, how fast, and which backward pass by hand.

    Returns:
      Both runs' losses, and how far the two gradients are apart at the start.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    require_seed(seed)
    x, y, weights = jax.tree.map(jnp.asarray, data_and_start(seed))
    compiled = jax.jit(train, static_argnames="by_hand")
    _, losses = compiled(weights, x, y, config, by_hand=True)
    _, true_losses = compiled(weights, x, y, config, by_hand=False)

    value, true = jax.jit(jax.value_and_grad(loss))(weights, x, y)
    by_hand = jax.jit(partial(gradients_by_hand, as_printed=config.as_printed))
    _, grads, grad_hidden = by_hand(weights, x, y)
    errors = {name: _relative_error(grads[name], true[name]) for name in true}
    zeroed = (grad_hidden == 0) & (x @ weights["w1"] > 0)
    passed = (grad_hidden != 0) & (x @ weights["w1"] <= 0)

    biases = {"net.0": jnp.zeros(100), "net.2": jnp.zeros(10)}
    params = {
        layer: {"kernel": weights[name], "bias": biases[layer]}
        for layer, name in (("net.0", "w1"), ("net.2", "w2"))
    }
    module_value, module_grads = jax.jit(jax.value_and_grad(sequential_loss))(params, x, y)
    module_error = _relative_error(module_grads["net.0"]["kernel"], true["w1"])
    figures = {
        "two_layer_net.by_hand": {
            "losses": losses,
            "relative_error_w1": errors["w1"],
            "relative_error_w2": errors["w2"],
            "wrongly_zeroed": zeroed.sum(),
            "wrongly_passed": passed.sum(),
        },
        "two_layer_net.autograd": {"losses": true_losses},
        "two_layer_net.module": {
            "loss_minus_autograd": module_value - value,
            "relative_error_w1": module_error,
            "relative_error_w2": _relative_error(module_grads["net.2"]["kernel"], true["w2"]),
        },
    }
    remarks = []
    if config.as_printed:
        remarks.append(
            f"clamped gradient: the backward pass by hand misses w1's gradient by "
            f"{errors['w1']:.0%} (w2's by {errors['w2']:.0e}); of the hidden layer's "
            f"{zeroed.size:,} entries, {int(zeroed.sum()):,} of active units are set to 0 and "
            f"{int(passed.sum()):,} of inactive ones are let through. --no-as-printed masks instead"
        )
    else:
        remarks.append(
            f"masked gradient, as meant: the backward pass by hand agrees with grad to "
            f"{max(errors.values()):.0e}; the document clamps instead, and misses"
        )
    remarks.append(
        "a module's own backward: torch never calls it; the module's gradients are those of its "
        f"forward pass, {float(module_error):.0e} from grad's"
    )
    label = "by hand, clamped" if config.as_printed else "by hand, masked"
    curves = {label: losses, "automatic": true_losses}
    return Result("two-layer-net", seed, config, figures, tuple(remarks), curves=curves)


def _relative_error(actual: Array, expected: Array) -> float:
    return float(jnp.linalg.norm(actual - expected) / jnp.linalg.norm(expected))
