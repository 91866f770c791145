"""The MNIST DNN in equinox, in its tutorial's form: a jitted step in a Python loop."""

import importlib
import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench_systems.digits import BATCH_SIZE, LR, MOMENTUM, SIZES, load, normalised
from bench_systems.settings import Run, Settings

__all__ = ["prepare"]


def prepare(settings: Settings) -> Run:
    """Epochs with batches from the host, each followed by an evaluation."""
    eqx: Any = importlib.import_module("equinox")  # optional; unknown to pyright
    data = normalised(load(settings))
    optimizer = optax.sgd(LR, MOMENTUM)

    def network(key: jax.Array) -> Any:
        """The network; equinox initialises linear layers as torch does."""
        layers = []
        pairs = itertools.pairwise(SIZES)
        for layer_key, (fan_in, fan_out) in zip(jax.random.split(key, 5), pairs, strict=True):
            layers += [eqx.nn.Linear(fan_in, fan_out, key=layer_key), eqx.nn.Lambda(jax.nn.relu)]
        return eqx.nn.Sequential(layers[:-1])

    @eqx.filter_value_and_grad
    def loss(model: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        outputs = jax.vmap(model)(images)
        return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()

    @eqx.filter_jit
    def make_step(model: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
        value, grads = loss(model, images, labels)
        updates, state = optimizer.update(grads, state, eqx.filter(model, eqx.is_array))
        return eqx.apply_updates(model, updates), state, value

    @eqx.filter_jit
    def count_correct(model: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(jax.vmap(model)(images).argmax(-1) == labels)

    def run(turn: int) -> dict[str, float]:
        model = network(jax.random.key(turn))
        state = optimizer.init(eqx.filter(model, eqx.is_array))
        generator = np.random.default_rng(turn)
        correct = 0
        start = time.perf_counter()
        for _ in range(settings.epochs):
            order = generator.permutation(len(data.train_labels))
            for i in range(0, len(order), BATCH_SIZE):
                batch = order[i : i + BATCH_SIZE]
                model, state, _ = make_step(
                    model, state, data.train_images[batch], data.train_labels[batch]
                )
            correct = 0
            for i in range(0, len(data.test_labels), 1000):
                images, labels = data.test_images[i : i + 1000], data.test_labels[i : i + 1000]
                correct += int(count_correct(model, images, labels))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "accuracy": correct / len(data.test_labels)}

    return run
