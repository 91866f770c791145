"""LeNet on handwritten digits.

The mirror of `reference_torch.workflows.lenet`. The document defines the network and the optimiser;
here they also train, on MNIST's digits padded to the 32 by 32 pixels that the network is made for.
The loop is that of `jaxdnn.workflows.mnist_dnn`; only the network is another one.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jaxtyping import Array, Float, Key, UInt8

from jaxdnn import models, training
from jaxdnn.data.mnist import MNIST
from jaxdnn.losses import cross_entropy
from jaxdnn.models import Params
from jaxdnn.training import History, TrainState
from jaxdnn.workflows import mnist_dnn
from jaxdnn.workflows.config import Real, hyperparameters
from jaxdnn.workflows.mnist_dnn import normalise

__all__ = ["MODEL", "Config", "LeNet", "convolve", "fit", "init", "loss", "optimizer", "pad"]
__all__ += ["predict"]


@hyperparameters
class Config(mnist_dnn.Config):
    """Hyperparameters: the document's optimiser. It does not say how long to train."""

    epochs: int = 1
    """Passes over the 60,000 training images."""

    momentum: Real = 0.9
    """Fraction of the last step's velocity that the next one keeps."""


class LeNet(linen.Module):
    """Two convolutions with max-pooling, then affine maps 400-120-84-10, relu between.

    torch's convolutions take channels first and flax's take them last. The 400 features are put
    into torch's order, channel by channel, so that torch's weights fit.

    Reference:
      LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition,
      Proceedings of the IEEE, 1998.
    """

    @linen.compact
    def __call__(self, images: Float[Array, "batch 1 32 32"]) -> Float[Array, "batch 10"]:
        """The scores of the ten classes."""
        maps = images.transpose(0, 2, 3, 1)
        maps = jax.nn.relu(linen.Conv(6, (5, 5), padding="VALID", name="conv1")(maps))
        maps = linen.max_pool(maps, (2, 2), strides=(2, 2))
        maps = jax.nn.relu(linen.Conv(16, (5, 5), padding="VALID", name="conv2")(maps))
        maps = linen.max_pool(maps, (2, 2), strides=(2, 2))
        hidden = maps.transpose(0, 3, 1, 2).reshape(len(images), -1)
        hidden = jax.nn.relu(linen.Dense(120, name="fc1")(hidden))
        hidden = jax.nn.relu(linen.Dense(84, name="fc2")(hidden))
        return linen.Dense(10, name="fc3")(hidden)


MODEL = models.from_flax(LeNet(), (1, 32, 32))
"""The module as two pure functions: ``init(key)`` and ``apply(params, images)``."""


def init(key: Key[Array, ""], config: Config) -> TrainState:
    """Initial parameters, drawn as torch draws them, and optimiser state."""
    params = jax.tree.map(lambda leaf: config.initial_scale * leaf, MODEL.init(key))
    return TrainState(params, optimizer(config).init(params))


def pad(images: UInt8[Array, "batch 28 28"], dtype: jnp.dtype) -> Float[Array, "batch 1 32 32"]:
    """Normalised images with two more pixels of background on every side, and one channel."""
    return normalise(jnp.pad(images, ((0, 0), (2, 2), (2, 2))), dtype)[:, None]


def predict(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 10"]:
    """The scores of the ten classes."""
    return MODEL.apply(params, pad(images, params["conv1"]["kernel"].dtype))


def convolve(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 6 28 28"]:
    """The feature maps of the first layer alone, the document's smallest module."""
    kernel, bias = params["conv1"]["kernel"], params["conv1"]["bias"]
    maps = jax.lax.conv_general_dilated(
        pad(images, kernel.dtype),
        kernel,
        (1, 1),
        "VALID",
        dimension_numbers=("NCHW", "HWIO", "NCHW"),
    )
    return maps + bias[None, :, None, None]


def loss(
    params: Params, images: UInt8[Array, "batch 28 28"], labels: UInt8[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy of a batch."""
    return cross_entropy(predict(params, images), labels)


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum and an L2 penalty, as for the MNIST DNN."""
    return mnist_dnn.optimizer(config)


CLASSIFIER = training.Classifier(init, loss, optimizer, predict)


def fit(
    key: Key[Array, ""], config: Config, data: MNIST, *, shuffle_key: Key[Array, ""] | None = None
) -> tuple[TrainState, History]:
    """A whole run as one pure function; see `jaxdnn.workflows.mnist_dnn.fit`."""
    own_shuffle_key, init_key = jax.random.split(key)
    return training.train_classifier(
        CLASSIFIER,
        init(init_key, config),
        config.epochs,
        own_shuffle_key if shuffle_key is None else shuffle_key,
        config,
        data,
    )
