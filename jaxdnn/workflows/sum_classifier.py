"""Three classes by the sum of three numbers.

The mirror of `reference_torch.workflows.sum_classifier`. The document's formula for the accuracy
writes a 1 into every column that is anyone's largest, for all rows at once; what is meant is to
compare each row's largest with its class. Both are here.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from jaxdnn import models, torch_compat, training
from jaxdnn.data import synthetic
from jaxdnn.data.synthetic import Split
from jaxdnn.errors import ConfigError
from jaxdnn.losses import mse
from jaxdnn.models import Params
from jaxdnn.runs import checkpoint
from jaxdnn.runs.execution import Progress
from jaxdnn.runs.host_loop import run_epochs
from jaxdnn.runs.result import Network, Result, Training
from jaxdnn.training import TrainState
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
    "SIZES",
    "Config",
    "accuracy",
    "accuracy_as_printed",
    "data_and_start",
    "fit",
    "init",
    "loss",
    "optimizer",
    "run",
    "train",
]

SEED = 0

SIZES = (3, 5, 5, 5, 3)

MODEL = models.mlp(SIZES)


@register(numbers=["lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 1000
    """Steps, each on all training samples."""

    lr: Real = 0.01
    """Learning rate of SGD."""

    samples: int = 10_000
    """How many are generated; 70% are for training."""

    as_printed: bool = True
    """Report the accuracy by the document's formula; otherwise the share of right classes."""

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)
        require_nonnegative("lr", self.lr)
        require_count("samples", self.samples, at_least=2)
        if self.samples > 10**7:
            raise ConfigError(f"samples must be at most 10**7; got {self.samples!r}.")


def data_and_start(seed: int, samples: int) -> tuple[Split, Params]:
    """Samples, their split and the network as torch makes them after a seed, in this order."""
    generator = torch_compat.Generator(seed)
    data = synthetic.split(generator, *synthetic.sums(generator, samples))
    tensors = torch_compat.mlp_start(generator, SIZES)
    return data, torch_compat.from_torch(
        tensors, like=jax.eval_shape(MODEL.init, jax.random.key(0))
    )


def loss(
    params: Params, x: Float[Array, "batch 3"], one_hot: Float[Array, "batch 3"]
) -> Float[Array, ""]:
    """The mean squared error against the one-hot classes."""
    return mse(MODEL.apply(params, x), one_hot)


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD."""
    return optax.sgd(config.lr)


def init(params: Params, config: Config) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer(config).init(params))


def train_epoch(
    state: TrainState, number: Int[Array, ""], config: Config, data: Split
) -> tuple[TrainState, Float[Array, ""]]:
    """One step on all training samples; the state after it, and the loss before."""
    rows = jnp.asarray(data.train_features), jnp.asarray(data.train_labels)
    state, info = training.train_step(loss, optimizer(config), state, rows)
    return state, info.loss


def train(
    state: TrainState, config: Config, data: Split
) -> tuple[TrainState, Float[Array, " epochs"]]:
    """Every epoch of a run, as one scan; the state at the end, and the loss before each step."""
    return jax.lax.scan(
        lambda state, number: train_epoch(state, number, config, data),
        state,
        jnp.arange(config.epochs),
    )


def fit(
    key: Key[Array, ""], config: Config, data: Split
) -> tuple[TrainState, Float[Array, " epochs"]]:
    """A whole run as one pure function of a key, which decides the start.

    Example:
      >>> data, _ = data_and_start(0, 100)
      >>> state, losses = jax.jit(fit)(jax.random.key(0), Config(epochs=50), data)
      >>> bool(losses[-1] < losses[0])
      True
    """
    return train(init(MODEL.init(key), config), config, data)


def accuracy(
    outputs: Float[Array, "samples 3"], one_hot: Float[Array, "samples 3"]
) -> Float[Array, ""]:
    """The share of samples whose largest output is at their class."""
    return (outputs.argmax(1) == one_hot.argmax(1)).mean()


def accuracy_as_printed(
    outputs: Float[Array, "samples 3"], one_hot: Float[Array, "samples 3"]
) -> Float[Array, ""]:
    """The document's formula: columns where any row is largest become 1 in every row."""
    filled = outputs.at[:, outputs.argmax(1)].set(1)
    return (jnp.where(filled == 1, 1, 0) == one_hot).all(1).mean()


def run(
    seed: int = SEED,
    config: Config = Config(),
    *,
    progress: Progress | None = None,
) -> Result:
    """What ``jaxdnn run sum-classifier`` does: train, test, list, save, load and test again.

    Args:
      seed: of torch's generator: samples, split and start.
      config: how long, how fast, and how the accuracy is counted.
      progress: told how the run goes while it goes on.

    Returns:
      The losses, both accuracies, and the network.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    require_seed(seed)
    data, params = data_and_start(seed, config.samples)
    rows = len(data.train_labels)
    (state, losses), timing = run_epochs(
        train_epoch,
        init(params, config),
        config,
        jax.device_put(data),
        epochs=config.epochs,
        samples=rows,
        progress=progress,
    )

    predict = jax.jit(MODEL.apply)
    test_x, test_y = jnp.asarray(data.test_features), jnp.asarray(data.test_labels)
    outputs = predict(state.params, test_x)
    as_printed, as_meant = accuracy_as_printed(outputs, test_y), accuracy(outputs, test_y)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        checkpoint.save(file, state.params, metadata={})
        reloaded, _ = checkpoint.load(file, like=jax.eval_shape(lambda: state.params))
    same = np.array_equal(outputs, predict(reloaded, test_x), equal_nan=True)

    shapes = {name: list(a.shape) for name, a in torch_compat.to_torch(state.params).items()}
    figures = {
        "sum_classifier.accuracy": {"as_printed": as_printed, "as_meant": as_meant},
        "sum_classifier.loss": {"first": losses[0], "last": losses[-1]},
        "sum_classifier.parameters": shapes,
        "sum_classifier.reloaded": {"same_outputs": same},
    }
    predicted = len(np.unique(outputs.argmax(1)))
    perfect = accuracy_as_printed(test_y, test_y)
    remarks = (
        f"accuracy: {as_printed:.2%} by the document's formula, which fills the column of every "
        f"class that is predicted at all (here {predicted} of 3); {as_meant:.2%} of the rows are "
        f"right. Given the right answers themselves, the formula finds {perfect:.2%}",
    )
    reported = as_printed if config.as_printed else as_meant
    return Result(
        "sum-classifier",
        seed,
        config,
        figures,
        remarks,
        curves={"all training samples": losses},
        training=Training(
            data_source="sums of three numbers, generated",
            samples=config.epochs * rows,
            compile_seconds=timing.compile_seconds,
            train_seconds=timing.run_seconds,
            test_accuracy_by_epoch=np.array([reported], np.float64),
        ),
        network=Network(
            state.params,
            {"outputs": "classes", "feature_names": ["feature_1", "feature_2", "feature_3"]},
        ),
    )
