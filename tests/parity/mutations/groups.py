"""Mistakes in groups of parameters, and in clipping and accumulation that know of them.

The gradient is right, so the two part in the first parameter, in torch's order, of a group that is
treated wrongly, or before it in the optimiser's tensors of that parameter.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from torch import nn
from torch.optim import lr_scheduler

from jaxdnn import optim
from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.optimizer_ports import adamw, clip_each
from tests.parity.mutations.ports import (
    build,
    dense,
    multi_steps,
    normalise,
    numbers,
    pairs,
    regression,
    sgd,
)

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def _halves(kind: Any, first: Any, second: Any, **shared: Any) -> Optimizer:
    """A group for each of two layers."""

    def build(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        weight, bias, *rest = params
        groups = [{"params": [weight, bias]} | first, {"params": rest} | second]
        return kind(groups, **shared)

    return build


def _by_layer(first: Any, second: Any) -> optax.GradientTransformation:
    return optax.partition({"0": first, "2": second}, {"0": "0", "2": "2"})


def layers(torch_optimizer: Optimizer, optimizer: Any, **settings: Any) -> Callable[[], Case]:
    """Regression whose two layers are trained differently."""
    return partial(regression, torch_optimizer=torch_optimizer, optimizer=optimizer, **settings)


_HEAD_FASTER = layers(
    _halves(torch.optim.SGD, {"lr": 0.05}, {"lr": 0.5}), _by_layer(optax.sgd(0.05), optax.sgd(0.5))
)
_HEAD_WITHOUT_MOMENTUM = layers(
    _halves(torch.optim.SGD, {"momentum": 0.9}, {"momentum": 0.0}, lr=0.1),
    _by_layer(optax.sgd(0.1, 0.9), optax.sgd(0.1)),
)
_HEAD_FALLS = layers(
    _halves(torch.optim.SGD, {}, {}, lr=0.1),
    _by_layer(optax.sgd(0.1), optax.sgd(lambda count: 0.1 * 0.9**count)),
    scheduler=partial(
        lr_scheduler.LambdaLR, lr_lambda=[lambda count: 1.0, lambda count: 0.9**count]
    ),
)


def _held_in_part(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(list(params)[2:], lr=0.1)


def _decayed(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Weights decay; biases and the scale of a normalisation do not."""
    params = list(params)
    weights, others = [p for p in params if p.dim() > 1], [p for p in params if p.dim() == 1]
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


def _is_kernel(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _is_no_bias(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "bias", params)


def normalised() -> Case:
    """Two layers and a normalisation, of which the weights decay."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        hidden = normalise(params["1"], dense(params["0"], x))
        return dense(params["3"], jnp.tanh(hidden))

    return build(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 1)),
        apply,
        batches=pairs(numbers(8, 8, 5), numbers(8, 8, 1, seed=1)),
        torch_optimizer=_decayed,
        optimizer=_adamw(_is_kernel),
    )


def _adamw(mask: Any) -> optax.GradientTransformation:
    return optax.adamw(0.01, weight_decay=0.1, mask=mask)


def _clip_layers(params: Sequence[nn.Parameter], limit: float = 0.1) -> None:
    for layer in (params[:2], params[2:]):
        nn.utils.clip_grad_norm_(layer, limit)


def _clip_head(params: Sequence[nn.Parameter]) -> None:
    nn.utils.clip_grad_norm_(params[2:], 0.1)


def _clip_values(params: Sequence[nn.Parameter]) -> None:
    nn.utils.clip_grad_value_(params, 0.1)


def clipped(
    before_step: Callable[[Sequence[nn.Parameter]], object], clip: optax.GradientTransformation
) -> Callable[[], Case]:
    """SGD at 0.1 of clipped gradients."""
    return partial(
        sgd(),
        before_step=before_step,
        optimizer=optax.chain(clip, optax.sgd(0.1)),
    )


_clip = optim.clip_grad_norm
_BY_LAYER = clipped(_clip_layers, _by_layer(_clip(0.1), _clip(0.1)))
_HEAD_CLIPPED = clipped(_clip_head, _by_layer(optax.identity(), _clip(0.1)))
_VALUES = clipped(_clip_values, optax.clip(0.1))
_LARGEST = clipped(
    partial(nn.utils.clip_grad_norm_, max_norm=0.1, norm_type=float("inf")),
    optim.clip_grad_norm(0.1, norm_type=float("inf")),
)
_WHOLE = clipped(partial(nn.utils.clip_grad_norm_, max_norm=0.1), _clip(0.1))


def _summed(every: int, *before: Any, after: Any = None) -> optax.GradientTransformation:
    """What is done to each gradient, and then to their sum."""
    inner = optax.chain(optax.scale(float(every)), after or optax.identity(), optax.sgd(0.1))
    return optax.chain(*before, multi_steps(inner, every))


_FOUR = partial(regression, accumulate=4, optimizer=_summed(4))
_FOUR_CLIPPED = partial(
    _FOUR,
    before_step=partial(nn.utils.clip_grad_norm_, max_norm=0.1),
    optimizer=_summed(4, after=_clip(0.1)),
)


_STEPPED: Any = optim.step_lr(0.01, step_size=3)


# fmt: off

GROUPS = of_kind("groups", (
    row("head-lr-missing", "0 param 2.weight", None, _HEAD_FASTER, optimizer=optax.sgd(0.05)),
    row("group-lrs-exchanged", "0 param 0.weight", None, _HEAD_FASTER,
        optimizer=_by_layer(optax.sgd(0.5), optax.sgd(0.05))),
    # The optimiser holds only the second layer's parameters.
    row("not-held-trained", "0 param 0.weight", (None, "frozen-parameter"),
        layers(_held_in_part, _by_layer(optax.set_to_zero(), optax.sgd(0.1))),
        optimizer=optax.sgd(0.1)),
    # Torch keeps no buffer for the second layer, whose first update is the gradient's.
    row("group-momentum-for-all", "1 param 2.weight", None, _HEAD_WITHOUT_MOMENTUM,
        optimizer=optax.sgd(0.1, 0.9)),
    row("group-schedule-for-all", "1 param 0.weight", None, _HEAD_FALLS,
        optimizer=optax.sgd(lambda count: 0.1 * 0.9**count)),
    row("decay-on-norm-and-biases", "0 param 0.bias", None, normalised,
        optimizer=_adamw(None)),
    row("decay-on-norm", "0 param 1.weight", None, normalised, optimizer=_adamw(_is_no_bias)),
    row("clip-whole-for-layers", "0 param 0.weight", None, _BY_LAYER,
        optimizer=optax.chain(_clip(0.1), optax.sgd(0.1))),
    row("clip-layers-for-whole", "0 param 0.weight", None, _WHOLE,
        optimizer=optax.chain(_by_layer(_clip(0.1), _clip(0.1)), optax.sgd(0.1))),
    row("clip-tensors-for-layers", "0 param 0.weight", None, _BY_LAYER,
        optimizer=optax.chain(clip_each(0.1), optax.sgd(0.1))),
    row("clip-all-for-head", "0 param 0.weight", None, _HEAD_CLIPPED,
        optimizer=optax.chain(_by_layer(_clip(0.1), _clip(0.1)), optax.sgd(0.1))),
    row("clip-values-missing", "0 param 0.weight", None, _VALUES, optimizer=optax.sgd(0.1)),
    row("clip-euclidean-for-largest", "0 param 0.weight", None, _LARGEST,
        optimizer=optax.chain(_clip(0.1), optax.sgd(0.1))),
    # Both wait for four batches.
    row("accumulation-clipped-before", "3 param 0.weight", None, _FOUR_CLIPPED,
        optimizer=_summed(4, _clip(0.1))),
    row("accumulation-of-two", "1 param 0.weight", None, _FOUR, optimizer=_summed(2)),
    row("accumulation-first-only", "3 param 0.weight", None, _FOUR,
        optimizer=optax.apply_every(4)),
    # Torch's decay falls with the learning rate.
    row("adamw-decay-unscheduled", "3 param 0.weight", None,
        partial(adamw(weight_decay=0.1), scheduler=partial(lr_scheduler.StepLR, step_size=3),
            optimizer=optim.adamw(_STEPPED, weight_decay=0.1)),
        optimizer=optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(_STEPPED),
            optax.add_decayed_weights(-0.001))),
))
