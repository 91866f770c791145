"""LeNet on handwritten digits.

The mirror of `reference_torch.workflows.lenet`. The document defines the network and the optimiser;
here they also train, on MNIST's digits padded to the 32 by 32 pixels that the network is made for.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key, UInt8

from jaxdnn import models, training
from jaxdnn.data.mnist import MNIST
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
from jaxdnn.workflows.mnist_dnn import normalise

__all__ = [
    "CONVOLUTION",
    "MODEL",
    "SEED",
    "Config",
    "Inputs",
    "convolve",
    "fit",
    "init",
    "loss",
    "optimizer",
    "pad",
    "predict",
    "run",
    "train",
]

SEED = 0

MODEL = models.lenet()

CONVOLUTION = models.conv2d(1, 6, 5)
"""The document's smallest module: the first layer alone."""


@register(numbers=["lr", "momentum", "weight_decay", "initial_scale"])
@dataclass(frozen=True)
class Config:
    """The document's optimiser; how long to train is not in it."""

    epochs: int = 1
    """Passes over the 60,000 training images."""

    lr: Real = 0.01
    """Learning rate of SGD."""

    momentum: Real = 0.9
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


def pad(images: UInt8[Array, "batch 28 28"], dtype: jnp.dtype) -> Float[Array, "batch 1 32 32"]:
    """Bytes to normalised images with two more pixels of paper on every side, and one channel."""
    padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2)))
    return normalise(padded, dtype)[:, None]


def predict(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 10"]:
    """The ten scores of each image, before the softmax."""
    return MODEL.apply(params, pad(images, params["conv1"]["kernel"].dtype))


def convolve(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 6 28 28"]:
    """The maps of the first layer alone."""
    return CONVOLUTION.apply(params, pad(images, params["conv1"]["kernel"].dtype))


def loss(
    params: Params, images: UInt8[Array, "batch 28 28"], labels: UInt8[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy of a batch."""
    return cross_entropy(predict(params, images), labels)


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum and an L2 penalty, in torch's form."""
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
      61706
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
      data: MNIST as bytes, padded and normalised batch by batch.
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
    """What ``jaxdnn run lenet`` does: `fit` in pieces, with reports and times.

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
        workflow="lenet",
        init=init,
        loss=loss,
        optimizer=optimizer,
        predict=predict,
        data_source=data_source,
        progress=progress,
        mesh=mesh,
        resume=resume,
    )
    figures = {"lenet.test_accuracy": {"value": measured.test_accuracy}}
    curves = {"mini-batches": losses}
    return Result("lenet", seed, config, figures, curves=curves, training=measured, network=network)
