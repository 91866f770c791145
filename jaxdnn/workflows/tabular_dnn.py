"""A deep network on a table: two classes, all rows at once or in mini-batches.

The mirror of `reference_torch.workflows.tabular_dnn`. With ``batch_size`` None a run is 5,000 steps
on all training rows; with a number it is epochs of shuffled mini-batches.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from jaxdnn import models, torch_compat, training
from jaxdnn.data import synthetic, tabular
from jaxdnn.data.batches import shuffle
from jaxdnn.data.csv_file import listed
from jaxdnn.data.synthetic import Split
from jaxdnn.data.tabular import Standardisation, Table
from jaxdnn.errors import ConfigError, DataError
from jaxdnn.losses import bce
from jaxdnn.models import Model, Params
from jaxdnn.runs.execution import Progress
from jaxdnn.runs.host_loop import run_epochs
from jaxdnn.runs.result import Network, Result, Training
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import Real, register, require_count, require_nonnegative, require_seed

__all__ = [
    "HIDDEN",
    "SEED",
    "Config",
    "Inputs",
    "accuracy",
    "data_and_start",
    "fit",
    "init",
    "loss",
    "model",
    "optimizer",
    "run",
    "train",
]

SEED = 1

HIDDEN = (32, 8, 4)


@register(numbers=["lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    epochs: int = 5000
    """Passes over the training rows; the document takes 500 with mini-batches."""

    lr: Real = 0.005
    """Learning rate of Adam."""

    batch_size: int | None = None
    """Rows a step, shuffled in every epoch, 128 in the document; None for all rows."""

    standardise: bool = False
    """Give every feature mean 0 and standard deviation 1 over the training rows."""

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)
        require_nonnegative("lr", self.lr)
        if self.batch_size is not None:
            require_count("batch_size", self.batch_size)


@dataclass(frozen=True)
class Inputs:
    """What is read."""

    csv: Path | None = None
    """Table with a header: a column of row names, features, a label of 0 or 1 last; plain or .gz.
    By default a generated one of 759 rows and 8 features."""

    label: str | None = None
    """Name of the column of labels; by default the last one."""

    index_column: str | None = None
    """Name of the column of row names; by default the first one. '' if there is none."""

    def load(self, seed: int, progress: Any = None) -> tuple[Table, str]:
        """The table, and where it came from in words."""
        if self.csv is None:
            if self.label is not None or self.index_column is not None:
                raise ConfigError("--label and --index-column name columns of a table; give --csv.")
            return tabular.generate(seed), "generated table"
        table = tabular.read_csv(self.csv, label=self.label, index_column=self.index_column)
        names = listed(table.feature_names)
        return table, (
            f"{self.csv}: {len(table.labels):,} rows, {len(table.feature_names)} features "
            f"({names}), label {table.label_name!r}, "
            + (f"index {table.index_name!r}" if table.index_name is not None else "no index")
        )


def model(features: int) -> Model:
    """The network ``features``-32-8-4-1, a sigmoid after every layer."""
    sizes = (features, *HIDDEN, 1)
    return models.mlp(sizes, activation=jax.nn.sigmoid, final_activation=jax.nn.sigmoid)


def data_and_start(
    seed: int, table: Table, *, standardise: bool = False
) -> tuple[Split, Params, Standardisation | None]:
    """The split and the network as torch makes them after a seed, in this order.

    Args:
      seed: torch's.
      table: all rows.
      standardise: subtract from each feature its mean over the training rows, and divide by its
        standard deviation over them.

    Returns:
      The two parts, the network's parameters, and how the features were standardised, if they were.
    """
    generator = torch_compat.Generator(seed)
    data = synthetic.split(generator, table.features, table.labels[:, None])
    features = table.features.shape[1]
    tensors = torch_compat.mlp_start(generator, (features, *HIDDEN, 1))
    like = jax.eval_shape(model(features).init, jax.random.key(0))
    scale = None
    if standardise:
        scale = tabular.standardisation(data.train_features)
        data = data._replace(
            train_features=tabular.standardise(data.train_features, scale),
            test_features=tabular.standardise(data.test_features, scale),
        )
    return data, torch_compat.from_torch(tensors, like=like), scale


def loss(
    params: Params, x: Float[Array, "batch features"], y: Float[Array, "batch 1"]
) -> Float[Array, ""]:
    """Mean binary cross-entropy."""
    return bce(model(x.shape[1]).apply(params, x), y)


def optimizer(config: Config) -> optax.GradientTransformation:
    r"""Adam, with torch's defaults, which are optax's too.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
              \theta \leftarrow \theta -
              \eta \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    with 0.9, 0.999 and 1e-8. optax computes :math:`1 - \beta_2^t` in float32, so that its first
    steps in that precision are a few parts in a million off torch's.

    Reference:
      Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015.
    """
    return optax.adam(config.lr)


def init(params: Params, config: Config) -> TrainState:
    """The state before the first step."""
    return TrainState(params, optimizer(config).init(params))


def train_epoch(
    state: TrainState,
    number: Int[Array, ""],
    key: Key[Array, ""],
    config: Config,
    data: Split,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Every training row once: in one step, or in shuffled mini-batches.

    Args:
      state: where the epoch starts.
      number: of the epoch, from 0.
      key: decides the shuffles.
      config: how fast, and in which batches.
      data: the training rows are used.

    Returns:
      The state after the epoch, and the loss before every step.
    """
    rows = jnp.asarray(data.train_features), jnp.asarray(data.train_labels)
    if config.batch_size is None:
        state, info = training.train_step(loss, optimizer(config), state, rows)
        return state, info.loss[None]
    order = shuffle(jax.random.fold_in(key, number), len(rows[0]))
    return training.train_epoch(
        loss, optimizer(config), state, rows, order, batch_size=config.batch_size
    )


def train(
    state: TrainState, key: Key[Array, ""], config: Config, data: Split
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Every epoch of a run, as one scan; arguments and results are those of `train_epoch`."""

    def epoch(state: TrainState, number: Array) -> tuple[TrainState, Float[Array, " steps"]]:
        return train_epoch(state, number, key, config, data)

    state, losses = jax.lax.scan(epoch, state, jnp.arange(config.epochs))
    return state, losses.ravel()


def fit(
    key: Key[Array, ""], config: Config, data: Split
) -> tuple[TrainState, Float[Array, " steps"]]:
    """A whole run as one pure function of a key: start, shuffles, every step.

    Example:
      >>> data, _, _ = data_and_start(0, tabular.generate(0))
      >>> state, losses = jax.jit(fit)(jax.random.key(0), Config(epochs=20, batch_size=128), data)
      >>> losses.shape
      (100,)
    """
    shuffle_key, init_key = jax.random.split(key)
    params = model(data.train_features.shape[1]).init(init_key)
    return train(init(params, config), shuffle_key, config, data)


def accuracy(
    probabilities: Float[np.ndarray, "rows 1"], labels: Float[np.ndarray, "rows 1"]
) -> float:
    """The share of rows on the right side of 0.5."""
    return float(((probabilities >= 0.5) == labels).mean())


def run(
    seed: int,
    config: Config,
    data: Table,
    *,
    data_source: str,
    progress: Progress | None = None,
) -> Result:
    """What ``jaxdnn run tabular-dnn`` does: split, train, test.

    Args:
      seed: of torch's generator, for split and start, and of the key of the shuffles.
      config: how long, how fast, and in which batches.
      data: the table.
      data_source: where it came from, in words.
      progress: told how the run goes while it goes on.

    Returns:
      The losses, the accuracy, and the network.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
      DataError: the training rows have one class only.

    Example:
      >>> result = run(0, Config(epochs=10), tabular.generate(0), data_source="generated")
      >>> len(result.losses)
      10
    """
    require_seed(seed)
    parts, params, scale = data_and_start(seed, data, standardise=config.standardise)
    if len(np.unique(parts.train_labels)) < 2:
        raise DataError(
            f"All {len(parts.train_labels)} training rows that seed {seed} draws have the label "
            f"{parts.train_labels[0, 0]:.0f}; add rows of the other class, or take another --seed."
        )
    preprocessing: dict[str, Any] = {
        "outputs": "probability",
        "feature_names": list(data.feature_names),
        "label_name": data.label_name,
    }
    if scale is not None:
        preprocessing |= {"mean": scale.mean.tolist(), "std": scale.std.tolist()}
    rows = len(parts.train_labels)
    (state, losses), timing = run_epochs(
        train_epoch,
        init(params, config),
        jax.random.key(seed),
        config,
        jax.device_put(parts),
        epochs=config.epochs,
        samples=rows,
        progress=progress,
    )
    losses = losses.ravel()
    apply = jax.jit(model(len(data.feature_names)).apply)
    probabilities = apply(state.params, jnp.asarray(parts.test_features))
    test_accuracy = accuracy(np.asarray(probabilities), parts.test_labels)
    base_rate = max(parts.test_labels.mean(), 1 - parts.test_labels.mean())

    figures = {
        "tabular_dnn.accuracy": {"value": test_accuracy, "larger_class": base_rate},
        "tabular_dnn.loss": {"first": losses[0], "last": losses[-1], "steps": len(losses)},
    }
    remarks = []
    if config.batch_size is not None:
        remarks.append(
            "mini-batches: the document's listing never defines its loss; the mean binary "
            "cross-entropy of its full-batch listing is taken"
        )
    steps = len(losses) // config.epochs
    name = "all training rows" if config.batch_size is None else f"{steps} mini-batches an epoch"
    return Result(
        "tabular-dnn",
        seed,
        config,
        figures,
        tuple(remarks),
        curves={name: losses},
        training=Training(
            data_source=data_source,
            samples=config.epochs * rows,
            compile_seconds=timing.compile_seconds,
            train_seconds=timing.run_seconds,
            test_accuracy_by_epoch=np.array([test_accuracy]),
        ),
        network=Network(state.params, preprocessing),
    )
