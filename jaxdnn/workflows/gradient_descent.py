"""Gradient descent, from a derivative by hand to a layer under an optimiser.

The mirror of `reference_torch.workflows.gradient_descent`. There a variable is changed in place and
its gradient is reset before the next step. Here a step is a function from the old value to the new
one, which `jax.lax.scan` repeats.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdnn import models, torch_compat, training
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.optim import newton_step
from jaxdnn.training import StepInfo, TrainState
from jaxdnn.workflows.config import Real, hyperparameters

__all__ = ["Config", "design_matrix", "layer_init", "layer_loss", "layer_optimizer"]
__all__ += ["layer_train", "newton", "one_weight_loss", "parabola", "parabola_slope"]
__all__ += ["quadratic_loss", "step", "step_by_hand", "train"]

State = TypeVar("State")
Scalar = Float[Array, ""]
Vector = Float[Array, " 3"]
Values = Float[Array, " points"]
Column = Float[Array, "points 1"]
Rows = Float[Array, "points 3"]


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    lr: Real = 0.1
    """Learning rate of all fits but the last."""

    layer_lr: Real = 0.01
    """Learning rate of the layer under SGD."""


def parabola(x: Scalar) -> Scalar:
    """``x² + 2x + 1``, whose minimum is 0 at -1."""
    return x**2 + 2 * x + 1


def parabola_slope(x: Scalar) -> Scalar:
    """``2x + 2``, the derivative of `parabola` by hand."""
    return 2 * x + 2


def step_by_hand(x: Scalar, *, lr: Real) -> tuple[Scalar, StepInfo]:
    """One step of gradient descent on `parabola`: ``x - lr · (2x + 2)``."""
    slope = parabola_slope(x)
    return x - lr * slope, StepInfo(parabola(x), slope)


def step(loss: Callable[..., Scalar], w: Array, *batch: Array, lr: Real) -> tuple[Array, StepInfo]:
    """One step of gradient descent, ``w - lr · ∇loss(w, *batch)``, by automatic differentiation."""
    value, gradient = jax.value_and_grad(loss)(w, *batch)
    return w - lr * gradient, StepInfo(value, gradient)


def train(
    step: Callable[[State], tuple[State, StepInfo]], w: State, *, steps: int
) -> tuple[State, StepInfo]:
    """Repeat a step: torch's ``for`` loop as a scan; the last value, and every step's info.

    Example:
      >>> end, info = train(lambda x: step(parabola, x, lr=0.1), jnp.array(1.0), steps=10)
      >>> print(f"{end:.4f}", info.grads[:3])
      -0.7853 [4.   3.2  2.56]
    """
    return jax.lax.scan(lambda w, _: step(w), w, length=steps)


def design_matrix(x: Values) -> Rows:
    """The row ``(x², x, 1)`` of each point: a function of one point, vmapped over all."""
    return jax.vmap(lambda x: jnp.stack([x**2, x, jnp.ones_like(x)]))(x)


def quadratic_loss(w: Vector, rows: Rows, y: Values) -> Scalar:
    """Mean squared error of a parabola with the coefficients ``w``."""
    return jax.vmap(lambda row, y: (row @ w - y) ** 2)(rows, y).mean()


def one_weight_loss(w: Scalar, x: Values, y: Values) -> Scalar:
    """Mean squared error of ``w x``."""
    return ((w * x - y) ** 2).mean()


def newton(w: Vector, rows: Rows, y: Values) -> Vector:
    """The parabola's coefficients in one second-order step, ``w - H⁻¹ ∇loss``."""
    return newton_step(lambda w: quadratic_loss(w, rows, y), w)


LAYER = models.linear(1, 1, bias=False)
"""``init(key) -> params`` and ``apply(params, x)``: where a module owns its weight, here it is an
argument."""


def layer_init(seed: int) -> Params:
    """The initial weight of torch's ``nn.Linear(1, 1, bias=False)`` after a seed."""
    weight = torch_compat.Generator(seed).linear(1, 1, bias=False)["weight"]
    return {"linear": {"kernel": jnp.asarray(weight.T)}}  # (in, out); torch's layout is (out, in)


def layer_loss(params: Params, x: Column, y: Column) -> Scalar:
    """Mean squared error of the layer."""
    return mse(LAYER.apply(params, x), y)


def layer_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.layer_lr)


def layer_train(
    params: Params, x: Column, y: Column, config: Config, *, steps: int
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Full-batch steps; the last state, and every step's loss before its update."""
    optimizer = layer_optimizer(config)
    state = TrainState(params, optimizer.init(params))
    return training.train_on_batch(layer_loss, optimizer, state, (x, y), steps=steps)
