"""A deep network on a table: two classes, all rows at once or in mini-batches.

The mirror of `reference_torch.workflows.tabular_dnn`. With ``batch_size`` None a run is 5,000 steps
on all training rows; with a number it is epochs of shuffled mini-batches.
"""

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from jaxdnn import models, torch_compat, training
from jaxdnn.data import synthetic, tabular
from jaxdnn.data.synthetic import Split
from jaxdnn.data.tabular import Standardisation, Table
from jaxdnn.losses import bce, bce_with_logits
from jaxdnn.models import Model, Params
from jaxdnn.torch_compat import Generator
from jaxdnn.training import History, TrainState
from jaxdnn.workflows.config import Real, hyperparameters

__all__ = ["Config", "accuracy", "data_and_params", "fit", "init", "loss", "loss_from_logits"]
__all__ += ["network", "optimizer"]

HIDDEN = (32, 8, 4)


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 5000
    """Passes over the training rows; the document takes 500 with mini-batches."""

    lr: Real = 0.005
    """Learning rate of Adam."""

    batch_size: int | None = None
    """Rows per step, shuffled in every epoch (128 in the document); None for all rows."""

    standardise: bool = False
    """Give every feature mean 0 and standard deviation 1 over the training rows."""


def network(features: int) -> Model:
    """``features``-32-8-4-1, a sigmoid after every layer: a pair of functions, not an object."""
    sizes = (features, *HIDDEN, 1)
    return models.mlp(sizes, activation=jax.nn.sigmoid, final_activation=jax.nn.sigmoid)


def data_and_params(
    seed: int | Generator, table: Table, *, standardise: bool = False
) -> tuple[Split, Params, Standardisation | None]:
    """The split and the initial parameters that torch draws after a seed, in this order.

    Args:
      seed: torch's, or its generator, which is advanced.
      table: all rows.
      standardise: whether features are standardised, by the training rows' statistics.

    Returns:
      The two parts, the parameters, and the statistics if there are any.
    """
    generator = seed if isinstance(seed, Generator) else Generator(seed)
    data = synthetic.split(generator, table.features, table.labels[:, None])
    like = jax.eval_shape(network(table.features.shape[1]).init, jax.random.key(0))
    params = torch_compat.initial_params(generator, like)
    scale = None
    if standardise:
        scale = tabular.standardisation(data.train_features)
        data = data._replace(
            train_features=tabular.standardise(data.train_features, scale),
            test_features=tabular.standardise(data.test_features, scale),
        )
    return data, params, scale


def init(params: Params, config: Config) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer(config).init(params))


def loss(
    params: Params, x: Float[Array, "batch features"], y: Float[Array, "batch 1"]
) -> Float[Array, ""]:
    """Mean binary cross-entropy."""
    return bce(network(x.shape[1]).apply(params, x), y)


def loss_from_logits(
    params: Params, x: Float[Array, "batch features"], y: Float[Array, "batch 1"]
) -> Float[Array, ""]:
    """The same from the outputs before the last sigmoid, which keeps digits where it saturates."""
    logits = models.mlp((x.shape[1], *HIDDEN, 1), activation=jax.nn.sigmoid)
    return bce_with_logits(logits.apply(params, x), y)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Adam with torch's defaults, which are optax's too.

    optax computes ``1 - beta2**t`` in float32, so in that precision its first steps are a few parts
    in a million from torch's.
    """
    return optax.adam(config.lr)


def fit(key: Key[Array, ""], config: Config, data: Split) -> tuple[TrainState, History]:
    """A whole run as one pure function of a key: initial parameters, shuffles, every step.

    Example:
      >>> data, _, _ = data_and_params(0, tabular.generate(0))
      >>> state, history = jax.jit(fit)(jax.random.key(0), Config(epochs=20, batch_size=128), data)
      >>> history.losses.shape
      (20, 5)
    """
    shuffle_key, init_key = jax.random.split(key)
    params = network(data.train_features.shape[1]).init(init_key)
    return training.fit(
        loss,
        optimizer(config),
        init(params, config),
        (data.train_features, data.train_labels),
        shuffle_key,
        epochs=config.epochs,
        batch_size=config.batch_size,
    )


def accuracy(
    probabilities: Float[np.ndarray, "rows 1"], labels: Float[np.ndarray, "rows 1"]
) -> float:
    """The fraction of rows on the right side of 0.5."""
    return float(((probabilities >= 0.5) == labels).mean())
