"""Linear regression twice: from bare arrays, and as a layer under an optimiser.

The mirror of `reference_torch.workflows.linear_regression`. From scratch, the loss is half the
squared error, summed over a batch and divided by the batch size in the update. The layer's loss is
the mean squared error, whose gradient, and so the step at the same learning rate, is twice as long.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdnn import models, training
from jaxdnn.data.batches import permutations
from jaxdnn.data.synthetic import Line, line
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.torch_compat import Generator
from jaxdnn.training import StepInfo, TrainState
from jaxdnn.workflows.config import Real, hyperparameters

__all__ = ["MODEL", "Config", "History", "data_and_params", "example_gradients"]
__all__ += ["layer_data_and_params", "layer_loss", "layer_optimizer", "layer_permutations", "loss"]
__all__ += ["mean_loss", "permutations", "pulled_back_gradients", "squared_loss", "step", "train"]

Scalar = Float[Array, ""]
X = Float[Array, "batch 2"]
Y = Float[Array, "batch 1"]
Permutations = Int[Array | np.ndarray, "epochs samples"]
Weights = Mapping[str, Float[Array | np.ndarray, "..."]]
"""``w`` of shape (2, 1) and ``b`` of shape (1,)."""


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 3
    """Passes over the data."""

    lr: Real = 0.03
    """Learning rate."""

    batch_size: int = 10
    """Samples per step."""

    samples: int = 1000
    """Samples to generate."""


class History(NamedTuple):
    """Mean losses: of each batch before its step, and of all samples after each epoch."""

    losses: Float[Array, "epochs steps"]
    epoch_losses: Float[Array, " epochs"]


# From scratch.
def data_and_params(seed: int, samples: int) -> tuple[Line, Weights]:
    """Data and weights as torch draws them after a seed: ``w`` from N(0, 0.01²), ``b`` zero."""
    generator = Generator(seed)
    data = line(generator, samples)
    return data, {"w": generator.normal(2, 1, std=0.01), "b": np.zeros(1, np.float32)}


def squared_loss(weights: Weights, x: X, y: Y) -> Y:
    """``½(ŷ - y)²`` of each sample, with ``ŷ = x w + b``."""
    return (x @ weights["w"] + weights["b"][None] - y) ** 2 / 2


def loss(weights: Weights, x: X, y: Y) -> Scalar:
    """The sum over a batch."""
    return squared_loss(weights, x, y).sum()


def example_gradients(weights: Weights, x: X, y: Y) -> Weights:
    """The gradient of each sample's loss, along a first axis: of one sample, vmapped over all."""
    return jax.vmap(lambda x, y: jax.grad(loss)(weights, x[None], y[None]))(x, y)


def pulled_back_gradients(weights: Weights, x: X, y: Y) -> Weights:
    """The gradient of `loss` without the sum: torch's ``losses.backward(torch.ones_like(losses))``.

    A vector of losses has no gradient, but a product of its Jacobian with a vector of ones.
    """
    losses, pull_back = jax.vjp(lambda weights: squared_loss(weights, x, y), weights)
    return pull_back(jnp.ones_like(losses))[0]


def step(weights: Weights, x: X, y: Y, *, lr: Real) -> tuple[Weights, StepInfo]:
    """New weights ``w - lr · gradient / batch size``; the loss and gradients before the update."""
    value, grads = jax.value_and_grad(loss)(weights, x, y)
    weights = jax.tree.map(lambda w, grad: w - lr * grad / len(x), weights, grads)
    return weights, StepInfo(value, grads)


def mean_loss(weights: Weights, x: X, y: Y) -> Scalar:
    """The mean over a batch; a step of SGD on it equals `step`."""
    return squared_loss(weights, x, y).mean()


def train(
    loss: training.Loss, params: Params, permutations: Permutations, config: Config, data: Line
) -> tuple[Params, History]:
    """Train from scratch with `mean_loss`, or the layer with `layer_loss`; params and history.

    In JAX one function serves both, because a layer's parameters are also a dictionary of arrays.
    """
    optimizer = layer_optimizer(config)

    def epoch(state: TrainState, permutation: Int[Array, " samples"]) -> tuple[TrainState, History]:
        state, losses = training.train_batches(
            loss, optimizer, state, data, permutation, batch_size=config.batch_size
        )
        return state, History(losses, loss(state.params, *map(jnp.asarray, data)))

    state = TrainState(params, optimizer.init(params))
    state, history = jax.lax.scan(epoch, state, jnp.asarray(permutations))
    return state.params, history


# As a layer.
MODEL = models.mlp((2, 1))


def layer_data_and_params(seed: int, samples: int) -> tuple[Line, Params, Generator]:
    """Data and initial parameters as torch draws them after a seed, and the advanced generator."""
    generator = Generator(seed)
    data = line(generator, samples)
    generator.linear(2, 1)  # torch's default initialisation, which the document replaces
    kernel = generator.normal(1, 2, std=0.01).T
    params = {"net.0": {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(1, kernel.dtype)}}
    return data, params, generator


def layer_permutations(generator: Generator, epochs: int, samples: int) -> np.ndarray:
    """The permutation of each epoch, as a shuffling torch DataLoader draws it."""
    return np.stack([generator.loader_order(samples, shuffle=True) for _ in range(epochs)])


def layer_loss(params: Params, x: X, y: Y) -> Scalar:
    """The mean squared error of a batch, without the half."""
    return mse(MODEL.apply(params, x), y)


def layer_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.lr)
