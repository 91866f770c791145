"""Right ports of optimisers, and optimisers as a user writes them."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import torch
from torch import nn

from jaxdnn import optim
from tests.parity.mutations.case import Case
from tests.parity.mutations.ports import build, dense, regression, two_layers, under


class _Velocity(NamedTuple):
    updates: jax.Array
    velocity: Any


def heavy_ball(lr: Callable[[Any], Any], momentum: float) -> optax.GradientTransformation:
    def init(params: Any) -> _Velocity:
        return _Velocity(jnp.zeros((), int), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Velocity]:
        rate = lr(state.updates)
        velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, state.velocity, updates)
        return velocity, _Velocity(state.updates + 1, velocity)

    return optax.GradientTransformation(init, update)


class _Moments(NamedTuple):
    updates: jax.Array
    m: Any
    v: Any


def own_adam(
    direction: Callable[[Any, Any, Any], Any], lr: float = 0.01
) -> optax.GradientTransformation:
    """Adam from a tutorial: ``direction(m, v, t)``, t from 1."""

    def init(params: Any) -> _Moments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _Moments(jnp.zeros((), int), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Moments]:
        count = state.updates + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.m, updates)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.v, updates)
        step = jax.tree.map(lambda m, v: -lr * direction(m, v, count), m, v)
        return step, _Moments(count, m, v)

    return optax.GradientTransformation(init, update)


class _NadamState(NamedTuple):
    updates: jax.Array
    product: jax.Array
    m: Any
    v: Any


def nadam(lr: float) -> optax.GradientTransformation:
    """What torch computes, whose momentum grows."""

    def init(params: Any) -> _NadamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _NadamState(jnp.zeros((), int), jnp.ones(()), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _NadamState]:
        count = state.updates + 1
        mu, following = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (count, count + 1))
        product = state.product * mu
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.m, updates)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.v, updates)

        def each(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v / (1 - 0.999**count)) + 1e-8
            ahead = following * m / (1 - product * following)
            return -lr * ((1 - mu) / (1 - product) * g + ahead) / root

        return jax.tree.map(each, updates, m, v), _NadamState(count, product, m, v)

    return optax.GradientTransformation(init, update)


def clip_each(limit: float) -> optax.GradientTransformation:
    def clip(grads: Any, params: Any) -> Any:
        def each(g: jax.Array) -> jax.Array:
            return g * jnp.minimum(1, limit / (jnp.sqrt(jnp.sum(g**2)) + 1e-6))

        return jax.tree.map(each, grads)

    return optax.stateless(clip)


def no_biases(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def two_groups(**second: Any) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Weights in the first group, biases in the second with other settings."""

    def build(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        params = list(params)
        weights, biases = [p for p in params if p.dim() > 1], [p for p in params if p.dim() == 1]
        groups = [{"params": weights}, {"params": biases} | second]
        return torch.optim.SGD(groups, lr=0.1, weight_decay=0.1)

    return build


def _frozen() -> nn.Module:
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    next(network.parameters()).requires_grad = False
    return network


def frozen() -> Case:
    """The first weight is not trained."""
    labels = {"0": {"kernel": "leave", "bias": "train"}, "2": {"kernel": "train", "bias": "train"}}
    return build(
        _frozen,
        two_layers(jnp.tanh),
        torch_optimizer=lambda params: torch.optim.SGD(
            [p for p in params if p.requires_grad], lr=0.1
        ),
        optimizer=optax.partition({"train": optax.sgd(0.1), "leave": optax.set_to_zero()}, labels),
    )


class _WithUnused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = nn.Linear(5, 1), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def unused() -> Case:
    """A layer that the network does not use, with weight decay."""
    masked = {"net": "train", "unused": "leave"}
    return build(
        _WithUnused,
        lambda params, x: dense(params["net"], x),
        torch_optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.1),
        optimizer=optax.partition(
            {"train": optim.sgd(0.1, weight_decay=0.1), "leave": optax.set_to_zero()}, masked
        ),
    )


def shrinking(**settings: Any) -> Case:
    """The second batch has a thousandth of the first's inputs, so most squares of gradients fall.

    The gradient of the first layer's weight is a product with the inputs.
    """
    case = regression(**settings)
    x, y = case.batches[1]
    return case.but(batches=[case.batches[0], (x / 1000, y), *case.batches[2:]])


adam, adamw, rmsprop, adagrad = (
    partial(under, name, lr=0.01) for name in ("Adam", "AdamW", "RMSprop", "Adagrad")
)


def clipped(limit: float, **settings: Any) -> Callable[[], Case]:
    """Regression whose gradients are clipped to a norm."""
    settings = {"lr": 0.1} | settings
    return partial(
        regression,
        torch_optimizer=partial(torch.optim.SGD, **settings),
        optimizer=optax.chain(optim.clip_grad_norm(limit), optim.sgd(**settings)),
        before_step=partial(nn.utils.clip_grad_norm_, max_norm=limit),
    )
