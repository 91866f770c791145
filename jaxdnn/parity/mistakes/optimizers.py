"""Optimisers as a port might build them, beside the one that torch runs."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxdnn import optim
from jaxdnn.parity.mistakes.schedules import base_rate, schedules, wrong_schedules

__all__ = ["candidates", "faithful"]

Header = Mapping[str, Any]
Transformation = optax.GradientTransformation


def faithful(header: Header) -> Transformation | None:
    """The transformation that torch runs, or None where the header does not fully describe it."""
    if not _is_known(header):
        return None
    lr, momentum = schedules(header)
    return _wrapped(header, _optimizer(header, base_rate(header) if lr is None else lr, momentum))


def candidates(header: Header) -> Iterator[tuple[str, Transformation]]:
    """The transformations that a port may have instead, each with one mistake.

    Args:
      header: as `reference_torch.parity.description.describe` makes it.

    Yields:
      The name of the mistake in `jaxdnn.parity.TRAPS`, and a transformation that makes it.
    """
    if not _is_known(header):
        return
    name, settings = header["optimizer"]["name"], _settings(header)
    schedule, momentum = schedules(header)
    lr = base_rate(header) if schedule is None else schedule
    for trap, optimizer in _optimizers(name, settings, lr):
        yield trap, _wrapped(header, optimizer)
    for trap, wrong_lr, wrong_momentum in wrong_schedules(header, schedule, momentum):
        yield trap, _wrapped(header, _optimizer(header, wrong_lr, wrong_momentum))
    right = _optimizer(header, lr, momentum)
    if header["clip_grad_norm"]:
        limit = header["clip_grad_norm"]
        for trap, clip in (
            ("clip-epsilon", optax.clip_by_global_norm(limit)),
            ("clip-by-value", optax.clip(limit)),
            ("clip-per-tensor", _clip_each(limit)),
            ("clip-missing", optax.identity()),
        ):
            yield trap, _accumulated(header, optax.chain(clip, right))
    if header["accumulate"] > 1:
        clipped = _clipped(header, right)
        yield "accumulation-mean", _multi_steps(clipped, header["accumulate"])
        yield "accumulation-missing", clipped


def _is_known(header: Header) -> bool:
    return (
        header["optimizer"]["name"] in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")
        and header["optimizer"]["settings"] is not None
        and header["clip_grad_norm"] != "unknown"
        and (header["scheduler"] is None or header["scheduler"]["settings"] is not None)
    )


def _optimizer(header: Header, lr: Any, momentum: Any = None) -> Transformation:
    name, settings = header["optimizer"]["name"], _settings(header)
    if momentum is None:
        return optim.from_settings(name, settings, lr=lr)
    # from_settings reads numbers; a scheduled momentum is given to the optimiser itself.
    kept = {k: v for k, v in settings.items() if k not in ("lr", "initial_lr", *_OF_THE_LOOP)}
    if "betas" in kept:
        kept["betas"] = (momentum, kept["betas"][1])
        kept.pop("decoupled_weight_decay", None)
        return (optim.adamw if name == "AdamW" else optim.adam)(lr, **kept)
    kept["momentum"] = momentum
    return (optim.sgd if name == "SGD" else optim.rmsprop)(lr, **kept)


def _settings(header: Header) -> dict[str, Any]:
    """What the optimiser was built with, without what a scheduler left there."""
    left = ("base_momentum", "max_momentum", "max_lr", "min_lr")
    return {k: v for k, v in header["optimizer"]["settings"].items() if k not in left}


_OF_THE_LOOP = ("capturable", "differentiable", "foreach", "fused")
"""Settings that say how torch computes, not what."""


def _wrapped(header: Header, optimizer: Transformation) -> Transformation:
    return _accumulated(header, _clipped(header, optimizer))


def _clipped(header: Header, optimizer: Transformation) -> Transformation:
    if not header["clip_grad_norm"]:
        return optimizer
    return optax.chain(optim.clip_grad_norm(header["clip_grad_norm"]), optimizer)


def _accumulated(header: Header, optimizer: Transformation) -> Transformation:
    every = header["accumulate"]
    if every == 1:
        return optimizer
    summed = optax.chain(optax.scale(float(every)), optimizer)
    return _multi_steps(summed, every)


def _multi_steps(optimizer: Transformation, every: int) -> Transformation:
    # By default the sums are in float32, whatever the gradients are.
    steps = optax.MultiSteps(optimizer, every, accumulator_dtype=None)  # type: ignore[arg-type]
    return steps.gradient_transformation()


def _clip_each(limit: float) -> Transformation:
    def clip(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        def each(grad: jax.Array) -> jax.Array:
            return grad * jnp.minimum(1.0, limit / (jnp.linalg.norm(grad.ravel()) + 1e-6))

        return jax.tree.map(each, updates), state

    return Transformation(lambda params: optax.EmptyState(), clip)


def _optimizers(name: str, settings: Header, lr: Any) -> Iterator[tuple[str, Transformation]]:
    if name == "SGD":
        yield from _sgd(settings, lr)
    if name in ("Adam", "AdamW"):
        yield from _adam(settings, lr, decoupled=name == "AdamW")
    if name == "RMSprop":
        yield from _rmsprop(settings, lr)
    if name == "Adagrad":
        yield from _adagrad(settings, lr)
    for trap, setting, without in (
        ("weight-decay-missing", "weight_decay", 0.0),
        ("maximize-missing", "maximize", False),
    ):
        if settings.get(setting):
            yield trap, optim.from_settings(name, {**settings, setting: without}, lr=lr)


def _sign(settings: Header) -> Transformation:
    return optax.scale(-1.0) if settings["maximize"] else optax.identity()


def _sgd(settings: Header, lr: Any) -> Iterator[tuple[str, Transformation]]:
    momentum, dampening = settings["momentum"], settings["dampening"]
    decay, nesterov = settings["weight_decay"], settings["nesterov"]
    sign, added = _sign(settings), optax.add_decayed_weights(decay)
    decayed = optax.chain(sign, added)
    trace = optax.trace(momentum, nesterov=nesterov) if momentum else optax.identity()
    rate = optax.scale_by_learning_rate(lr)
    if momentum:
        if dampening:
            damped = optax.scale(1 - dampening)
            yield "sgd-dampening", optax.chain(decayed, damped, trace, rate)
            yield "sgd-dampening", optax.chain(decayed, trace, rate)
            yield "sgd-dampening", optax.chain(decayed, optax.ema(dampening, debias=False), rate)
        else:
            for debias in (False, True):
                average = optax.ema(momentum, debias=debias)
                yield "momentum-average", optax.chain(decayed, average, rate)
            yield "momentum-lr-inside", optax.chain(decayed, rate, trace)
        if nesterov:
            yield "nesterov", optax.chain(decayed, optax.trace(momentum), rate)
        elif not dampening:
            yield "nesterov", optax.chain(decayed, optax.trace(momentum, nesterov=True), rate)
        yield "momentum-missing", optax.chain(decayed, rate)
    if decay:
        yield "decay-after-momentum", optax.chain(sign, trace, added, rate)
        uncoupled = optax.chain(sign, trace, rate, optax.add_decayed_weights(-decay))
        yield "decay-without-lr", uncoupled


def _adam(settings: Header, lr: Any, *, decoupled: bool) -> Iterator[tuple[str, Transformation]]:
    (beta1, beta2), eps = settings["betas"], settings["eps"]
    decay, amsgrad = settings["weight_decay"], settings["amsgrad"]
    sign, rate = _sign(settings), optax.scale_by_learning_rate(lr)
    scale = optax.scale_by_amsgrad if amsgrad else optax.scale_by_adam

    def built(direction: Transformation, *, decoupled: bool = decoupled) -> Transformation:
        added = optax.add_decayed_weights(decay) if decay else optax.identity()
        parts = (direction, added) if decoupled else (added, direction)
        return optax.chain(sign, *parts, rate)

    right = scale(beta1, beta2, eps)
    if amsgrad:
        # optax takes the largest of the corrected moments, torch of the uncorrected.
        yield "amsgrad-maximum", built(right)
        yield "amsgrad-missing", built(optax.scale_by_adam(beta1, beta2, eps))
    yield "adam-epsilon", built(scale(beta1, beta2, 0.0, eps))
    yield "adam-epsilon", built(scale(beta1, beta2, 0.0, eps * eps))
    for other in (1e-7, 1e-6, 1e-5):
        if not math.isclose(other, eps):
            yield "adam-epsilon", built(scale(beta1, beta2, other))
    yield "adam-bias-correction", built(_uncorrected_adam(beta1, beta2, eps))
    yield "adam-bias-correction", built(_epsilon_before_correction(beta1, beta2, eps))
    yield "adam-betas", built(scale(beta2, beta1, eps))
    for other in (0.99, 0.95):
        if not math.isclose(other, beta2):
            yield "adam-betas", built(scale(beta1, other, eps))
    if decay:
        yield (
            "adamw-coupled" if decoupled else "adam-decoupled",
            built(right, decoupled=not decoupled),
        )
        uncoupled = optax.chain(sign, right, rate, optax.add_decayed_weights(-decay))
        yield "decay-without-lr", uncoupled
    if decoupled and not math.isclose(decay, 1e-4):
        default = optax.add_decayed_weights(1e-4)
        yield "adamw-default-decay", optax.chain(sign, right, default, rate)


def _uncorrected_adam(beta1: float, beta2: float, eps: float) -> Transformation:
    def init(params: PyTree) -> tuple[PyTree, PyTree]:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return zeros, zeros

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        mean = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state[0], updates)
        square = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, state[1], updates)
        step = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)
        return step, (mean, square)

    return Transformation(init, update)


def _epsilon_before_correction(beta1: float, beta2: float, eps: float) -> Transformation:
    """The form at the end of section 2 of Kingma and Ba, in which epsilon has another meaning."""
    plain = _uncorrected_adam(beta1, beta2, eps)

    def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
        inner, count = state
        step, inner = plain.update(updates, inner)
        count = count + 1
        factor = jnp.sqrt(1 - beta2**count) / (1 - beta1**count)
        return jax.tree.map(lambda s: s * factor.astype(s.dtype), step), (inner, count)

    return Transformation(lambda params: (plain.init(params), jnp.zeros((), int)), update)


def _rmsprop(settings: Header, lr: Any) -> Iterator[tuple[str, Transformation]]:
    alpha, eps, momentum = settings["alpha"], settings["eps"], settings["momentum"]
    decay, centered = settings["weight_decay"], settings["centered"]
    sign, added = _sign(settings), optax.add_decayed_weights(decay)
    decayed = optax.chain(sign, added)
    trace = optax.trace(momentum) if momentum else optax.identity()
    rate = optax.scale_by_learning_rate(lr)

    def scaled(
        alpha: float = alpha, *, in_sqrt: bool = False, centered: bool = centered
    ) -> Transformation:
        scale = optax.scale_by_stddev if centered else optax.scale_by_rms
        return scale(alpha, eps, eps_in_sqrt=in_sqrt)

    def built(direction: Transformation, *, rate_first: bool = False) -> Transformation:
        order = (rate, trace) if rate_first else (trace, rate)
        return optax.chain(decayed, direction, *order)

    right = scaled()
    for rate_first in (False, True):
        yield "rmsprop-epsilon", built(scaled(in_sqrt=True), rate_first=rate_first)
    if not math.isclose(alpha, 0.9):
        for in_sqrt, rate_first in itertools.product((False, True), repeat=2):
            yield "rmsprop-decay", built(scaled(0.9, in_sqrt=in_sqrt), rate_first=rate_first)
    if momentum:
        yield "momentum-lr-inside", built(right, rate_first=True)
        yield "momentum-missing", optax.chain(decayed, right, rate)
    yield "rmsprop-centered", built(scaled(centered=not centered))
    if decay:
        yield "decay-after-scaling", optax.chain(sign, right, added, trace, rate)
        yield "decay-after-scaling", optax.chain(sign, right, trace, added, rate)


def _adagrad(settings: Header, lr: Any) -> Iterator[tuple[str, Transformation]]:
    initial, eps = float(settings["initial_accumulator_value"]), settings["eps"]
    added = optax.add_decayed_weights(settings["weight_decay"])
    decayed = optax.chain(_sign(settings), added)
    rate = optax.scale_by_learning_rate(lr)

    for other in (initial, 0.1):
        for inner in (eps, 1e-7, eps * eps):
            name = "adagrad-epsilon" if other == initial else "adagrad-accumulator"
            yield name, optax.chain(decayed, optax.scale_by_rss(other, inner), rate)
    if not math.isclose(initial, 0.1):
        changed = {**settings, "initial_accumulator_value": 0.1}
        yield "adagrad-accumulator", optim.from_settings("Adagrad", changed, lr=lr)
    if settings["lr_decay"]:
        changed = {**settings, "lr_decay": 0.0}
        yield "adagrad-lr-decay", optim.from_settings("Adagrad", changed, lr=lr)
