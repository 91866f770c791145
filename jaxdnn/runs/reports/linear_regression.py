"""The report of ``jaxdnn run linear-regression``: both halves of the document."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxdnn.data.synthetic import TRUE_B, TRUE_W
from jaxdnn.errors import ConfigError
from jaxdnn.models import Model
from jaxdnn.runs.result import Network, Result, Scatter, Training
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
    batch = jax.tree.map(lambda array: jnp.asarray(array[: config.batch_size]), data)
    _, info = lesson.step(initial, *batch, lr=config.lr)
    # At equal weights and equal batches, so that only the definitions of the loss differ.
    ratio = jax.grad(lesson.layer_loss)(same, *batch)["net.0"]["kernel"] / (
        info.grads["w"] / len(batch.labels)
    )
    of_each = lesson.example_gradients(initial, *batch)["w"]
    figures = {
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
            "of_its_first_sample": of_each[0].ravel(),
            "sum_over_samples": of_each.sum(0).ravel(),
            "layer_over_scratch": ratio.ravel(),
        },
    }
    remarks = (
        "the loss from scratch is ½(ŷ - y)², the layer's is MSELoss: at the same weights and batch "
        f"the layer's gradient is {ratio.mean():.4f} times as long, and so is its step at the same "
        "learning rate",
    )
    return Result(
        "linear-regression",
        seed,
        config,
        figures,
        remarks,
        curves={"from scratch, ½(ŷ - y)²": history.losses, "layer, (ŷ - y)²": layer_history.losses},
        training=Training(
            data_source="a plane with noise, generated",
            samples=2 * epochs * samples,
            compile_seconds=scratch_time.compile_seconds + layer_time.compile_seconds,
            train_seconds=scratch_time.run_seconds + layer_time.run_seconds,
        ),
        network=Network(layer, {"outputs": "number", "feature_names": ["feature_1", "feature_2"]}),
        scatter=Scatter(data.features[:, 1], data.labels[:, 0], "feature 2", "label"),
    )


def network(features: int) -> Model:
    """The network of the checkpoints; the number of features is always 2."""
    return lesson.MODEL
