"""Backpropagation and momentum on three classes, by hand and under an optimiser.

The mirror of `reference_torch.workflows.momentum_sgd`. The document's notebook ran some cells more
often than it shows: two backward passes, whose gradients torch added up, and four steps of
momentum. Its loop overwrote its own limits. In JAX gradients are returned and cannot accumulate.
"""

import jax
import numpy as np
import optax
from flax import linen
from jaxtyping import Array, Float, Int

from jaxdnn import models, torch_compat, training
from jaxdnn.data.synthetic import Noise, noise
from jaxdnn.errors import ConfigError
from jaxdnn.losses import cross_entropy, nll
from jaxdnn.models import Params
from jaxdnn.torch_compat import Generator
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import Real, hyperparameters

__all__ = ["MODEL", "Config", "ThreeLayer", "accumulated_gradients", "batches", "class_count"]
__all__ += ["data", "gradient_step", "init", "loss", "loss_in_two_parts", "momentum_step"]
__all__ += ["optimizer", "train_full_batch", "train_mini_batches"]

SAMPLES = 500

Weights = Float[Array, "..."]
Losses = Float[Array, " steps"]
Inputs = Float[Array, "batch 20"]
Labels = Int[Array, " batch"]


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    plain_lr: Real = 10.0
    """Learning rate of the single step without momentum."""

    lr: Real = 0.1
    """Learning rate of the steps with momentum."""

    momentum: Real = 0.9
    """Fraction of the velocity that the next step keeps."""

    steps: int = 17
    """Full-batch steps of the optimiser before the printed weights."""

    epochs: int = 60
    """Passes of the mini-batch loop over the data."""

    batches: int = 10
    """Mini-batches per epoch."""

    as_printed: bool = True
    """Repeat the notebook: twice the gradient, four steps of momentum, 55 full-batch steps."""

    def __post_init__(self) -> None:
        if not self.as_printed and SAMPLES % self.batches:
            raise ConfigError(f"batches must divide the {SAMPLES} samples; got {self.batches!r}.")


class ThreeLayer(linen.Module):
    """20-13-8-3 with relu and sigmoid. It holds no weights: they are an argument of ``apply``."""

    @linen.compact
    def __call__(self, inputs: Inputs) -> Float[Array, "batch 3"]:
        """The score of each class."""
        hidden = jax.nn.relu(linen.Dense(13, use_bias=False, name="linear1")(inputs))
        hidden = jax.nn.sigmoid(linen.Dense(8, use_bias=False, name="linear2")(hidden))
        return linen.Dense(3, name="output")(hidden)


MODEL = models.from_flax(ThreeLayer(), (20,))


def data(generator: Generator) -> Noise:
    """500 samples of 20 features in [0, 100) with random labels, as torch draws them."""
    return noise(generator, SAMPLES, 20, 3)


def class_count(labels: Int[np.ndarray, " samples"]) -> int:
    """The number of outputs that the labels ask for: a shape, so it is computed before tracing."""
    return len(np.unique(labels))


def init(generator: Generator) -> Params:
    """Initial parameters as torch draws them, in the order in which the module makes its layers."""
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    return torch_compat.initial_params(generator, like)


def loss(params: Params, inputs: Inputs, labels: Labels) -> Float[Array, ""]:
    """Mean cross-entropy, as a function of the parameters, which `jax.grad` differentiates."""
    return cross_entropy(MODEL.apply(params, inputs), labels)


def loss_in_two_parts(params: Params, inputs: Inputs, labels: Labels) -> Float[Array, ""]:
    """The same: cross-entropy is the negative log-likelihood of a log-softmax."""
    return nll(jax.nn.log_softmax(MODEL.apply(params, inputs)), labels)


def accumulated_gradients(params: Params, inputs: Inputs, labels: Labels, *, passes: int) -> Params:
    """What torch's ``backward``, called several times, adds up in ``.grad``: a sum, written out.

    `jax.grad` returns a gradient and stores nothing, so nothing has to be reset either.
    """
    grads = [jax.grad(loss)(params, inputs, labels) for _ in range(passes)]
    return jax.tree.map(lambda *of_each_pass: sum(of_each_pass), *grads)


def gradient_step(w: Weights, dw: Weights, *, lr: Real) -> Weights:
    """Gradient descent without momentum: ``w - lr · dw``, a new array."""
    return w - lr * dw


def momentum_step(w: Weights, v: Weights, dw: Weights, config: Config) -> tuple[Weights, Weights]:
    """Momentum by hand: ``v ← γ v - lr · dw``, ``w ← w + v``; new weights and velocity.

    At a constant learning rate this equals the optimiser's form with ``u = -v / lr``.
    """
    v = config.momentum * v - config.lr * dw
    return w + v, v


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum in torch's form: ``u ← γ u + dw``, ``w ← w - lr · u``."""
    return optax.sgd(config.lr, config.momentum)


def train_full_batch(
    state: TrainState, config: Config, data: Noise, *, steps: int
) -> tuple[TrainState, Losses]:
    """Full-batch steps as a scan; the last state, and the loss before each step."""
    return training.train_on_batch(loss, optimizer(config), state, data, steps=steps)


def batches(generator: Generator, config: Config) -> Int[np.ndarray, "steps batch"]:
    """The batch indices of all epochs, over which a scan runs; torch has a loader instead."""
    epochs = [generator.loader_order(SAMPLES, shuffle=True) for _ in range(config.epochs)]
    return np.reshape(epochs, (-1, SAMPLES // config.batches))


def train_mini_batches(
    state: TrainState, batches: Int[Array, "steps batch"], config: Config, data: Noise
) -> tuple[TrainState, Losses]:
    """A step on each batch; the last state, and the loss before each step."""
    return training.train_steps(loss, optimizer(config), state, data, batches)
