"""Handwritten digits with a deep network: the MNIST DNN.

The mirror of `reference_torch.workflows.mnist_dnn`: read the two side by side. There the model, the
optimiser and the generator hold state that each call changes; here every function takes the state
it needs and returns the state it made, so the whole run, shuffling and evaluation included, is one
function of a key, and `jax.jit` makes it one program.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, UInt8

from jaxdnn import models, training
from jaxdnn.data.mnist import MEAN, MNIST, STD
from jaxdnn.losses import cross_entropy
from jaxdnn.models import Params
from jaxdnn.runs import digits
from jaxdnn.runs.digits import Inputs
from jaxdnn.runs.execution import Progress
from jaxdnn.runs.result import Result
from jaxdnn.training import History, TrainState
from jaxdnn.workflows.config import (
    Real,
    register,
    require_count,
    require_nonnegative,
    require_positive,
)

__all__ = [
    "MODEL",
    "SEED",
    "Config",
    "Inputs",
    "fit",
    "init",
    "loss",
    "normalise",
    "optimizer",
    "predict",
    "run",
    "train",
]


@register(numbers=["lr", "momentum", "weight_decay", "initial_scale"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 5
    """Passes over the 60,000 training images."""

    lr: Real = 0.01
    """Learning rate of SGD."""

    momentum: Real = 0.5
    """Share of the last step's velocity that the next one keeps."""

    weight_decay: Real = 0.0
    """L2 penalty: the share of each parameter that is added to its gradient."""

    initial_scale: Real = 1.0
    """Factor of the fresh parameters, which otherwise start as torch's do."""

    batch_size: int = 64
    """Images a step; the last step of an epoch takes what is left."""

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)
        require_nonnegative("lr", self.lr)
        require_nonnegative("momentum", self.momentum)
        require_nonnegative("weight_decay", self.weight_decay)
        require_positive("initial_scale", self.initial_scale)
        require_count("batch_size", self.batch_size)


SEED = 0

MODEL = models.mlp((784, 512, 256, 128, 64, 10), flatten=True)


def normalise(images: UInt8[Array, "*shape"], dtype: jnp.dtype) -> Float[Array, "*shape"]:
    """Bytes to about mean 0 and standard deviation 1 over the training set.

    Args:
      images: unsigned bytes, of any shape.
      dtype: a float type, that of the network.

    Returns:
      ``(images / 255 - 0.1307) / 0.3081``, of the same shape.
    """
    return (images.astype(dtype) / 255 - MEAN) / STD


def predict(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 10"]:
    """The ten scores of each image, before the softmax."""
    return MODEL.apply(params, normalise(images, params["net.1"]["kernel"].dtype))


def loss(
    params: Params, images: UInt8[Array, "batch 28 28"], labels: UInt8[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy of a batch."""
    return cross_entropy(predict(params, images), labels)


def optimizer(config: Config) -> optax.GradientTransformation:
    r"""SGD with momentum and an L2 penalty.

    .. math:: v_{t+1} = \mu v_t + g_t + \lambda \theta_t, \quad
              \theta_{t+1} = \theta_t - \eta v_{t+1}, \quad v_0 = 0

    Reference:
      `torch.optim.SGD
      <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>`_, whose form of
      momentum `optax.sgd
      <https://optax.readthedocs.io/en/latest/api/optimizers.html#optax.sgd>`_ shares.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(config.lr, config.momentum),
    )


def init(key: Key[Array, ""], config: Config) -> TrainState:
    """The state before the first step.

    Args:
      key: decides the parameters.
      config: of the start and the optimiser.

    Returns:
      Fresh parameters, and an optimiser that has seen nothing.

    Example:
      >>> state = jax.jit(init)(jax.random.key(0), Config())
      >>> sum(leaf.size for leaf in jax.tree.leaves(state.params))
      575050
    """
    params = jax.tree.map(lambda leaf: config.initial_scale * leaf, MODEL.init(key))
    return TrainState(params, optimizer(config).init(params))


def train(
    state: TrainState,
    key: Key[Array, ""],
    config: Config,
    data: MNIST,
    *,
    progress: Progress | None = None,
) -> tuple[TrainState, History]:
    """Train from a given state; each epoch shuffles anew, then is evaluated on the test set.

    Args:
      state: from `init`; donate it to `jax.jit`.
      key: decides the shuffles.
      config: how long, and how fast.
      data: MNIST as bytes, normalised batch by batch.
      progress: told how the run goes while it goes on.

    Returns:
      The state after the last epoch, and the history.
    """
    return training.train_classifier(
        loss,
        optimizer(config),
        predict,
        state,
        (data.train_images, data.train_labels),
        (data.test_images, data.test_labels),
        key,
        epochs=config.epochs,
        batch_size=config.batch_size,
        progress=progress,
    )


def fit(
    key: Key[Array, ""],
    config: Config,
    data: MNIST,
    *,
    shuffle_key: Key[Array, ""] | None = None,
    progress: Progress | None = None,
) -> tuple[TrainState, History]:
    """A whole run as one pure function: start, every epoch, every evaluation.

    Args:
      key: decides everything that is random.
      config: how long, and how fast.
      data: MNIST as bytes, as `jaxdnn.data.mnist.load` returns it.
      shuffle_key: decides the shuffles in the place of ``key``, for several networks that are to
        see the same batches.
      progress: told how the run goes while it goes on.

    Returns:
      The state after the last epoch, and the history.

    Example:
      >>> images, labels = jnp.zeros((650, 28, 28), jnp.uint8), jnp.zeros(650, jnp.uint8)
      >>> blank = MNIST(images, labels, images, labels)
      >>> state, history = jax.jit(fit)(jax.random.key(0), Config(epochs=2), blank)
      >>> history.losses.shape, history.test_accuracy.tolist()
      ((2, 11), [1.0, 1.0])
    """
    own_shuffle_key, init_key = jax.random.split(key)
    order_key = own_shuffle_key if shuffle_key is None else shuffle_key
    return train(init(init_key, config), order_key, config, data, progress=progress)


def run(
    seed: int,
    config: Config,
    data: MNIST,
    *,
    data_source: str,
    progress: Progress | None = None,
    mesh: Mesh | None = None,
    resume: Path | None = None,
) -> Result:
    """What ``jaxdnn run mnist-dnn`` does: `fit` in pieces, with reports and times.

    Args:
      seed: of the key that decides everything that is random.
      config: how long, and how fast.
      data: from `jaxdnn.data.mnist.load`.
      data_source: likewise; it goes into the result.
      progress: told how the run goes while it goes on.
      mesh: devices that share out every batch; None for the default device.
      resume: file in which the run is saved after every epoch, and from which it goes on.

    Returns:
      Parameters, losses, accuracies and times.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
      CheckpointError: ``resume`` is of another run.
    """
    measured, network, losses = digits.run(
        seed,
        config,
        data,
        workflow="mnist-dnn",
        init=init,
        loss=loss,
        optimizer=optimizer,
        predict=predict,
        data_source=data_source,
        progress=progress,
        mesh=mesh,
        resume=resume,
    )
    figures = {"mnist_dnn.test_accuracy": {"value": measured.test_accuracy}}
    curves = {"mini-batches": losses}
    return Result(
        "mnist-dnn", seed, config, figures, curves=curves, training=measured, network=network
    )
