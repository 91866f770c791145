"""Three classes by the sum of three numbers.

The mirror of `reference_torch.workflows.sum_classifier`. The document's formula for the accuracy
writes a 1 into every column that is the largest of any row, for all rows at once; what is meant is
to compare each row's largest with its class. Both are here.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key
from safetensors import numpy as safetensors

from jaxdnn import models, torch_compat, training
from jaxdnn.data import synthetic
from jaxdnn.data.synthetic import Split
from jaxdnn.errors import ConfigError
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.training import History, TrainState
from jaxdnn.workflows.config import Real, hyperparameters, require_count

__all__ = [
    "MODEL",
    "Config",
    "accuracy",
    "accuracy_as_printed",
    "data_and_params",
    "fit",
    "from_bytes",
    "init",
    "loss",
    "optimizer",
    "to_bytes",
]

SIZES = (3, 5, 5, 5, 3)

MODEL = models.mlp(SIZES)


@hyperparameters
class Config:
    """Hyperparameters; the defaults are the document's."""

    epochs: int = 1000
    """Steps, each on all training samples."""

    lr: Real = 0.01
    """Learning rate of SGD."""

    samples: int = 10_000
    """Samples that are generated; 70% are for training."""

    as_printed: bool = True
    """Report the accuracy by the document's formula; otherwise the fraction of right classes."""

    def __post_init__(self) -> None:
        require_count("samples", self.samples, at_least=2)
        if self.samples > 10**7:
            raise ConfigError(f"samples must be at most 10**7; got {self.samples!r}.")


def data_and_params(seed: int, samples: int) -> tuple[Split, Params]:
    """Samples, their split and the initial parameters that torch draws after a seed."""
    generator = torch_compat.Generator(seed)
    data = synthetic.split(generator, *synthetic.sums(generator, samples))
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    return data, torch_compat.initial_params(generator, like)


def init(params: Params, config: Config) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer(config).init(params))


def loss(
    params: Params, x: Float[Array, "batch 3"], one_hot: Float[Array, "batch 3"]
) -> Float[Array, ""]:
    """The mean squared error against the one-hot classes."""
    return mse(MODEL.apply(params, x), one_hot)


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.lr)


def fit(key: Key[Array, ""], config: Config, data: Split) -> tuple[TrainState, History]:
    """A whole run, every step on all training samples, as one pure function of a key.

    Example:
      >>> data, _ = data_and_params(0, 100)
      >>> state, history = jax.jit(fit)(jax.random.key(0), Config(epochs=50), data)
      >>> bool(history.losses[-1, 0] < history.losses[0, 0])
      True
    """
    return training.fit(
        loss,
        optimizer(config),
        init(MODEL.init(key), config),
        (data.train_features, data.train_labels),
        key,  # not used: nothing is shuffled
        epochs=config.epochs,
        batch_size=None,
    )


def accuracy(
    outputs: Float[Array, "samples 3"], one_hot: Float[Array, "samples 3"]
) -> Float[Array, ""]:
    """The fraction of samples whose largest output is at their class."""
    return (outputs.argmax(1) == one_hot.argmax(1)).mean()


def accuracy_as_printed(
    outputs: Float[Array, "samples 3"], one_hot: Float[Array, "samples 3"]
) -> Float[Array, ""]:
    """The document's formula: columns where any row is largest become 1 in every row.

    torch assigns into ``outputs`` in place; ``.at[].set`` returns a copy.
    """
    filled = outputs.at[:, outputs.argmax(1)].set(1)
    return (jnp.where(filled == 1, 1, 0) == one_hot).all(1).mean()


def to_bytes(params: Params) -> bytes:
    """The content of a file of the parameters, under torch's names.

    torch can also save a whole model, a pickle that names the classes of its modules. Here there is
    no such object: the network is the source code, and the parameters are all its data.
    """
    return safetensors.save(torch_compat.to_torch(params))


def from_bytes(content: bytes) -> Params:
    """The parameters from the content of such a file."""
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    return torch_compat.from_torch(safetensors.load(content), like=like)
