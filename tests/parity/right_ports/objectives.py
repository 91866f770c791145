"""Losses on both sides, with the last layers and the targets that they take."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn
from torch.nn import functional

from jaxdnn import losses
from tests.parity.right_ports.parts import Layer, of_function

__all__ = ["OF_CLASSES", "VECTORS", "Objective", "of_image", "of_tokens"]

Rng = np.random.Generator
Loss = Callable[..., Any]


class Objective(NamedTuple):
    """A loss on both sides.

    Attributes:
      torch_loss: torch's.
      loss: the port's.
      outputs: how many numbers it takes for an example.
      targets: ``(rng, rows) -> targets``; None for the inputs themselves.
      head: layers in front of it.
      divisor: of the learning rate, for a loss that is a sum.
    """

    torch_loss: Loss
    loss: Loss
    outputs: int
    targets: Callable[[Rng, int], np.ndarray] | None
    head: tuple[Layer, ...] = ()
    divisor: int = 1


def _normal(outputs: int) -> Callable[[Rng, int], np.ndarray]:
    return lambda rng, rows: rng.normal(size=(rows, outputs)).astype(np.float32)


def _binary(outputs: int) -> Callable[[Rng, int], np.ndarray]:
    return lambda rng, rows: rng.integers(0, 2, (rows, outputs)).astype(np.float32)


def _distributions(classes: int) -> Callable[[Rng, int], np.ndarray]:
    return lambda rng, rows: rng.dirichlet(np.ones(classes), rows).astype(np.float32)


def _labels(
    classes: int, *shape: int, ignored: int | None = None
) -> Callable[[Rng, int], np.ndarray]:
    def targets(rng: Rng, rows: int) -> np.ndarray:
        labels = rng.integers(0, classes, (rows, *shape))
        if ignored is not None:
            flat = labels.reshape(-1)
            flat[1:][rng.random(flat.size - 1) < 0.3] = ignored
        return labels

    return targets


def _of_torch(name: str, **settings: Any) -> tuple[Loss, Loss]:
    """A function of torch and this package's; weights have the type of the outputs."""
    names = {"mse": "mse_loss", "l1": "l1_loss", "smooth_l1": "smooth_l1_loss"}
    names |= {"huber": "huber_loss", "nll": "nll_loss", "bce": "binary_cross_entropy"}
    names |= {"bce_with_logits": "binary_cross_entropy_with_logits"}
    arrays = settings.keys() & {"weight", "pos_weight"}

    def loss(function: Loss, array: Loss, output: Any, target: Any) -> Any:
        weights = {key: array(settings[key], dtype=output.dtype) for key in arrays}
        return function(output, target, **settings | weights)

    theirs = getattr(functional, names.get(name, name))
    return partial(loss, theirs, torch.tensor), partial(loss, getattr(losses, name), jnp.asarray)


def _simple(name: str, rng: Rng) -> Objective:
    outputs, settings = int(rng.integers(1, 4)), {}
    if name in ("smooth_l1", "huber"):
        settings = {{"smooth_l1": "beta", "huber": "delta"}[name]: float(rng.uniform(0.2, 2))}
    summed = bool(rng.random() < 0.2)
    pair = _of_torch(name, reduction="sum" if summed else "mean", **settings)
    return Objective(*pair, outputs, _normal(outputs), divisor=8 * outputs if summed else 1)


def _by_hand(rng: Rng) -> Objective:
    """Reduced by hand, each row with a weight of its own."""
    outputs = int(rng.integers(1, 4))

    def torch_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (((output - target[:, 1:]) ** 2).sum(1) * target[:, 0].abs()).sum() / len(output)

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        rows = jnp.sum((output - target[:, 1:]) ** 2, 1)
        return jnp.sum(rows * jnp.abs(target[:, 0])) / len(output)

    return Objective(torch_loss, loss, outputs, _normal(outputs + 1))


def _class_weights(rng: Rng, classes: int) -> list[float]:
    # Numbers that float32 holds: torch keeps a loss's weights in float32.
    return rng.uniform(0.2, 3, classes).astype(np.float32).tolist()


def _cross_entropy(rng: Rng, classes: int = 0) -> Objective:
    classes = classes or int(rng.integers(2, 6))
    settings: dict[str, Any] = {}
    if rng.random() < 0.5:
        settings["weight"] = _class_weights(rng, classes)
    if rng.random() < 0.3:
        settings["label_smoothing"] = 0.1
    ignored = -100 if rng.random() < 0.4 else None
    pair = _of_torch("cross_entropy", **settings)
    return Objective(*pair, classes, _labels(classes, ignored=ignored))


def _cross_entropy_module(rng: Rng) -> Objective:
    """The weights are a buffer of the loss."""
    weights = torch.tensor(_class_weights(rng, 3))
    ours = _of_torch("cross_entropy", weight=weights.tolist())[1]
    return Objective(nn.CrossEntropyLoss(weight=weights), ours, 3, _labels(3))


def _cross_entropy_of_optax(rng: Rng, classes: int = 0) -> Objective:
    classes = classes or int(rng.integers(2, 6))

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(output, target).mean()

    return Objective(functional.cross_entropy, loss, classes, _labels(classes))


def _soft_targets(rng: Rng) -> Objective:
    pair = _of_torch("cross_entropy", label_smoothing=float(rng.choice([0, 0.2])))
    return Objective(*pair, 4, _distributions(4))


def _log_softmax() -> Layer:
    return of_function(lambda x: functional.log_softmax(x, 1), lambda x: jax.nn.log_softmax(x, 1))


def _nll(rng: Rng) -> Objective:
    settings = {"weight": _class_weights(rng, 3)} if rng.random() < 0.5 else {}
    return Objective(*_of_torch("nll", **settings), 3, _labels(3), (_log_softmax(),))


def _kl_div(rng: Rng) -> Objective:
    pair = _of_torch("kl_div", reduction=str(rng.choice(["sum", "batchmean"])))
    return Objective(*pair, 4, _distributions(4), (_log_softmax(),), divisor=8)


def _bce(rng: Rng) -> Objective:
    sigmoid = of_function(torch.sigmoid, jax.nn.sigmoid)
    outputs = int(rng.integers(1, 3))
    return Objective(*_of_torch("bce"), outputs, _binary(outputs), (sigmoid,))


def _bce_with_logits(rng: Rng) -> Objective:
    outputs = int(rng.integers(1, 3))
    if rng.random() < 0.3:

        def loss(output: jax.Array, target: jax.Array) -> jax.Array:
            return optax.sigmoid_binary_cross_entropy(output, target).mean()

        theirs = functional.binary_cross_entropy_with_logits
        return Objective(theirs, loss, outputs, _binary(outputs))
    settings = {"pos_weight": _class_weights(rng, outputs)} if rng.random() < 0.5 else {}
    return Objective(*_of_torch("bce_with_logits", **settings), outputs, _binary(outputs))


VECTORS: dict[str, Callable[[Rng], Objective]] = {
    **{name: partial(_simple, name) for name in ("mse", "l1", "smooth_l1", "huber")},
    "reduced by hand": _by_hand,
    "cross_entropy": _cross_entropy,
    "cross_entropy as a module": _cross_entropy_module,
    "cross_entropy of optax": _cross_entropy_of_optax,
    "soft targets": _soft_targets,
    "nll": _nll,
    "kl_div": _kl_div,
    "bce": _bce,
    "bce_with_logits": _bce_with_logits,
}

OF_CLASSES = (_cross_entropy, _cross_entropy_of_optax)
"""``(rng, classes) -> objective``."""


def of_tokens(rng: Rng, length: int) -> Objective:
    """A class for each position, of which some are padded and count nothing."""
    classes = int(rng.integers(3, 6))
    ignored = -100 if rng.random() < 0.6 else None
    settings = {"weight": _class_weights(rng, classes)} if rng.random() < 0.3 else {}
    pair = _of_torch("cross_entropy", **settings)
    classes_second = of_function(lambda x: x.transpose(1, 2), lambda x: x.swapaxes(1, 2))
    return Objective(*pair, classes, _labels(classes, length, ignored=ignored), (classes_second,))


def of_image(rng: Rng) -> Objective:
    """The image itself is the target."""
    return Objective(*_of_torch(str(rng.choice(["mse", "smooth_l1"]))), 0, None)
