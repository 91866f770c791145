"""The report of ``jaxdnn run sum-classifier``: train, test, list the parameters, save and load."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxdnn import torch_compat, training
from jaxdnn.data.synthetic import Split
from jaxdnn.models import Model
from jaxdnn.runs.drawing import Panel
from jaxdnn.runs.result import Network, Result, Training
from jaxdnn.runs.runner import Run, drive, epochs_per_call
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.sum_classifier import (
    MODEL,
    Config,
    accuracy,
    accuracy_as_printed,
    data_and_params,
    from_bytes,
    init,
    loss,
    optimizer,
    to_bytes,
)

__all__ = ["SEED", "Config", "Inputs", "network", "run"]

SEED = 0
Inputs = NoInputs


def run(request: Request) -> Result:
    """Train, test with both formulas, and compare with the saved and reloaded network.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    data, params = data_and_params(seed, config.samples)
    rows = len(data.train_labels)
    request.progress.on_start(epochs=config.epochs, samples=rows)
    trained, timing = drive(
        jax.jit(_train, donate_argnums=0),
        Run(init(params, config), np.zeros((0, 1), np.result_type(data.train_features)), None),
        (jax.random.key(seed), config, jax.device_put(data)),
        epochs=config.epochs,
        per_call=epochs_per_call(config.epochs),
        progress=request.progress,
    )
    losses, params = trained.losses.ravel(), trained.state.params

    predict = jax.jit(MODEL.apply)
    test_x, test_y = jnp.asarray(data.test_features), jnp.asarray(data.test_labels)
    outputs = predict(params, test_x)
    as_printed, as_meant = accuracy_as_printed(outputs, test_y), accuracy(outputs, test_y)
    reloaded = from_bytes(to_bytes(params))
    same = np.array_equal(outputs, predict(reloaded, test_x), equal_nan=True)

    figures = {
        "sum_classifier.accuracy": {"as_printed": as_printed, "as_meant": as_meant},
        "sum_classifier.loss": {"first": losses[0], "last": losses[-1]},
        "sum_classifier.parameters": torch_compat.to_torch(params),
        "sum_classifier.reloaded": {"same_outputs": same},
    }
    predicted, counts = np.unique(outputs.argmax(1), return_counts=True)
    perfect = accuracy_as_printed(test_y, test_y)
    remarks = [
        f"002, section 3.6: {as_printed:.2%} is the accuracy by its formula, which fills the "
        f"column of every class that is predicted at all, here {len(predicted)} of 3; "
        f"{as_meant:.2%} of the rows are right. Given the right answers themselves, the formula "
        f"finds {perfect:.2%}",
    ]
    if len(predicted) == 1:
        share = test_y[:, predicted[0]].mean()
        remarks.append(
            f"the network predicts class {predicted[0]} for all {counts[0]:,} test samples, so "
            f"both accuracies are {share:.2%}, the fraction of that class. With --epochs 20000 it "
            "predicts all three, and the formula's mistake shows"
        )
    reported = as_printed if config.as_printed else as_meant
    return Result(
        "sum-classifier",
        seed,
        config,
        figures,
        tuple(remarks),
        curves={"all training samples": losses},
        panels=(Panel("", ("all training samples",), {"all training samples": 1}),),
        by_epoch={"loss": losses},
        training=Training(
            data_source="sums of three numbers, generated",
            samples=config.epochs * rows,
            compile_seconds=timing.compile_seconds,
            train_seconds=timing.run_seconds,
            test_accuracy_by_epoch=np.array([reported], np.float64),
        ),
        network=Network(
            params,
            {"outputs": "classes", "feature_names": ["feature_1", "feature_2", "feature_3"]},
        ),
    )


def _train(state: TrainState, epochs: Array, key: Array, config: Config, data: Split) -> Any:
    rows = data.train_features, data.train_labels
    return training.fit(loss, optimizer(config), state, rows, key, epochs=epochs, batch_size=None)


def network(features: int) -> Model:
    """The network of the checkpoints; the number of features is always 3."""
    return MODEL
