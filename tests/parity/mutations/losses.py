"""Mistakes in losses and reductions.

Where the output is right and the loss is wrong, the two part in the loss; where only its slope is
wrong, in the gradient of the first parameter, in torch's order, that the slope reaches.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn
from torch.nn import functional

from jaxdnn import losses
from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import (
    build,
    classification,
    dense,
    mse,
    multi_steps,
    numbers,
    pairs,
    picked,
    regression,
    sgd,
    two_layers,
)


def probabilities(*, saturated: bool = False, **settings: Any) -> Case:
    """A sigmoid at the end, which is exactly 1 for one example if saturated."""
    x, y = numbers(8, 8, 5), np.random.default_rng(1).integers(0, 2, (8, 8, 1)).astype(np.float32)

    def module() -> nn.Module:
        network = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid())
        if saturated:
            weight = next(network.parameters())
            x[:, 0] = 1e4 * np.sign(weight.detach().numpy())
            y[:, 0] = 0
        return network

    return build(
        module,
        lambda params, x: jax.nn.sigmoid(dense(params["0"], x)),
        nn.BCELoss(),
        losses.bce,
        pairs(x, y),
        **settings,
    )


def logits(
    torch_loss: nn.Module, loss: Callable[..., Any], *, scale: float = 1.0, **settings: Any
) -> Case:
    """One layer, zeros and ones for targets."""
    settings.setdefault("torch_optimizer", partial(torch.optim.SGD, lr=0.1 / scale**2))
    y = np.random.default_rng(1).integers(0, 2, (8, 8, 1)).astype(np.float32)
    return build(
        lambda: nn.Linear(5, 1),
        lambda params, x: dense(params[""], x),
        torch_loss,
        loss,
        pairs(scale * numbers(8, 8, 5), y),
        **settings,
    )


def divergence(reduction: Literal["mean", "batchmean"]) -> Case:
    """Log-probabilities, and probabilities for targets."""
    y = np.random.default_rng(1).dirichlet(np.ones(4), (8, 8)).astype(np.float32)
    return build(
        lambda: nn.Sequential(nn.Linear(5, 4), nn.LogSoftmax(dim=1)),
        lambda params, x: jax.nn.log_softmax(dense(params["0"], x)),
        nn.KLDivLoss(reduction=reduction),
        partial(losses.kl_div, reduction=reduction),
        pairs(numbers(8, 8, 5), y),
    )


def flat_targets() -> Case:
    """Outputs (N, 1) and targets (N,)."""
    return build(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)),
        two_layers(jnp.tanh),
        lambda output, target: functional.mse_loss(output.squeeze(1), target),
        lambda output, target: jnp.mean((output[:, 0] - target) ** 2),
        pairs(numbers(8, 8, 5), numbers(8, 8, seed=1)),
    )


def absolute_zero() -> Case:
    """The first example is 0, and so are the bias and its target: the difference is exactly 0."""
    x, y = numbers(8, 8, 5), numbers(8, 8, 1, seed=1)
    x[0, 0], y[0, 0] = 0, 0
    return build(
        lambda: _zero_bias(nn.Linear(5, 1)),
        lambda params, x: dense(params[""], x),
        nn.L1Loss(),
        losses.l1,
        pairs(x, y),
    )


def _zero_bias(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.bias)
    return layer


def _smoothed_others(x: jax.Array, y: jax.Array) -> jax.Array:
    target = jnp.where(jax.nn.one_hot(y, 4) > 0, 0.8, 0.2 / 3)
    return optax.softmax_cross_entropy(x, target).mean()


def _clipped_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    x = jnp.clip(x, 1e-7, 1 - 1e-7)
    return -jnp.mean(y * jnp.log(x) + (1 - y) * jnp.log(1 - x))


def _plain_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(y * jnp.log(x) + (1 - y) * jnp.log(1 - x))


def _bounded_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    logs = jnp.maximum(jnp.log(x), -100), jnp.maximum(jnp.log1p(-x), -100)
    return -jnp.mean(y * logs[0] + (1 - y) * logs[1])


def naive_logits(x: jax.Array, y: jax.Array) -> jax.Array:
    return _plain_bce(1 / (1 + jnp.exp(-x)), y)


def naive_cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
    picked = jnp.take_along_axis(x, y[:, None], 1)[:, 0]
    return jnp.mean(jnp.log(jnp.sum(jnp.exp(x), 1)) - picked)


def log_of_softmax(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.log(jnp.take_along_axis(jax.nn.softmax(x), y[:, None], 1)))


def far_logits(scale: float) -> Case:
    """One layer without much training, whose logits are large."""
    labels = np.random.default_rng(1).integers(0, 4, (8, 8))
    return build(
        lambda: nn.Linear(5, 4),
        lambda params, x: dense(params[""], x),
        nn.CrossEntropyLoss(),
        losses.cross_entropy,
        pairs(scale * numbers(8, 8, 5), labels),
        torch_optimizer=partial(torch.optim.SGD, lr=1e-3 / scale),
    )


def _margin(x: jax.Array, y: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(x, y[:, None], 1)
    return jnp.mean(jnp.sum(jnp.maximum(1 - chosen + x, 0) * (1 - jax.nn.one_hot(y, 4)), 1))


def sequences() -> Case:
    """Labels for every place of a sequence, the classes second."""
    return build(
        lambda: nn.Conv1d(5, 4, 1),
        lambda params, x: jnp.einsum("oik,nil->nol", params["weight"], x) + params["bias"][:, None],
        nn.CrossEntropyLoss(),
        losses.cross_entropy,
        pairs(numbers(8, 8, 5, 3), np.random.default_rng(1).integers(0, 4, (8, 8, 3))),
        from_torch=dict,
    )


_WEIGHTS = [0.25, 1.0, 3.0, 0.5]


def weighted(**settings: Any) -> Case:
    """Cross-entropy with class weights."""
    weight = torch.tensor(_WEIGHTS)
    return classification(
        nn.CrossEntropyLoss(weight=weight),
        lambda x, y: losses.cross_entropy(x, y, weight=jnp.asarray(_WEIGHTS, x.dtype)),
        **settings,
    )


def smoothed(**settings: Any) -> Case:
    """Cross-entropy with label smoothing."""
    return classification(
        nn.CrossEntropyLoss(label_smoothing=0.2),
        partial(losses.cross_entropy, label_smoothing=0.2),
        **settings,
    )


def positive_weight(**settings: Any) -> Case:
    """Positive targets weigh three times."""
    return logits(
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
        partial(losses.bce_with_logits, pos_weight=3.0),
        **settings,
    )


ACCUMULATED = partial(
    regression,
    accumulate=4,
    optimizer=multi_steps(optax.chain(optax.scale(4.0), optax.sgd(0.1)), 4),
)


# fmt: off

LOSS = of_kind("loss", (
    row("mse-half", "0 loss", "mse-half", regression,
        loss=lambda x, y: optax.l2_loss(x, y).mean()),
    row("mse-broadcast", "0 loss", "mse-broadcast", flat_targets, loss=mse),
    row("cross-entropy-weights-over-n", "0 loss", "cross-entropy-weights", weighted,
        loss=lambda x, y: jnp.mean(jnp.asarray(_WEIGHTS, x.dtype)[y] * picked(x, y))),
    row("cross-entropy-weights-missing", "0 loss", "cross-entropy-weights", weighted,
        loss=lambda x, y: picked(x, y).mean()),
    row("ignore-index-nan", "2 loss", "ignore-index", partial(classification, ignored=[2, 5]),
        loss=lambda x, y: picked(x, y).mean()),
    row("ignore-index-counted", "0 loss", "ignore-index",
        partial(classification, ignored=range(8)),
        loss=lambda x, y: jnp.where(y == -100, 0, picked(x, jnp.maximum(y, 0))).mean()),
    # The first label to be ignored comes in batch 40.
    row("ignore-index-from-40", "40 loss", "ignore-index",
        partial(classification, ignored=[40], steps=44),
        loss=lambda x, y: jnp.where(y == -100, 0, picked(x, jnp.maximum(y, 0))).mean()),
    row("label-smoothing-missing", "0 loss", "label-smoothing", smoothed,
        loss=lambda x, y: picked(x, y).mean()),
    row("label-smoothing-others", "0 loss", "label-smoothing", smoothed, loss=_smoothed_others),
    row("softmax-in-loss", "0 loss", "softmax-twice", classification,
        loss=lambda x, y: picked(jax.nn.softmax(x), y).mean()),
    row("softmax-in-network", "0 output", "softmax-twice", classification,
        apply=lambda params, x: jax.nn.softmax(two_layers(jnp.tanh)(params, x))),
    row("smooth-l1-huber", "0 loss", "smooth-l1-huber",
        partial(regression, torch_loss=nn.SmoothL1Loss(beta=0.5),
            loss=partial(losses.smooth_l1, beta=0.5)),
        loss=lambda x, y: optax.huber_loss(x, y, delta=0.5).mean()),
    # The network's sigmoid is 1 and the target 0: log 0 without torch's bound.
    row("bce-unbounded", "0 loss", "bce-clamp", partial(probabilities, saturated=True),
        loss=_plain_bce),
    # Where an input is 1, its last bit decides about a loss of 100 or 37, and right runs part, too.
    row("bce-clipped", "4 loss", "bce-clamp", partial(probabilities, saturated=True),
        loss=_clipped_bce),
    # The value is torch's; the slope is 0 times infinity, and NaN in every weight.
    row("bce-slope", "0 grad 0.weight", "bce-clamp", partial(probabilities, saturated=True),
        loss=_bounded_bce),
    row("bce-of-logits", "0 loss", "bce-of-logits", probabilities,
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean()),
    row("pos-weight-missing", "0 loss", "pos-weight", positive_weight,
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean()),
    row("pos-weight-on-all", "0 loss", "pos-weight", positive_weight,
        loss=lambda x, y: 3 * optax.sigmoid_binary_cross_entropy(x, y).mean()),
    # The example at the kink has inputs of 0, so its slope reaches the bias alone.
    row("l1-at-zero", "0 grad bias", "abs-derivative", absolute_zero,
        loss=lambda x, y: jnp.mean(jnp.abs(x - y))),
    row("auxiliary-half", "0 loss", None,
        partial(regression,
            torch_loss=lambda x, y: functional.mse_loss(x, y) + 0.1 * x.square().mean(),
            loss=lambda x, y: mse(x, y) + 0.1 * jnp.mean(x**2)),
        loss=lambda x, y: mse(x, y) + 0.05 * jnp.mean(x**2)),
))

REDUCTION = of_kind("reduction", (
    row("mse-sum", "0 loss", "reduction-sum", regression, loss=lambda x, y: jnp.sum((x - y) ** 2)),
    row("mse-mean", "0 loss", "reduction-mean",
        partial(sgd(lr=0.01), torch_loss=nn.MSELoss(reduction="sum"),
            loss=partial(losses.mse, reduction="sum")),
        loss=mse),
    row("mse-per-example", "0 loss", "reduction-per-example", partial(regression, outputs=3),
        loss=lambda x, y: jnp.mean(jnp.sum((x - y) ** 2, 1))),
    row("cross-entropy-sum", "0 loss", "reduction-sum", classification,
        loss=lambda x, y: picked(x, y).sum()),
    row("kl-div-mean-for-batchmean", "0 loss", "kl-div-mean", partial(divergence, "batchmean"),
        loss=lambda x, y: jnp.mean(y * (jnp.log(y) - x))),
    row("kl-div-batchmean-for-mean", "0 loss", "kl-div-mean", partial(divergence, "mean"),
        loss=lambda x, y: optax.kl_divergence(x, y).mean()),
    # Both wait for four batches.
    row("accumulation-averaged", "3 param", "accumulation-mean", ACCUMULATED,
        optimizer=multi_steps(optax.sgd(0.1), 4)),
    # By hand, which is no function of the library; nor is what the ports make of it.
    row("sum-over-features-averaged", "0 loss", None,
        partial(regression, outputs=3, torch_loss=lambda x, y: (x - y).square().sum(1).mean(),
            loss=lambda x, y: jnp.mean(jnp.sum((x - y) ** 2, 1))),
        loss=mse),
    row("masked-mean-over-all", "0 loss", None,
        partial(regression,
            torch_loss=lambda x, y: ((x - y).square() * (y > 0)).sum() / (y > 0).sum(),
            loss=lambda x, y: jnp.sum((x - y) ** 2 * (y > 0)) / jnp.sum(y > 0)),
        loss=lambda x, y: jnp.mean((x - y) ** 2 * (y > 0))),
    row("root-missing", "0 loss", None,
        partial(regression, torch_loss=lambda x, y: (x - y).square().mean().sqrt(),
            loss=lambda x, y: jnp.sqrt(mse(x, y))),
        loss=mse),
    row("sum-by-hand", "0 loss", "reduction-mean",
        partial(sgd(lr=0.01), torch_loss=lambda x, y: (x - y).square().sum(),
            loss=lambda x, y: jnp.sum((x - y) ** 2)),
        loss=mse),
    row("kl-reversed", "0 loss", None, partial(divergence, "batchmean"),
        loss=lambda x, y: jnp.sum(jnp.exp(x) * (x - jnp.log(y))) / len(x)),
    row("margin-not-over-classes", "0 loss", None,
        partial(classification, nn.MultiMarginLoss(), lambda x, y: _margin(x, y) / 4),
        loss=lambda x, y: _margin(x, y)),
    row("cross-entropy-per-sequence", "0 loss", "reduction-per-example", sequences,
        loss=lambda x, y: picked(x.swapaxes(1, 2), y).sum(1).mean()),
))
