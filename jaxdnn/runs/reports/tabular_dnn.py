"""The report of ``jaxdnn run tabular-dnn``: split, train, test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdnn import training
from jaxdnn.data import tabular
from jaxdnn.data.csv_file import listed
from jaxdnn.data.synthetic import Split
from jaxdnn.data.tabular import Table
from jaxdnn.errors import ConfigError, DataError
from jaxdnn.runs.drawing import Panel
from jaxdnn.runs.result import Network, Result, Training
from jaxdnn.runs.runner import Run, drive, epochs_per_call
from jaxdnn.runs.workflow import Request
from jaxdnn.torch_compat import Generator, to_torch
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.tabular_dnn import (
    Config,
    accuracy,
    data_and_params,
    init,
    loss,
    loss_from_logits,
    network,
    optimizer,
)

__all__ = ["SEED", "Config", "Inputs", "network", "run", "train"]

SEED = 1


@dataclass(frozen=True)
class Inputs:
    """The table, read from a file or generated."""

    csv: Path | None = None
    """CSV file with a header, plain or .gz: row names, features, and last a label of 0 or 1.
    By default a table with 759 rows and 8 features is generated."""

    label: str | None = None
    """Name of the label column; by default the last column."""

    index_column: str | None = None
    """Name of the column of row names; by default the first column. '' if there is none."""

    def load(self, seed: int, progress: Any = None) -> tuple[Table, str]:
        """The table, and a description of its source."""
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

    def files(self) -> list[Path]:
        """The input files, which no result may overwrite."""
        return [] if self.csv is None else [self.csv]


def run(request: Request) -> Result:
    """Split the table, train on one part, and test on the other.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
      DataError: the training rows have one class only.

    Example:
      >>> result = run(Request(0, Config(epochs=10), tabular.generate(0), "generated"))
      >>> len(result.losses)
      10
    """
    seed, config, table = request.seed, request.config, request.data
    require_seed(seed)
    torch_seed = seed if request.torch_seed is None else request.torch_seed
    generator = Generator(torch_seed)
    parts, params, scale = data_and_params(generator, table, standardise=config.standardise)
    if len(np.unique(parts.train_labels)) < 2:
        raise DataError(
            f"All {len(parts.train_labels)} training rows with seed {torch_seed} have the label "
            f"{parts.train_labels[0, 0]:.0f}; add rows of the other class, or use another --seed."
        )
    preprocessing: dict[str, Any] = {
        "outputs": "probability",
        "feature_names": list(table.feature_names),
        "label_name": table.label_name,
    }
    if scale is not None:
        preprocessing |= {"mean": scale.mean.tolist(), "std": scale.std.tolist()}

    rows = len(parts.train_labels)
    steps = 1 if config.batch_size is None else -(-rows // config.batch_size)
    shuffles: Array | np.ndarray = jax.random.key(seed)
    if request.torch_seed is not None and config.batch_size is not None:
        shuffles = generator.loader_orders(config.epochs, rows)
    on_one_batch = {
        "bce_after_sigmoid": jax.jit(loss)(params, *map(jnp.asarray, parts[:2])),
        "bce_with_logits": jax.jit(loss_from_logits)(params, *map(jnp.asarray, parts[:2])),
    }
    request.progress.on_start(epochs=config.epochs, samples=rows)
    trained, timing = drive(
        jax.jit(train, donate_argnums=0),
        Run(init(params, config), np.zeros((0, steps), np.result_type(parts.train_features)), None),
        (shuffles, config, jax.device_put(parts)),
        epochs=config.epochs,
        per_call=epochs_per_call(config.epochs),
        progress=request.progress,
    )
    losses, params = trained.losses.ravel(), trained.state.params

    apply = jax.jit(network(len(table.feature_names)).apply)
    probabilities = np.asarray(apply(params, jnp.asarray(parts.test_features)))
    test_accuracy = accuracy(probabilities, parts.test_labels)
    # The accuracy without learning, for comparison: always predict the more frequent class.
    base_rate = max(parts.test_labels.mean(), 1 - parts.test_labels.mean())
    figures = {
        "tabular_dnn.accuracy": {"value": test_accuracy, "larger_class": base_rate},
        "tabular_dnn.loss": {"first": losses[0], "last": losses[-1], "steps": len(losses)},
        "tabular_dnn.first_loss_in_two_ways": on_one_batch,
        "tabular_dnn.parameters": {
            name: list(tensor.shape) for name, tensor in to_torch(params).items()
        },
    }
    remarks = []
    if config.batch_size is not None:
        remarks.append(
            "002, section 5: the listing does not define its loss; the mean binary cross-entropy "
            "of section 4 is used"
        )
    name = f"{steps} mini-batches an epoch"
    panels = ()
    if config.batch_size is None:
        name = "all training rows"
        panels = (Panel("", (name,), {name: 1}),)
    return Result(
        "tabular-dnn",
        seed,
        config,
        figures,
        tuple(remarks),
        curves={name: losses},
        panels=panels,
        by_epoch={"loss": trained.losses[:, -1]},
        training=Training(
            data_source=request.data_source,
            samples=config.epochs * rows,
            compile_seconds=timing.compile_seconds,
            train_seconds=timing.run_seconds,
            test_accuracy_by_epoch=np.array([test_accuracy]),
        ),
        network=Network(params, preprocessing),
    )


def train(
    state: TrainState, epochs: Array, shuffles: Array, config: Config, data: Split
) -> tuple[TrainState, training.History]:
    """Some epochs of a run, by their numbers; see `jaxdnn.training.fit`."""
    rows = data.train_features, data.train_labels
    batch_size = config.batch_size
    return training.fit(
        loss, optimizer(config), state, rows, shuffles, epochs=epochs, batch_size=batch_size
    )
