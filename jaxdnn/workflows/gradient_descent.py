"""Gradient descent, from a derivative by hand to a layer under an optimiser.

The mirror of `reference_torch.workflows.gradient_descent`. There a variable is changed in place and
its gradient is set to zero before the next step; here a step is a function from the old value to
the new one, and `jax.lax.scan` repeats it, so that nothing is left over from the step before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxdnn import models, torch_compat, training
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.optim import newton_step
from jaxdnn.runs.result import Result
from jaxdnn.training import StepInfo, TrainState
from jaxdnn.workflows.config import Real, register, require_nonnegative, require_seed

__all__ = [
    "MODEL",
    "SEED",
    "Config",
    "closed_form",
    "design_matrix",
    "layer_loss",
    "layer_optimizer",
    "layer_start",
    "layer_train",
    "newton",
    "one_weight_loss",
    "parabola",
    "parabola_slope",
    "quadratic_loss",
    "run",
    "step",
    "step_by_hand",
    "train",
]

SEED = 2

Scalar = Float[Array, ""]


@register(numbers=["lr", "layer_lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    lr: Real = 0.1
    """Learning rate of all fits but the last."""

    layer_lr: Real = 0.01
    """Learning rate of the layer under SGD."""

    def __post_init__(self) -> None:
        require_nonnegative("lr", self.lr)
        require_nonnegative("layer_lr", self.layer_lr)


# A step, by hand and by automatic derivative, and many of them.


def parabola(x: Scalar) -> Scalar:
    """``x² + 2x + 1``, whose minimum is 0 at -1."""
    return x**2 + 2 * x + 1


def parabola_slope(x: Scalar) -> Scalar:
    """``2x + 2``, the derivative of `parabola` by hand."""
    return 2 * x + 2


def step_by_hand(x: Scalar, *, lr: Real) -> tuple[Scalar, StepInfo]:
    """One step down `parabola`: ``x - lr · (2x + 2)``."""
    slope = parabola_slope(x)
    return x - lr * slope, StepInfo(parabola(x), slope)


def step(
    loss: Callable[..., Scalar], w: Float[Array, "..."], *batch: Array, lr: Real
) -> tuple[Float[Array, "..."], StepInfo]:
    r"""One step of gradient descent.

    .. math:: w_{t+1} = w_t - \eta \nabla L(w_t)

    Args:
      loss: ``loss(w, *batch) -> scalar``.
      w: the weights before the step.
      batch: what the loss sees beside the weights.
      lr: the learning rate.

    Returns:
      The weights after the step, and the loss and its gradient before it.
    """
    value, gradient = jax.value_and_grad(loss)(w, *batch)
    return w - lr * gradient, StepInfo(value, gradient)


def train(
    step: Callable[[Array], tuple[Array, StepInfo]], w: Float[Array, "..."], *, steps: int
) -> tuple[Float[Array, "..."], StepInfo]:
    """Repeat a step.

    Args:
      step: ``step(w) -> (w, info)``.
      w: the start.
      steps: how many.

    Returns:
      The end, and what every step saw, along a first axis.

    Example:
      >>> end, info = train(lambda x: step(parabola, x, lr=0.1), jnp.array(1.0), steps=10)
      >>> print(f"{end:.4f}", info.grads[:3])
      -0.7853 [4.   3.2  2.56]
    """
    return jax.lax.scan(lambda w, _: step(w), w, length=steps)


# The fits: a parabola to three points, one weight to three points.


def design_matrix(x: Float[Array, " points"]) -> Float[Array, "points 3"]:
    """The row ``(x², x, 1)`` of each point."""
    return jax.vmap(lambda x: jnp.stack([x**2, x, jnp.ones_like(x)]))(x)


def quadratic_loss(
    w: Float[Array, " 3"], rows: Float[Array, "points 3"], y: Float[Array, " points"]
) -> Scalar:
    """Mean squared error of a parabola's coefficients: one point's error, over all points."""

    def squared_error(row: Float[Array, " 3"], y: Scalar) -> Scalar:
        return (row @ w - y) ** 2

    return jax.vmap(squared_error)(rows, y).mean()


def one_weight_loss(w: Scalar, x: Float[Array, " points"], y: Float[Array, " points"]) -> Scalar:
    """Mean squared error of ``w x``."""
    return ((w * x - y) ** 2).mean()


def newton(
    w: Float[Array, " 3"], rows: Float[Array, "points 3"], y: Float[Array, " points"]
) -> Float[Array, " 3"]:
    """The parabola's coefficients in one second-order step."""
    return newton_step(lambda w: quadratic_loss(w, rows, y), w)


# A layer with one weight, as a network under an optimiser.

MODEL = models.linear(1, 1, bias=False)


def layer_start(seed: int) -> Params:
    """The weight that torch's ``nn.Linear(1, 1, bias=False)`` starts with after this seed."""
    tensors = torch_compat.Generator(seed).linear(1, 1, bias=False)
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    return torch_compat.from_torch({"linear.weight": tensors["weight"]}, like)


def layer_loss(params: Params, x: Float[Array, "points 1"], y: Float[Array, "points 1"]) -> Scalar:
    """Mean squared error of the layer."""
    return mse(MODEL.apply(params, x), y)


def layer_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.layer_lr)


def layer_train(
    params: Params,
    x: Float[Array, "points 1"],
    y: Float[Array, "points 1"],
    config: Config,
    *,
    steps: int,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Train the layer on all points at once; the state at the end, and every step's loss."""
    optimizer = layer_optimizer(config)
    state = TrainState(params, optimizer.init(params))
    return training.train_full_batch(layer_loss, optimizer, state, (x, y), steps=steps)


def closed_form(w: float | int, steps: int, lr: float = 0.01) -> float:
    r"""Where the layer's weight is after some steps.

    .. math:: w_t = 2 - (2 - w_0)(1 - 2 \eta \overline{x^2})^t, \quad \overline{x^2} = 14/3

    Args:
      w: the weight at the start.
      steps: how many were taken.
      lr: the learning rate.

    Returns:
      The weight.

    Example:
      >>> f"{closed_form(-1, 30):.3f} to {closed_form(1, 30):.3f}"
      '1.841 to 1.947'
    """
    return 2 - (2 - w) * (1 - 2 * lr * 14 / 3) ** steps


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run gradient-descent`` does: every descent of the document.

    Args:
      seed: of the layer's start.
      config: the learning rates.

    Returns:
      Where each descent ends, and its losses.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> result = run()
      >>> round(result.figures["gradient_descent.by_hand"]["x"], 10)
      -0.8926258176
    """
    require_seed(seed)
    lr = config.lr
    # Two of the document's descents are in double precision.
    with jax.enable_x64(True):
        descend = jax.jit(lambda x: train(lambda x: step_by_hand(x, lr=lr), x, steps=10))
        by_hand = np.float64(descend(0.0)[0])
        rows = design_matrix(jnp.arange(3.0))
        y = rows @ jnp.array([2.0, 3.0, 4.0])
        fit = jax.jit(
            lambda w: train(lambda w: step(quadratic_loss, w, rows, y, lr=lr), w, steps=400)
        )
        quadratic, quadratic_info = jax.device_get(fit(jnp.ones(3)))
        solved = jax.device_get(jax.jit(newton)(jnp.ones(3), rows, y))

    # Both starts at once: the descent of one start, vmapped.
    descend = jax.vmap(lambda x: train(lambda x: step(parabola, x, lr=lr), x, steps=10))
    ends, info = jax.jit(descend)(jnp.array([1.0, 0.0]))

    points = jnp.array([1.0, 2.0, 3.0])
    fit_one = jax.jit(
        lambda w: train(lambda w: step(one_weight_loss, w, points, 2 * points, lr=lr), w, steps=20)
    )
    one_weight, one_weight_info = fit_one(0.0)

    start = layer_start(seed)
    column = points[:, None]
    state, layer_losses = jax.jit(layer_train, static_argnames="steps")(
        start, column, 2 * column, config, steps=30
    )
    w0 = start["linear"]["kernel"].item()
    weight = state.params["linear"]["kernel"].item()

    with np.errstate(over="ignore", invalid="ignore"):  # where a descent diverges
        value = (by_hand + 1) ** 2
        layer_lr = np.float64(config.layer_lr)
        closed_forms = [closed_form(w0, steps, layer_lr) for steps in (30, 60)]
    figures = {
        "gradient_descent.by_hand": {"x": by_hand, "value": value},
        "gradient_descent.autograd": {"x": ends[0], "grads": info.grads[0]},
        "gradient_descent.quadratic_fit": {"w": quadratic},
        "gradient_descent.one_weight": {"w": one_weight},
        "gradient_descent.linear_layer": {
            "w": weight,
            "start": w0,
            "closed_form": closed_forms[0],
            "closed_form_after_60": closed_forms[1],
        },
        "gradient_descent.newton": {"w": solved},
    }
    remarks = [
        "printing a function: the document prints y where y(x) is meant; its value at the end is "
        f"{value:.6f}"
    ]
    if config == Config():
        low, high = closed_form(-1, 30), closed_form(1, 30)
        low60, high60 = closed_form(-1, 60), closed_form(1, 60)
        remarks.append(
            f"1.9871 is out of reach: from this seed's start {w0:.4f}, 30 steps end at "
            f"{weight:.4f}, as the closed form says; from any default start in [{low:.3f}, "
            f"{high:.3f}], and 60 steps in [{low60:.4f}, {high60:.4f}]"
        )
    curves = {
        "x² + 2x + 1 from 1": info.loss[0],
        "a parabola to three points": quadratic_info.loss,
        "one weight": one_weight_info.loss,
        "a layer of one weight": layer_losses,
    }
    return Result("gradient-descent", seed, config, figures, tuple(remarks), curves=curves)
