"""The report of ``jaxdnn run two-layer-net``: gradients by hand and automatic ones."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxdnn.runs.drawing import Panel
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.workflows import two_layer_net as lesson
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.two_layer_net import Config

__all__ = ["SEED", "Config", "Inputs", "run"]

SEED = 0

Inputs = NoInputs


def run(request: Request) -> Result:
    """Report the losses of both runs, and the gradients' difference at the initial weights.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    x, y, weights = jax.tree.map(jnp.asarray, lesson.data_and_params(seed))
    compiled = jax.jit(lesson.train, static_argnames="by_hand")
    _, losses = compiled(weights, x, y, config, by_hand=True)
    _, true_losses = compiled(weights, x, y, config, by_hand=False)

    value, true = jax.jit(jax.value_and_grad(lesson.loss))(weights, x, y)
    by_hand = jax.jit(partial(lesson.gradients_by_hand, as_printed=config.as_printed))
    _, grads, grad_hidden = by_hand(weights, x, y)
    errors = {name: _relative_error(grads[name], true[name]) for name in true}
    zeroed = (grad_hidden == 0) & (x @ weights["w1"] > 0)
    passed = (grad_hidden != 0) & (x @ weights["w1"] <= 0)

    params = {
        "net.0": {"kernel": weights["w1"], "bias": jnp.zeros(100)},
        "net.2": {"kernel": weights["w2"], "bias": jnp.zeros(10)},
    }
    module = jax.jit(jax.value_and_grad(lesson.sequential_loss))
    module_value, module_grads = module(params, x, y)
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
    if config.as_printed:
        by_hand_remark = (
            "001, two layers by hand: the document clamps the hidden gradient. The backward pass "
            f"by hand has a relative error of {errors['w1']:.0%} in w1's gradient and "
            f"of {errors['w2']:.2g} in w2's. Of {zeroed.size:,} entries, "
            f"{int(zeroed.sum()):,} of active units are set to 0, and {int(passed.sum()):,} of "
            "inactive units are kept. --no-as-printed masks instead"
        )
    else:
        by_hand_remark = (
            "001, two layers by hand, as meant: the gradients with a masked hidden gradient differ "
            f"from jax.grad's by {_scientific(max(errors.values()))}; the document clamps instead, "
            "which is wrong"
        )
    module_remark = (
        "001, nn.Module: torch never calls the backward method that its module defines. The "
        "gradients are those of its forward pass, and differ from jax.grad's by "
        f"{_scientific(module_error)}"
    )
    label = "by hand, clamped" if config.as_printed else "by hand, masked"
    curves = {label: losses, "automatic": true_losses}
    return Result(
        "two-layer-net",
        seed,
        config,
        figures,
        (by_hand_remark, module_remark),
        curves=curves,
        panels=(Panel("", tuple(curves), dict.fromkeys(curves, 1)),),
        by_epoch={f"loss {label}": losses, "automatic": true_losses},
    )


def _relative_error(actual: Array, expected: Array) -> float:
    return float(jnp.linalg.norm(actual - expected) / jnp.linalg.norm(expected))


def _scientific(number: float) -> str:
    return f"{number:.0e}" if number else "nothing"
