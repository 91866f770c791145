"""The report of ``jaxdnn run gradient-descent``: every descent of the document."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdnn.runs.drawing import Panel
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.workflows import gradient_descent as lesson
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.gradient_descent import Config

__all__ = ["SEED", "Config", "Inputs", "closed_form", "run"]

SEED = 2

Inputs = NoInputs


def run(request: Request) -> Result:
    """Report the end and the losses of each descent; the seed gives the layer's initial weight.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> result = run(Request(SEED, Config()))
      >>> round(result.figures["gradient_descent.by_hand"]["x"], 10)
      -0.8926258176
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    lr = config.lr

    def by_hand(x: jax.Array) -> jax.Array:
        return lesson.train(lambda x: lesson.step_by_hand(x, lr=lr), x, steps=10)[0]

    def descend(loss, w, *batch, steps):  # type: ignore[no-untyped-def]
        return lesson.train(lambda w: lesson.step(loss, w, *batch, lr=lr), w, steps=steps)

    # Two of the document's descents are in double precision.
    with jax.enable_x64(True):
        lowest = np.float64(jax.jit(by_hand)(0.0))
        rows = lesson.design_matrix(jnp.arange(3.0))
        y = rows @ jnp.array([2.0, 3.0, 4.0])
        fit = jax.jit(lambda w: descend(lesson.quadratic_loss, w, rows, y, steps=400))
        quadratic, quadratic_info = jax.device_get(fit(jnp.ones(3)))
        solved = jax.device_get(jax.jit(lesson.newton)(jnp.ones(3), rows, y))

    # A descent is written for one initial value, and vmapped over two.
    both = jax.vmap(lambda x: descend(lesson.parabola, x, steps=10))
    starts = jnp.array([1.0, 0.0])
    ends, info = jax.jit(both)(starts)

    points = jnp.array([1.0, 2.0, 3.0])
    fit_one = jax.jit(lambda w: descend(lesson.one_weight_loss, w, points, 2 * points, steps=20))
    one_weight, one_weight_info = fit_one(0.0)

    params, column = lesson.layer_init(seed), points[:, None]
    state, layer_losses = jax.jit(lesson.layer_train, static_argnames="steps")(
        params, column, 2 * column, config, steps=30
    )
    w0 = params["linear"]["kernel"].item()
    weight = state.params["linear"]["kernel"].item()

    with np.errstate(over="ignore", invalid="ignore"):  # where a descent diverges
        value = (lowest + 1) ** 2
        layer_lr = np.float64(config.layer_lr)
        closed_forms = [closed_form(w0, steps, layer_lr) for steps in (30, 60)]
    figures = {
        "gradient_descent.by_hand": {"x": lowest, "value": value},
        "gradient_descent.autograd": {"start": starts[0], "grads": info.grads[0], "x": ends[0]},
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
        "004 In [6]: it prints the function y instead of its value, which at the end is "
        f"{value:.6f}"
    ]
    if config == Config():
        remarks.append(_out_of_reach(w0, weight))
    descents = {
        "x² + 2x + 1 from 1": info.loss[0],
        "a parabola to three points": quadratic_info.loss,
        "one weight": one_weight_info.loss,
        "a layer of one weight": layer_losses,
    }
    panels = tuple(Panel("", (name,), {name: 1}) for name in descents)
    return Result(
        "gradient-descent",
        seed,
        config,
        figures,
        tuple(remarks),
        curves=descents,
        panels=panels,
        by_epoch={"loss": info.loss[0], "gradient": info.grads[0]},
    )


def closed_form(w: float, steps: int, lr: float = 0.01) -> float:
    """The layer's weight after some steps from ``w``: ``2 - (2 - w)(1 - 2 lr · 14/3)^steps``."""
    return 2 - (2 - w) * (1 - 2 * lr * 14 / 3) ** steps  # 14/3 is the mean of x² at 1, 2, 3


def _out_of_reach(w0: float, weight: float) -> str:
    """The remark on a printed weight; torch's default initial weight is in [-1, 1]."""
    low, high = closed_form(-1.0, 30), closed_form(1.0, 30)
    low60, high60 = closed_form(-1.0, 60), closed_form(1.0, 60)
    return (
        f"004 In [72]: 1.9871 is out of reach: from this seed's initial weight {w0:.4f}, 30 steps "
        f"end at {weight:.4f}, as in the closed form. From any default initial weight they end in "
        f"[{low:.3f}, {high:.3f}], and 60 steps in [{low60:.4f}, {high60:.4f}]"
    )
