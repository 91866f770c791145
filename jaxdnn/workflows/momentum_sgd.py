"""Backpropagation and momentum on three classes, by hand and under an optimiser.

The mirror of `reference_torch.workflows.momentum_sgd`. The document's notebook ran some cells more
often than it shows: two backward passes whose gradients torch added up, four steps of momentum, and
a pair of loops that overwrote their own limits. JAX's gradients are returned, so there is nothing
that could add up unseen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from jaxtyping import Array, Float, Int

from jaxdnn import models, torch_compat, training
from jaxdnn.errors import ConfigError
from jaxdnn.losses import cross_entropy
from jaxdnn.models import Params
from jaxdnn.torch_compat import Generator
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import Real, check, register

__all__ = [
    "MODEL",
    "Config",
    "Data",
    "ThreeLayer",
    "batches",
    "data",
    "gradient_step",
    "init",
    "loss",
    "momentum_step",
    "optimizer",
    "train_full_batch",
    "train_mini_batches",
]

SAMPLES = 500

Weights = Float[Array, "..."]
Losses = Float[Array, " steps"]


@register(numbers=["lr", "momentum", "plain_lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    plain_lr: Real = 10.0
    """Learning rate of the one step without momentum."""

    lr: Real = 0.1
    """Learning rate of the steps with momentum."""

    momentum: Real = 0.9
    """Fraction of the last velocity that the next step keeps."""

    steps: int = 17
    """Full-batch steps of the optimiser before its weights are shown."""

    epochs: int = 60
    """Passes of the mini-batch loop over the data."""

    batches: int = 10
    """Mini-batches an epoch."""

    as_printed: bool = True
    """Repeat what the notebook ran: twice the gradient, four steps of momentum, 55 steps in the
    mini-batch loop, each on all the data."""

    def __post_init__(self) -> None:
        check(self, counts=["steps", "epochs", "batches"])
        check(self, nonnegative=["plain_lr", "lr", "momentum"])
        if not self.as_printed and SAMPLES % self.batches:
            raise ConfigError(
                f"batches must divide the {SAMPLES} samples into equal ones; got {self.batches!r}."
            )


class Data(NamedTuple):
    """500 samples of 20 features, in three classes."""

    inputs: Float[Array, "samples 20"]
    labels: Int[Array, " samples"]


class ThreeLayer(linen.Module):
    """20-13-8-3: relu, sigmoid, none; only the output layer has a bias.

    A flax module describes a network and holds no weights: they are an argument of ``apply``.
    """

    @linen.compact
    def __call__(self, inputs: Float[Array, "batch 20"]) -> Float[Array, "batch 3"]:
        """The score of each class."""
        hidden = jax.nn.relu(linen.Dense(13, use_bias=False, name="linear1")(inputs))
        hidden = jax.nn.sigmoid(linen.Dense(8, use_bias=False, name="linear2")(hidden))
        return linen.Dense(3, name="output")(hidden)


MODEL = models.from_flax(ThreeLayer(), (20,))


def data(generator: Generator) -> Data:
    """Uniform features up to 100 and random labels, as torch's generator draws them."""
    inputs = generator.rand(SAMPLES, 20) * np.float32(100)
    labels = generator.randint(0, 3, (SAMPLES,))
    return Data(jnp.asarray(inputs), jnp.asarray(labels, jnp.int32))


def init(generator: Generator) -> Params:
    """The initial parameters that torch's layers draw, in the order in which they are made."""
    layers = {
        "linear1": generator.linear(20, 13, bias=False),
        "linear2": generator.linear(13, 8, bias=False),
        "output": generator.linear(8, 3),
    }
    tensors = {f"{name}.{leaf}": a for name, layer in layers.items() for leaf, a in layer.items()}
    return torch_compat.from_torch(tensors, like=jax.eval_shape(MODEL.init, jax.random.key(0)))


def loss(
    params: Params, inputs: Float[Array, "batch 20"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy, a function of the parameters: what `jax.grad` differentiates."""
    return cross_entropy(MODEL.apply(params, inputs), labels)


def gradient_step(w: Weights, dw: Weights, *, lr: Real) -> Weights:
    """Plain gradient descent: ``w - lr · dw``, a new array."""
    return w - lr * dw


def momentum_step(w: Weights, v: Weights, dw: Weights, config: Config) -> tuple[Weights, Weights]:
    r"""Momentum by hand: new weights and velocity, with the learning rate inside the velocity.

    .. math:: v \leftarrow \gamma v - \eta\, \partial L / \partial w, \quad w \leftarrow w + v

    While the learning rate is constant this equals the optimiser's form, which keeps
    :math:`u = -v / \eta`.
    """
    v = config.momentum * v - config.lr * dw
    return w + v, v


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum in torch's form: ``u ← γ u + dw``, ``w ← w - lr · u``."""
    return optax.sgd(config.lr, config.momentum)


def train_full_batch(
    state: TrainState, config: Config, data: Data, *, steps: int
) -> tuple[TrainState, Losses]:
    """Steps on all the data, as a scan; the last state, and the loss before each step."""

    def step(state: TrainState, _: None) -> tuple[TrainState, Float[Array, ""]]:
        state, info = training.train_step(loss, optimizer(config), state, data)
        return state, info.loss

    return jax.lax.scan(step, state, length=steps)


def batches(generator: Generator, config: Config) -> Int[np.ndarray, "steps batch"]:
    """The batches of a whole run: where torch has a loader to ask, a scan needs their indices."""
    epochs = [generator.loader_order(SAMPLES, shuffle=True) for _ in range(config.epochs)]
    return np.reshape(epochs, (-1, SAMPLES // config.batches))


def train_mini_batches(
    state: TrainState, batches: Int[Array, "steps batch"], config: Config, data: Data
) -> tuple[TrainState, Losses]:
    """A step on each batch; the last state, and the loss before each step."""
    return training.train_steps(loss, optimizer(config), state, data, batches)
