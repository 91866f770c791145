"""Linear regression twice: from bare arrays, and as a layer under an optimiser.

The mirror of `reference_torch.workflows.linear_regression`. From scratch the loss is half the
squared error, summed over a batch and divided by the batch's size in the update; the layer's is the
mean squared error without the half. So the layer's gradient is twice as long, and the same learning
rate is another step.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdnn import models, training
from jaxdnn.data.synthetic import Line, line
from jaxdnn.errors import ConfigError
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.torch_compat import Generator
from jaxdnn.training import StepInfo, TrainState
from jaxdnn.workflows.config import Real, check, register

__all__ = [
    "MODEL",
    "Config",
    "History",
    "data_and_params",
    "example_gradients",
    "layer_data_and_params",
    "layer_loss",
    "layer_optimizer",
    "layer_permutations",
    "loss",
    "mean_loss",
    "permutations",
    "squared_loss",
    "step",
    "train",
]

TRUE_W, TRUE_B = (2.0, -3.4), 4.2

Scalar = Float[Array, ""]
Features = Float[Array, "batch 2"]
Labels = Float[Array, "batch 1"]
Permutations = Int[Array | np.ndarray, "epochs samples"]
Weights = dict[str, Float[Array, "..."]]
"""``w`` of shape (2, 1) and ``b`` of shape (1,)."""


@register(numbers=["lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 3
    """Passes over the data."""

    lr: Real = 0.03
    """Learning rate."""

    batch_size: int = 10
    """Samples a step."""

    samples: int = 1000
    """How many are generated."""

    def __post_init__(self) -> None:
        check(self, counts=["epochs", "batch_size", "samples"], nonnegative=["lr"])
        if self.epochs * self.samples > 10**8:
            raise ConfigError(
                f"epochs times samples must be at most 10**8, since every order is drawn before "
                f"the run; got {self.epochs * self.samples:,}."
            )


class History(NamedTuple):
    """What a run reports: means over the batch before each step, over all data after each epoch."""

    losses: Float[Array, "epochs steps"]
    epoch_losses: Float[Array, " epochs"]


# From scratch.


def data_and_params(seed: int, samples: int) -> tuple[Line, dict[str, Float[np.ndarray, "..."]]]:
    """Data and weights as torch draws them after a seed: ``w`` from N(0, 0.01²), ``b`` zero."""
    generator = Generator(seed)
    data = line(generator, samples, w=TRUE_W, b=TRUE_B)
    return data, {"w": generator.normal(2, 1, std=0.01), "b": np.zeros(1, np.float32)}


def permutations(seed: int, epochs: int, samples: int) -> Int[np.ndarray, "epochs samples"]:
    """The samples of each epoch in the order that Python's ``random.shuffle`` gives a new list."""
    generator = random.Random(seed)
    shuffled = [list(range(samples)) for _ in range(epochs)]
    for indices in shuffled:
        generator.shuffle(indices)
    return np.array(shuffled)


def squared_loss(weights: Weights, x: Features, y: Labels) -> Labels:
    """``½(ŷ - y)²`` of each sample, with ``ŷ = x w + b``."""
    return (x @ weights["w"] + weights["b"][None] - y) ** 2 / 2


def loss(weights: Weights, x: Features, y: Labels) -> Scalar:
    """The sum over a batch."""
    return squared_loss(weights, x, y).sum()


def example_gradients(weights: Weights, x: Features, y: Labels) -> Weights:
    """Each sample's own gradient, along a first axis: written for one, and vmapped over all."""

    def gradient(x: Float[Array, " 2"], y: Float[Array, " 1"]) -> Weights:
        return jax.grad(loss)(weights, x[None], y[None])

    return jax.vmap(gradient)(x, y)


def step(weights: Weights, x: Features, y: Labels, *, lr: Real) -> tuple[Weights, StepInfo]:
    """New weights ``w - lr · gradient / batch size``, and the loss and gradients before."""
    value, grads = jax.value_and_grad(loss)(weights, x, y)
    weights = jax.tree.map(lambda w, grad: w - lr * grad / len(x), weights, grads)
    return weights, StepInfo(value, grads)


def mean_loss(weights: Weights, x: Features, y: Labels) -> Scalar:
    """The mean over a batch, whose gradient is the sum's divided by the batch size."""
    return squared_loss(weights, x, y).mean()


def train(
    loss: training.Loss, params: Params, permutations: Permutations, config: Config, data: Line
) -> tuple[Params, History]:
    """Every epoch, under `mean_loss` or `layer_loss`; the last parameters, and the history.

    One function for both: to JAX, a dictionary of weights is as good as a module's parameters. It
    is a scan over epochs, each a scan over batches; a smaller last batch is a step of its own.
    """
    optimizer, batch_size = layer_optimizer(config), config.batch_size
    full = len(data.labels) // batch_size * batch_size

    def epoch(state: TrainState, permutation: Int[Array, " samples"]) -> tuple[TrainState, History]:
        batches = permutation[:full].reshape(-1, batch_size)
        state, losses = training.train_steps(loss, optimizer, state, data, batches)
        if full < len(permutation):
            last = permutation[None, full:]
            state, last_loss = training.train_steps(loss, optimizer, state, data, last)
            losses = jnp.concatenate([losses, last_loss])
        return state, History(losses, loss(state.params, *map(jnp.asarray, data)))

    state = TrainState(params, optimizer.init(params))
    state, history = jax.lax.scan(epoch, state, jnp.asarray(permutations))
    return state.params, history


# As a layer.

MODEL = models.mlp((2, 1))


def layer_data_and_params(seed: int, samples: int) -> tuple[Line, Params, Generator]:
    """Data and layer as torch draws them after a seed, and the generator as it is then."""
    generator = Generator(seed)
    data = line(generator, samples, w=TRUE_W, b=TRUE_B)
    generator.linear(2, 1)  # torch's default initialisation, which the document replaces
    kernel = generator.normal(1, 2, std=0.01).T
    params = {"net.0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(1, kernel.dtype)}}
    return data, params, generator


def layer_permutations(
    generator: Generator, epochs: int, samples: int
) -> Int[np.ndarray, "epochs samples"]:
    """The samples of each epoch in the order of a torch DataLoader that shuffles."""
    return np.stack([generator.loader_order(samples, shuffle=True) for _ in range(epochs)])


def layer_loss(params: Params, x: Features, y: Labels) -> Scalar:
    """The mean squared error of a batch, without the half."""
    return mse(MODEL.apply(params, x), y)


def layer_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.lr)
