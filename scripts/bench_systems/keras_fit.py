"""The MNIST DNN in keras with the JAX backend, in its documented form: compile, then fit."""

import importlib
import itertools
import time
from typing import Any

from bench_systems.digits import BATCH_SIZE, LR, MOMENTUM, SIZES, load, normalised
from bench_systems.settings import Run, Settings

__all__ = ["prepare"]


def prepare(settings: Settings) -> Run:
    """Epochs of `fit` with validation."""
    keras: Any = importlib.import_module("keras")  # optional; unknown to pyright
    data = normalised(load(settings))

    def uniform(fan_in: int) -> Any:
        """The default initialisation of torch, the same for weights and biases."""
        return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)

    layers = []
    for fan_in, fan_out in itertools.pairwise(SIZES):
        activation = "relu" if fan_out != SIZES[-1] else None
        start = {"kernel_initializer": uniform(fan_in), "bias_initializer": uniform(fan_in)}
        layers.append(keras.layers.Dense(fan_out, activation=activation, **start))
    model = keras.Sequential([keras.Input((SIZES[0],)), *layers])
    model.compile(
        optimizer=keras.optimizers.SGD(LR, momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    def start_anew(turn: int) -> None:
        """Reset parameters and momentum in place, which does not recompile."""
        for number, layer in enumerate(layers):
            for place, variable in enumerate(layer.weights):
                bound = layer.kernel.shape[0] ** -0.5
                seed = 10 * (10 * turn + number) + place
                fresh = keras.random.uniform(variable.shape, -bound, bound, seed=seed)
                variable.assign(fresh)
        for variable in model.optimizer.variables:
            if "momentum" in variable.path:
                variable.assign(keras.ops.zeros(variable.shape))
        keras.utils.set_random_seed(turn)

    def run(turn: int) -> dict[str, float]:
        start_anew(turn)
        start = time.perf_counter()
        history = model.fit(
            data.train_images,
            data.train_labels,
            batch_size=BATCH_SIZE,
            epochs=settings.epochs,
            validation_data=(data.test_images, data.test_labels),
            validation_batch_size=1000,
            verbose=0,
        )
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "accuracy": history.history["val_accuracy"][-1]}

    return run
