"""Handwritten digits with a deep network: the MNIST DNN.

The mirror of `reference_torch.workflows.mnist_dnn`: read the two side by side. In torch the model,
the optimiser and the random generator hold state that each call changes. Here every function takes
the state it needs and returns the state it made, so a whole run, shuffling and evaluation included,
is one function of a key: `fit`. Jitted it is one program, and vmapped it trains many networks.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, UInt8

from jaxdnn import models, training
from jaxdnn.data.mnist import MEAN, MNIST, STD
from jaxdnn.losses import cross_entropy
from jaxdnn.models import Params
from jaxdnn.training import History, TrainState
from jaxdnn.workflows.config import Real, hyperparameters, require_positive

__all__ = ["Config", "fit", "init", "loss", "normalise", "optimizer", "predict"]

SIZES = (784, 512, 256, 128, 64, 10)

LAYERS = ("net.1", "net.3", "net.5", "net.7", "net.9")
"""The names that torch's ``nn.Sequential`` gives: it numbers the activations between them too."""


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 5
    """Passes over the 60,000 training images."""

    lr: Real = 0.01
    """Learning rate of SGD."""

    momentum: Real = 0.5
    """Fraction of the last step's velocity that the next one keeps."""

    weight_decay: Real = 0.0
    """L2 penalty: this fraction of each parameter is added to its gradient."""

    initial_scale: Real = 1.0
    """Factor on the initial parameters, which otherwise are drawn as torch draws them."""

    batch_size: int = 64
    """Images per step; the last batch of an epoch may be smaller."""

    def __post_init__(self) -> None:
        require_positive("initial_scale", self.initial_scale)


def init(key: Key[Array, ""], config: Config) -> TrainState:
    """Initial parameters and optimiser state. Where torch seeds a generator, JAX takes a key."""
    shapes = {
        name: {"kernel": (fan_in, fan_out), "bias": (fan_out,)}
        for name, fan_in, fan_out in zip(LAYERS, SIZES[:-1], SIZES[1:], strict=True)
    }
    params = models.torch_default_init(key, shapes)
    params = jax.tree.map(lambda leaf: config.initial_scale * leaf, params)
    return TrainState(params, optimizer(config).init(params))


def normalise(images: UInt8[Array, "*shape"], dtype: jnp.dtype) -> Float[Array, "*shape"]:
    """``(images / 255 - 0.1307) / 0.3081``: mean 0, standard deviation 1 over the training set."""
    return (images.astype(dtype) / 255 - MEAN) / STD


def predict(params: Params, images: UInt8[Array, "batch 28 28"]) -> Float[Array, "batch 10"]:
    """The scores of the ten classes. A torch module owns its parameters; here they are passed."""
    *hidden_layers, last = (params[name] for name in LAYERS)
    hidden = normalise(images, last["kernel"].dtype).reshape(len(images), -1)
    for layer in hidden_layers:
        hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"][None])
    return hidden @ last["kernel"] + last["bias"][None]


def loss(
    params: Params, images: UInt8[Array, "batch 28 28"], labels: UInt8[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy of a batch: the function that is differentiated."""
    return cross_entropy(predict(params, images), labels)


def optimizer(config: Config) -> optax.GradientTransformation:
    """``torch.optim.SGD``: ``v = momentum v + grad + weight_decay w``, then ``w = w - lr v``."""
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(config.lr, config.momentum),
    )


CLASSIFIER = training.Classifier(init, loss, optimizer, predict)


def fit(
    key: Key[Array, ""], config: Config, data: MNIST, *, shuffle_key: Key[Array, ""] | None = None
) -> tuple[TrainState, History]:
    """A whole run as one pure function: initial parameters, every epoch, every evaluation.

    Args:
      key: decides everything that is random.
      config: hyperparameters.
      data: MNIST as bytes, normalised batch by batch.
      shuffle_key: decides the shuffles instead of ``key``, for networks that share their batches.

    Returns:
      The state after the last epoch, and the losses and test accuracies.

    Example:
      >>> images, labels = jnp.zeros((650, 28, 28), jnp.uint8), jnp.zeros(650, jnp.uint8)
      >>> blank = MNIST(images, labels, images, labels)
      >>> state, history = jax.jit(fit)(jax.random.key(0), Config(epochs=2), blank)
      >>> history.losses.shape, history.test_accuracy.tolist()
      ((2, 11), [1.0, 1.0])
    """
    own_shuffle_key, init_key = jax.random.split(key)
    return training.train_classifier(
        CLASSIFIER,
        init(init_key, config),
        config.epochs,
        own_shuffle_key if shuffle_key is None else shuffle_key,
        config,
        data,
    )
