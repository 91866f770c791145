"""The report of ``jaxdnn run linear-regression``: both halves of the document."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdnn.data.synthetic import TRUE_B, TRUE_W, Line
from jaxdnn.errors import ConfigError
from jaxdnn.models import Model
from jaxdnn.runs.drawing import Panel, Scatter
from jaxdnn.runs.result import Network, Result, Training
from jaxdnn.runs.runner import timed
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.workflows import linear_regression as lesson
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.linear_regression import Config

__all__ = ["SEED", "Config", "Inputs", "network", "run"]

SEED = 1

Inputs = NoInputs


def run(request: Request) -> Result:
    """Report the losses and errors of both halves, a scatter plot of the data, and the layer.

    The seed is used for torch's generator and for Python's.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits, or the permutations of all epochs,
        which are held in memory, are too many.
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    epochs, samples = config.epochs, config.samples
    if (total := epochs * samples) > 10**8:
        raise ConfigError(f"epochs times samples must be at most 10**8; got {total:,}.")
    data, weights = lesson.data_and_params(seed, samples)
    permutations = jnp.asarray(lesson.permutations(seed, epochs, samples))
    (trained, history), scratch_time = timed(
        partial(lesson.train, lesson.mean_loss),
        weights,
        permutations,
        config,
        jax.device_put(data),
    )

    layer_data, params, generator = lesson.layer_data_and_params(seed, samples)
    layer_permutations = jnp.asarray(lesson.layer_permutations(generator, epochs, samples))
    (layer, layer_history), layer_time = timed(
        partial(lesson.train, lesson.layer_loss),
        params,
        layer_permutations,
        config,
        jax.device_put(layer_data),
    )

    initial = jax.tree.map(jnp.asarray, weights)
    same = {"net.0": {"kernel": initial["w"], "bias": initial["b"]}}
    first = permutations[0, : config.batch_size]
    batch = jax.tree.map(lambda array: jnp.asarray(array)[first], data)
    _, info = lesson.step(initial, *batch, lr=config.lr)
    # At equal weights and equal batches, so that only the definitions of the loss differ.
    ratio = jax.grad(lesson.layer_loss)(same, *batch)["net.0"]["kernel"] / (
        info.grads["w"] / len(batch.labels)
    )
    of_each = lesson.example_gradients(initial, *batch)["w"]
    pulled_back = lesson.pulled_back_gradients(initial, *batch)["w"]
    layer_loss = lesson.layer_loss(same, *batch)
    squared_errors = 2 * lesson.loss(initial, *batch)
    figures = {
        "linear_regression.first_sample": {
            "features": data.features[0],
            "label": data.labels[0],
        },
        "linear_regression.first_batch": {"features": batch.features, "labels": batch.labels},
        "linear_regression.from_scratch": {
            "epoch_losses": history.epoch_losses,
            "error_of_w": jnp.array(TRUE_W) - trained["w"].ravel(),
            "error_of_b": TRUE_B - trained["b"],
        },
        "linear_regression.layer": {
            "epoch_losses": layer_history.epoch_losses,
            "error_of_w": jnp.array(TRUE_W) - layer["net.0"]["kernel"].ravel(),
            "error_of_b": TRUE_B - layer["net.0"]["bias"],
        },
        "linear_regression.gradient": {
            "of_first_batch": info.grads["w"].ravel(),
            "of_losses_pulled_back_with_ones": pulled_back.ravel(),
            "of_its_first_sample": of_each[0].ravel(),
            "sum_over_samples": of_each.sum(0).ravel(),
            "layer_over_scratch": ratio.ravel(),
        },
    }
    remarks = (
        "003: the loss from scratch is ½(ŷ - y)², the layer's is MSELoss. At the same weights "
        f"and batch the layer's gradient is {ratio.mean():.4f} times as long, and so is its step "
        "at the same learning rate",
        f"003, training by the layer: MSELoss does not sum, it averages. For the first batch it is "
        f"{layer_loss:.4f}; the sum of squared errors is {squared_errors:.4f}",
        "003, the scatter plot: features[:, 1] is the second column, called the first",
    )
    steps = history.losses.shape[1]
    descents = _descents(weights, permutations, config, data)
    return Result(
        "linear-regression",
        seed,
        config,
        figures,
        remarks,
        curves={
            "from scratch, ½(ŷ - y)²": history.losses,
            "layer, (ŷ - y)²": layer_history.losses,
            **{name: losses for name, (_, losses) in descents.items()},
        },
        panels=(
            Panel(
                "from scratch and by the layer",
                ("from scratch, ½(ŷ - y)²", "layer, (ŷ - y)²"),
                dict.fromkeys(("from scratch, ½(ŷ - y)²", "layer, (ŷ - y)²"), steps),
            ),
            Panel(
                "three gradient descents, from scratch",
                tuple(descents),
                {name: steps for name, (steps, _) in descents.items()},
            ),
        )[: 1 + bool(descents)],
        by_epoch={
            "loss from scratch": history.epoch_losses,
            "by the layer": layer_history.epoch_losses,
        },
        training=Training(
            data_source="a plane with noise, generated",
            samples=2 * epochs * samples,
            compile_seconds=scratch_time.compile_seconds + layer_time.compile_seconds,
            train_seconds=scratch_time.run_seconds + layer_time.run_seconds,
        ),
        network=Network(layer, {"outputs": "number", "feature_names": ["feature_1", "feature_2"]}),
        scatter=Scatter(data.features[:, 1], data.labels[:, 0], "feature 2", "label"),
    )


def _descents(
    weights: lesson.Weights, permutations: Array, config: Config, data: Line
) -> dict[str, tuple[int, Float[Array, "epochs steps"]]]:
    """Steps an epoch and losses of batch, stochastic and mini-batch gradient descent.

    They differ in the batch size alone. A run of many samples leaves them out, for one step a
    sample takes long.
    """
    if permutations.size > 10**5:
        return {}
    named = {"batch": config.samples, "stochastic": 1, "mini-batch": config.batch_size}
    found = {}
    for name, batch_size in named.items():
        settings = dataclasses.replace(config, batch_size=batch_size)
        train = jax.jit(partial(lesson.train, lesson.mean_loss))
        _, history = train(weights, permutations, settings, jax.device_put(data))
        label = f"{name}, {batch_size:,} a step"
        found[label] = history.losses.shape[1], history.losses
    return found


def network(features: int) -> Model:
    """The network of the checkpoints; the number of features is always 2."""
    return lesson.MODEL
