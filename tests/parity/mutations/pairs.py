"""Mistakes made at once: every one of them has to be named."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import torch
from torch import nn
from torch.optim import lr_scheduler

from jaxdnn import losses, optim
from tests.parity.mutations.case import Case
from tests.parity.mutations.layer_ports import (
    Convolutions,
    batch_norm,
    between,
    convolution,
    flax_batch_norm,
    flax_layer_norm,
    through,
)
from tests.parity.mutations.losses import positive_weight, probabilities, smoothed, weighted
from tests.parity.mutations.optimizer_ports import frozen
from tests.parity.mutations.ports import (
    build,
    classification,
    dense,
    multi_steps,
    normalise,
    picked,
    regression,
)

__all__ = ["PAIRS", "Pair", "named"]


class Pair(NamedTuple):
    """Two mistakes or three in one port.

    Attributes:
      id: its name here.
      traps: the names of all of them.
      right: the port without them.
      wrong: makes them.
    """

    id: str
    traps: frozenset[str]
    right: Callable[[], Case]
    wrong: Callable[[Case], Case]


def named(pair: Pair) -> frozenset[str]:
    """The names that a comparison finds."""
    report = pair.wrong(pair.right()).check(precisions=("float64",), samples=0)
    return frozenset(report.traps)


def _pair(traps: str, right: Callable[[], Case], **wrong: Any) -> Pair:
    """A pair, called after its mistakes."""
    names = traps.split()
    return Pair("+".join(names), frozenset(names), right, lambda case: case.but(**wrong))


def _deep() -> nn.Module:
    return nn.Sequential(
        nn.Linear(5, 6), nn.GELU(), nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)
    )


def _network(
    *, approximate: bool = False, epsilon: float = 1e-5, transposed: bool = False
) -> Callable[..., jax.Array]:
    """GELU, a layer normalisation and a square layer."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        hidden = jax.nn.gelu(dense(params["0"], x), approximate=approximate)
        if epsilon == 1e-5:
            hidden = normalise(params["2"], hidden)
        else:
            hidden = flax_layer_norm(params["2"], hidden, epsilon=epsilon)
        square = params["3"]
        if transposed:
            square = square | {"kernel": square["kernel"].T}
        return dense(params["5"], jnp.tanh(dense(square, hidden)))

    return apply


_DEEP = partial(build, _deep, _network())


def _by(name: str, lr: float = 0.01, **settings: Any) -> dict[str, Any]:
    """An optimiser of torch's, for a case."""
    return {"torch_optimizer": partial(getattr(torch.optim, name), lr=lr, **settings)}


def _under(case: Callable[..., Case], name: str, lr: float = 0.01, **settings: Any) -> Any:
    return partial(case, **_by(name, lr, **settings))


def _half(x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.l2_loss(x, y).mean()


_FALLING: dict[str, Any] = {
    "scheduler": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "optimizer": optim.sgd(optim.exponential_lr(0.1, gamma=0.9)),
}
_STEPPED: dict[str, Any] = {
    "scheduler": partial(lr_scheduler.StepLR, step_size=3),
    "optimizer": optim.sgd(optim.step_lr(0.1, step_size=3)),
}
_COSINE: dict[str, Any] = {
    "scheduler": partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    "optimizer": optim.sgd(optim.cosine_annealing_lr(0.1, t_max=5)),
}
_CLIPPED: dict[str, Any] = {
    "before_step": partial(nn.utils.clip_grad_norm_, max_norm=0.1),
    "optimizer": optax.chain(optim.clip_grad_norm(0.1), optax.sgd(0.1)),
}
_ACCUMULATED: dict[str, Any] = {
    "accumulate": 2,
    "optimizer": multi_steps(optax.chain(optax.scale(2.0), optax.sgd(0.1)), 2),
}


def _with_clipping(case: Case) -> Case:
    return case.but(**_CLIPPED)


def _spread(x: jax.Array, *, ddof: int) -> jax.Array:
    return x / x.std(1, keepdims=True, ddof=ddof)


_DEVIATION = partial(
    between, lambda: lambda x: x / x.std(1, keepdim=True), partial(_spread, ddof=1)
)


def _smooth(beta: float) -> dict[str, Any]:
    return {
        "torch_loss": nn.SmoothL1Loss(beta=beta),
        "loss": partial(losses.smooth_l1, beta=beta),
    }


# fmt: off

PAIRS = (
    _pair("layer-norm-epsilon adamw-default-decay", _under(_DEEP, "AdamW"),
        apply=_network(epsilon=1e-6), optimizer=optax.adamw(0.01)),
    _pair("gelu-tanh layer-norm-epsilon", _DEEP, apply=_network(approximate=True, epsilon=1e-6)),
    _pair("gelu-tanh linear-transposed", _DEEP,
        apply=_network(approximate=True, transposed=True)),
    _pair("layer-norm-epsilon linear-transposed", _DEEP,
        apply=_network(epsilon=1e-6, transposed=True)),
    _pair("gelu-tanh nesterov", _under(_DEEP, "SGD", 0.1, momentum=0.9, nesterov=True),
        apply=_network(approximate=True), optimizer=optax.sgd(0.1, 0.9)),
    _pair("layer-norm-epsilon rmsprop-epsilon", _under(_DEEP, "RMSprop"),
        apply=_network(epsilon=1e-6), optimizer=optax.rmsprop(0.01, decay=0.99)),
    _pair("mse-half momentum-missing", _under(regression, "SGD", 0.1, momentum=0.9),
        loss=_half, optimizer=optax.sgd(0.1)),
    _pair("mse-half schedule-missing", partial(regression, **_FALLING),
        loss=_half, optimizer=optax.sgd(0.1)),
    _pair("mse-half accumulation-mean", partial(regression, **_ACCUMULATED),
        loss=_half, optimizer=multi_steps(optax.sgd(0.1), 2)),
    _pair("reduction-sum clip-epsilon", partial(regression, **_CLIPPED),
        loss=lambda x, y: jnp.sum((x - y) ** 2),
        optimizer=optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))),
    _pair("batch-norm-variance clip-missing", lambda: _with_clipping(batch_norm()),
        apply=flax_batch_norm(0.9), optimizer=optax.sgd(0.1)),
    _pair("batch-norm-momentum mse-half", batch_norm,
        apply=flax_batch_norm(0.99), loss=_half),
    _pair("label-smoothing adam-epsilon", _under(smoothed, "Adam"),
        loss=lambda x, y: picked(x, y).mean(), optimizer=optax.adam(0.01, eps=1e-7)),
    _pair("cross-entropy-weights weight-decay-missing",
        _under(weighted, "SGD", 0.1, weight_decay=0.01),
        loss=lambda x, y: picked(x, y).mean(), optimizer=optax.sgd(0.1)),
    _pair("softmax-twice adam-betas", _under(classification, "Adam"),
        loss=lambda x, y: picked(jax.nn.softmax(x), y).mean(),
        optimizer=optax.adam(0.01, b2=0.99)),
    _pair("ignore-index step-smooth", partial(classification, ignored=range(8), **_STEPPED),
        loss=lambda x, y: jnp.where(y == -100, 0, picked(x, jnp.maximum(y, 0))).mean(),
        optimizer=optax.sgd(optax.exponential_decay(0.1, 3, 0.1))),
    _pair("pos-weight adagrad-accumulator", _under(positive_weight, "Adagrad"),
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean(),
        optimizer=optax.adagrad(0.01)),
    _pair("bce-of-logits decay-without-lr",
        _under(probabilities, "AdamW", weight_decay=0.01),
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean(),
        optimizer=optax.chain(optax.adam(0.01), optax.add_decayed_weights(-0.01))),
    _pair("smooth-l1-huber cosine-end", partial(regression, **_smooth(0.5), **_COSINE),
        loss=lambda x, y: optax.huber_loss(x, y, delta=0.5).mean(),
        optimizer=optax.sgd(optax.cosine_decay_schedule(0.1, 5))),
    _pair("biased-variance schedule-offset", partial(_DEVIATION, **_FALLING),
        apply=through(partial(_spread, ddof=0)),
        optimizer=optax.sgd(lambda count: 0.1 * 0.9 ** (count + 1))),
    _pair("conv-padding max-pool-stride", partial(convolution, averaged=True),
        apply=Convolutions(averaged=True, padding="SAME", strides=None).apply),
    _pair("flatten-order reduction-sum", convolution,
        apply=Convolutions(channels_first=False).apply,
        loss=lambda x, y: jnp.sum((x - y) ** 2)),
    _pair("frozen-parameter mse-half", frozen, loss=_half, optimizer=optax.sgd(0.1)),
    _pair("gelu-tanh mse-half schedule-missing", partial(_DEEP, **_FALLING),
        apply=_network(approximate=True), loss=_half, optimizer=optax.sgd(0.1)),
)
