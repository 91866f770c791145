"""Linear regression twice: from bare arrays, and as a layer under an optimiser.

The mirror of `reference_torch.workflows.linear_regression`. From scratch the loss is half the
squared error, summed over a batch and divided by the batch's size in the update; the layer's is the
mean squared error without the half, so its gradient is twice as long and the same learning rate is
another step.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from jaxdnn import models, torch_compat, training
from jaxdnn.data.batches import shuffle
from jaxdnn.data.synthetic import Line, line
from jaxdnn.errors import ConfigError
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.runs.execution import compile_and_run
from jaxdnn.runs.result import Network, Result, Scatter, Training
from jaxdnn.training import StepInfo, TrainState
from jaxdnn.workflows.config import (
    Real,
    register,
    require_count,
    require_nonnegative,
    require_seed,
)

__all__ = [
    "MODEL",
    "SEED",
    "Config",
    "History",
    "data_and_start",
    "example_gradients",
    "fit",
    "layer_loss",
    "layer_optimizer",
    "layer_orders",
    "layer_start",
    "layer_train",
    "loss",
    "orders",
    "predict",
    "run",
    "squared_loss",
    "step",
    "train",
]

SEED = 1

TRUE_W, TRUE_B = (2.0, -3.4), 4.2

MODEL = models.mlp((2, 1))

Scalar = Float[Array, ""]
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
        for name in ("epochs", "batch_size", "samples"):
            require_count(name, getattr(self, name))
        require_nonnegative("lr", self.lr)
        if self.epochs * self.samples > 10**8:
            raise ConfigError(
                f"epochs times samples must be at most 10**8, since every order is drawn before "
                f"the run; got {self.epochs * self.samples:,}."
            )


class History(NamedTuple):
    """What a run reports.

    Attributes:
      losses: of every step, before its update, a mean over the batch.
      epoch_losses: after every epoch, a mean over all data.
    """

    losses: Float[Array, "epochs steps"]
    epoch_losses: Float[Array, " epochs"]


# From scratch.


def data_and_start(seed: int, samples: int) -> tuple[Line, dict[str, Float[np.ndarray, "..."]]]:
    """Data and weights as torch draws them after a seed: ``w`` from N(0, 0.01²), ``b`` zero."""
    generator = torch_compat.Generator(seed)
    data = line(generator, samples, w=TRUE_W, b=TRUE_B)
    return data, {"w": generator.normal(2, 1, std=0.01), "b": np.zeros(1, np.float32)}


def orders(seed: int, epochs: int, samples: int) -> Int[np.ndarray, "epochs samples"]:
    """The samples' order in each epoch: the list that Python's ``random`` shuffles again."""
    generator = random.Random(seed)
    shuffled = []
    for _ in range(epochs):
        indices = list(range(samples))
        generator.shuffle(indices)
        shuffled.append(indices)
    return np.array(shuffled)


def predict(weights: Weights, x: Float[Array, "batch 2"]) -> Float[Array, "batch 1"]:
    """``x w + b``."""
    return x @ weights["w"] + weights["b"][None]


def squared_loss(
    weights: Weights, x: Float[Array, "batch 2"], y: Float[Array, "batch 1"]
) -> Float[Array, "batch 1"]:
    """``½(ŷ - y)²`` of each sample."""
    return (predict(weights, x) - y) ** 2 / 2


def loss(weights: Weights, x: Float[Array, "batch 2"], y: Float[Array, "batch 1"]) -> Scalar:
    """The sum over a batch."""
    return squared_loss(weights, x, y).sum()


def example_gradients(
    weights: Weights, x: Float[Array, "batch 2"], y: Float[Array, "batch 1"]
) -> Weights:
    """The gradient of each sample's own loss, along a first axis; `loss` has their sum.

    One sample's gradient, written for one sample, and `jax.vmap` for the batch.
    """

    def gradient(x: Float[Array, " 2"], y: Float[Array, " 1"]) -> Weights:
        return jax.grad(loss)(weights, x[None], y[None])

    return jax.vmap(gradient)(x, y)


def step(
    weights: Weights, x: Float[Array, "batch 2"], y: Float[Array, "batch 1"], *, lr: Real
) -> tuple[Weights, StepInfo]:
    r"""One step of stochastic gradient descent on the sum of a batch's losses.

    .. math:: w \leftarrow w - \frac{\eta}{|B|} \frac{\partial}{\partial w}
              \sum_{i \in B} \tfrac{1}{2} (\hat y_i - y_i)^2

    Args:
      weights: ``w`` and ``b``.
      x: the batch's features.
      y: its labels.
      lr: the learning rate :math:`\eta`.

    Returns:
      The weights after the step, and the summed loss and its gradients before it.
    """
    value, grads = jax.value_and_grad(loss)(weights, x, y)
    weights = jax.tree.map(lambda w, grad: w - lr * grad / len(x), weights, grads)
    return weights, StepInfo(value, grads)


def train(
    weights: Weights, orders: Int[Array, "epochs samples"], config: Config, data: Line
) -> tuple[Weights, History]:
    """Every epoch in its order, in batches of which the last may be smaller.

    Args:
      weights: the start.
      orders: for each epoch, the samples' indices in the order of use.
      config: how fast, and in which batches.
      data: features and labels.

    Returns:
      The weights at the end, and the history.
    """
    size = config.batch_size
    full = orders.shape[1] // size * size
    x, y = jnp.asarray(data.features), jnp.asarray(data.labels)

    def batch(weights: Weights, indices: Int[Array, " batch"]) -> tuple[Weights, Scalar]:
        weights, info = step(weights, x[indices], y[indices], lr=config.lr)
        return weights, info.loss / len(indices)

    def epoch(weights: Weights, order: Int[Array, " samples"]) -> tuple[Weights, History]:
        weights, losses = jax.lax.scan(batch, weights, order[:full].reshape(-1, size))
        if full < len(order):
            weights, last = batch(weights, order[full:])
            losses = jnp.append(losses, last)
        return weights, History(losses, squared_loss(weights, x, y).mean())

    return jax.lax.scan(epoch, weights, orders)


def fit(key: Key[Array, ""], config: Config, data: Line) -> tuple[Weights, History]:
    """A whole run as one pure function of a key: start, shuffles, every step.

    Args:
      key: decides everything that is random.
      config: how long, how fast, and in which batches.
      data: features and labels.

    Returns:
      The weights at the end, and the history.

    Example:
      >>> data, _ = data_and_start(0, 1000)
      >>> weights, history = jax.jit(fit)(jax.random.key(0), Config(), data)
      >>> bool(jnp.abs(weights["w"].ravel() - jnp.array(TRUE_W)).max() < 1e-3)
      True
    """
    init_key, shuffle_key = jax.random.split(key)
    weights = {"w": 0.01 * jax.random.normal(init_key, (2, 1)), "b": jnp.zeros(1)}
    keys = jax.random.split(shuffle_key, config.epochs)
    return train(weights, jax.vmap(lambda key: shuffle(key, len(data.labels)))(keys), config, data)


# As a layer.


def layer_start(seed: int, samples: int) -> tuple[Line, Params, torch_compat.Generator]:
    """Data and layer as torch makes them after a seed, and the generator as it is then."""
    generator = torch_compat.Generator(seed)
    data = line(generator, samples, w=TRUE_W, b=TRUE_B)
    generator.linear(2, 1)  # the default start, which is replaced
    tensors = {
        "net.0.weight": generator.normal(1, 2, std=0.01),
        "net.0.bias": np.zeros(1, np.float32),
    }
    params = torch_compat.from_torch(tensors, like=jax.eval_shape(MODEL.init, jax.random.key(0)))
    return data, params, generator


def layer_orders(
    generator: torch_compat.Generator, epochs: int, samples: int
) -> Int[np.ndarray, "epochs samples"]:
    """The samples' order in each epoch of a torch DataLoader that shuffles."""
    return np.stack([generator.loader_order(samples, shuffle=True) for _ in range(epochs)])


def layer_loss(params: Params, x: Float[Array, "batch 2"], y: Float[Array, "batch 1"]) -> Scalar:
    """The mean squared error of a batch, without the half."""
    return mse(MODEL.apply(params, x), y)


def layer_optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.lr)


def layer_train(
    params: Params, orders: Int[Array, "epochs samples"], config: Config, data: Line
) -> tuple[Params, History]:
    """The same epochs for the layer under its optimiser; the parameters at the end, the history."""
    optimizer = layer_optimizer(config)

    def epoch(state: TrainState, order: Int[Array, " samples"]) -> tuple[TrainState, History]:
        state, losses = training.train_epoch(
            layer_loss, optimizer, state, data, order, batch_size=config.batch_size
        )
        return state, History(losses, layer_loss(state.params, *map(jnp.asarray, data)))

    state, history = jax.lax.scan(epoch, TrainState(params, optimizer.init(params)), orders)
    return state.params, history


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run linear-regression`` does: both halves of the document.

    Args:
      seed: of torch's generator and of Python's.
      config: how long, how fast, and in which batches.

    Returns:
      The losses and the errors of both, the scatter of the data, and the layer as network.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    require_seed(seed)
    data, weights = data_and_start(seed, config.samples)
    order = jnp.asarray(orders(seed, config.epochs, config.samples))
    (trained, history), scratch_time = compile_and_run(
        train, weights, order, config, jax.device_put(data)
    )

    layer_data, params, generator = layer_start(seed, config.samples)
    layer_order = jnp.asarray(layer_orders(generator, config.epochs, config.samples))
    (layer, layer_history), layer_time = compile_and_run(
        layer_train, params, layer_order, config, jax.device_put(layer_data)
    )

    start = jax.tree.map(jnp.asarray, weights)
    same = {"net.0": {"kernel": start["w"], "bias": start["b"]}}
    batch = jax.tree.map(lambda array: jnp.asarray(array[: config.batch_size]), data)
    _, info = step(start, *batch, lr=config.lr)
    ratio = jax.grad(layer_loss)(same, *batch)["net.0"]["kernel"] / (
        info.grads["w"] / len(batch.labels)
    )
    of_each = example_gradients(start, *batch)["w"]
    figures = {
        "linear_regression.from_scratch": {
            "epoch_losses": history.epoch_losses,
            "error_of_w": jnp.array(TRUE_W) - trained["w"].ravel(),
            "error_of_b": TRUE_B - trained["b"],
        },
        "linear_regression.layer": {
            "epoch_losses": layer_history.epoch_losses,
            "error_of_w": jnp.array(TRUE_W) - layer["net.0"]["kernel"].ravel(),
            "error_of_b": TRUE_B - layer["net.0"]["bias"],
        },
        "linear_regression.gradient": {
            "of_first_batch": info.grads["w"].ravel(),
            "of_its_first_sample": of_each[0].ravel(),
            "sum_over_samples": of_each.sum(0).ravel(),
            "layer_over_scratch": ratio.ravel(),
        },
    }
    remarks = (
        "½(ŷ - y)² in one half, MSELoss in the other: at the same weights and batch the layer's "
        f"gradient is {ratio.mean():.4f} times the one from scratch, so the same learning rate is "
        "another step",
    )
    return Result(
        "linear-regression",
        seed,
        config,
        figures,
        remarks,
        curves={"from scratch, ½(ŷ - y)²": history.losses, "layer, (ŷ - y)²": layer_history.losses},
        training=Training(
            data_source="a plane with noise, generated",
            samples=2 * config.epochs * config.samples,
            compile_seconds=scratch_time.compile_seconds + layer_time.compile_seconds,
            train_seconds=scratch_time.run_seconds + layer_time.run_seconds,
        ),
        network=Network(layer, {"outputs": "number", "feature_names": ["feature_1", "feature_2"]}),
        scatter=Scatter(data.features[:, 1], data.labels[:, 0], "feature 2", "label"),
    )
