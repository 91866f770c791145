"""The MNIST DNN in JAX against torch: real data, the same start, the same batches."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import reference_torch.losses
import reference_torch.models
import reference_torch.observe
from jaxdnn import interop, losses, models, parity, training
from jaxdnn.data.mnist import MNIST
from jaxdnn.models import Model
from jaxdnn.training import TrainState
from jaxdnn.workflows import mnist_dnn
from reference_torch.workflows import mnist_dnn as reference

KEY = jax.random.key(0)
CONFIG = mnist_dnn.Config()


def batches(data: MNIST, steps: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of 64 of shuffled epochs of 20,000 images; the 313th of each has only 32."""
    epochs = (
        np.array_split(order, range(CONFIG.batch_size, len(order), CONFIG.batch_size))
        for order in (
            np.random.default_rng(epoch).permutation(20_000)
            for epoch in itertools.count()
        )
    )
    indices = itertools.islice(itertools.chain.from_iterable(epochs), steps)
    return [(data.train_images[i], data.train_labels[i]) for i in indices]


def torch_run(
    start: dict[str, np.ndarray], data: Sequence[tuple[np.ndarray, ...]]
) -> Iterator[parity.Observation]:
    model = reference.init(start)
    tensors = (tuple(torch.tensor(array) for array in batch) for batch in data)
    optimizer = reference.optimizer(model, reference.Config())
    return reference_torch.observe.observe(reference.loss, optimizer, model, tensors)


def test_float64_trajectory_matches_torch(x64: None, mnist_data: MNIST) -> None:
    """Loss, gradients, momentum and parameters after each of 400 steps, an epoch's end included."""
    state = mnist_dnn.init(KEY, CONFIG)
    start = interop.to_torch(state.params)
    assert start["net.1.weight"].dtype == np.float64
    data = batches(mnist_data, steps=400)
    assert len(data[312][1]) == 32

    comparison = parity.compare(
        torch_run(start, data),
        parity.observe(mnist_dnn.loss, mnist_dnn.optimizer(CONFIG), state, data),
        tolerance=1e-12,
    )

    assert comparison.first_divergence is None
    assert comparison.steps == 400
    layers = [f"net.{i}.{leaf}" for i in (1, 3, 5, 7, 9) for leaf in ("weight", "bias")]
    assert set(comparison.errors) == {
        "batch/0",
        "batch/1",
        "loss",
        *(f"grad/{name}" for name in layers),
        *(f"optimizer/{name}/momentum_buffer" for name in layers),
        *(f"param/{name}" for name in layers),
    }
