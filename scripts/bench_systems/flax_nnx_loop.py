"""The MNIST DNN in flax nnx, in its tutorial's form: a jitted step in a Python loop."""

import functools
import itertools
import time

import jax
import numpy as np
import optax
from flax import nnx
from jax.nn.initializers import Initializer

from bench_systems.digits import BATCH_SIZE, LR, MOMENTUM, SIZES, load, normalised
from bench_systems.settings import Run, Settings

__all__ = ["prepare"]

Inputs = jax.Array | np.ndarray


@functools.cache  # nnx recompiles for a module that holds another function object
def _uniform(fan_in: int) -> Initializer:
    """The default initialisation of torch, the same for weights and biases."""
    bound = fan_in**-0.5
    centred = nnx.initializers.uniform(2 * bound)
    return lambda *args, **kwargs: centred(*args, **kwargs) - bound


def _network(seed: int) -> nnx.Sequential:
    rngs = nnx.Rngs(seed)
    layers = []
    for fan_in, fan_out in itertools.pairwise(SIZES):
        start = _uniform(fan_in)
        layers += [
            nnx.Linear(fan_in, fan_out, kernel_init=start, bias_init=start, rngs=rngs),
            nnx.relu,
        ]
    return nnx.Sequential(*layers[:-1])


@nnx.jit
def _train_step(
    model: nnx.Sequential, optimizer: nnx.Optimizer, images: Inputs, labels: Inputs
) -> jax.Array:
    def loss(model: nnx.Sequential) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


@nnx.jit
def _correct(model: nnx.Sequential, images: Inputs, labels: Inputs) -> jax.Array:
    return (model(images).argmax(-1) == labels).sum()


def prepare(settings: Settings) -> Run:
    """Epochs with batches from the host, each followed by an evaluation."""
    data = normalised(load(settings))

    def run(turn: int) -> dict[str, float]:
        model = _network(turn)
        optimizer = nnx.Optimizer(model, optax.sgd(LR, MOMENTUM), wrt=nnx.Param)
        generator = np.random.default_rng(turn)
        correct = 0
        start = time.perf_counter()
        for _ in range(settings.epochs):
            order = generator.permutation(len(data.train_labels))
            for i in range(0, len(order), BATCH_SIZE):
                batch = order[i : i + BATCH_SIZE]
                _train_step(model, optimizer, data.train_images[batch], data.train_labels[batch])
            correct = 0
            for i in range(0, len(data.test_labels), 1000):
                images, labels = data.test_images[i : i + 1000], data.test_labels[i : i + 1000]
                correct += int(_correct(model, images, labels))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "accuracy": correct / len(data.test_labels)}

    return run
