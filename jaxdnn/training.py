"""Training as pure functions: one step, an epoch as one scan, evaluation.

Nothing here is jitted: compile once, at the outermost call.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Key

from jaxdnn.data.batches import shuffle
from jaxdnn.models import Params
from jaxdnn.runs.execution import Progress

__all__ = [
    "History",
    "StepInfo",
    "TrainState",
    "accuracy",
    "train_classifier",
    "train_epoch",
    "train_full_batch",
    "train_step",
]

Batch = tuple[Array | np.ndarray, ...]
Loss = Callable[..., Float[Array, ""]]


class TrainState(NamedTuple):
    """What a step takes and returns.

    Attributes:
      params: the network's parameters.
      opt_state: the optimiser's state, momentum and the like.
    """

    params: Params
    opt_state: optax.OptState


class StepInfo(NamedTuple):
    """What a step reports; XLA drops what the caller does not use.

    Attributes:
      loss: of the batch, before the update; a scalar.
      grads: its gradient, a tree like the parameters.
    """

    loss: Float[Array, ""]
    grads: Params


class History(NamedTuple):
    """What a run of several epochs reports.

    Attributes:
      losses: of every step, before its update.
      test_accuracy: after every epoch, between 0 and 1.
    """

    losses: Float[Array, "epochs steps"]
    test_accuracy: Float[Array, " epochs"]


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, StepInfo]:
    r"""One step of gradient descent: the loss, its gradient, and what the optimiser makes of it.

    .. math:: g_t = \nabla L(\theta_t; \text{batch}), \quad
              \theta_{t+1} = \theta_t + \text{update}(g_t)

    Args:
      loss: ``loss(params, *batch) -> scalar``.
      optimizer: any optax transformation.
      state: the parameters and the optimiser's state before the step.
      batch: arrays with one first axis.

    Returns:
      The state after the step, and what the step saw.

    Example:
      >>> def loss(w, x, y):
      ...     return ((w * x - y) ** 2).mean()
      >>> optimizer = optax.sgd(0.1)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> batch = jnp.array([1.0, 2.0]), jnp.array([2.0, 4.0])
      >>> state, info = train_step(loss, optimizer, state, batch)
      >>> print(f"loss {info.loss}, gradient {info.grads}, weight {state.params}")
      loss 10.0, gradient -10.0, weight 1.0
    """
    value, grads = jax.value_and_grad(loss)(state.params, *batch)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state), StepInfo(value, grads)


def train_epoch(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    order: Int[Array, " samples"],
    *,
    batch_size: int,
    epoch: Int[Array, ""] | int = 0,
    progress: Progress | None = None,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Every sample once, in the given order, as one scan; a shorter last batch is kept.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: where the epoch starts.
      data: arrays with one first axis, the samples.
      order: indices into that axis, in the order of use.
      batch_size: samples a step. The last ``len(order) % batch_size`` samples make one more step.
      epoch: its number, for ``progress``.
      progress: told of about forty steps of the epoch; the others never leave the device.

    Returns:
      The state after the epoch, and the loss of every step.

    Raises:
      ValueError: the arrays of ``data`` differ in their first axis.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> data = (jnp.arange(5.0),)
      >>> state, losses = train_epoch(
      ...     loss, optimizer, state, data, jnp.arange(5), batch_size=2
      ... )
      >>> losses.shape
      (3,)
    """
    data = tuple(jnp.asarray(array) for array in data)
    if any(len(array) != len(data[0]) for array in data):
        raise ValueError(f"data must have one first axis; got {[array.shape for array in data]}.")
    full = len(order) // batch_size
    batches = order[: full * batch_size].reshape(full, batch_size)
    tail = order[full * batch_size :]
    report_every = max(1, full // 40)

    def train(state: TrainState, i: Array | int, indices: Array) -> tuple[TrainState, Array]:
        batch = tuple(array[indices] for array in data)
        state, info = train_step(loss, optimizer, state, batch)
        if progress is not None:
            jax.lax.cond(
                i % report_every == 0,
                partial(jax.debug.callback, progress.on_step, epoch, i, info.loss),
                lambda: None,
            )
        return state, info.loss

    state, losses = jax.lax.scan(
        lambda state, batch: train(state, *batch), state, (jnp.arange(full), batches)
    )
    if len(tail):
        state, last_loss = train(state, full, tail)
        losses = jnp.append(losses, last_loss)
    return state, losses


def train_classifier(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    predict: Callable[[Params, Any], Float[Array, "batch classes"]],
    state: TrainState,
    train_data: Batch,
    test_data: Batch,
    key: Key[Array, ""],
    *,
    epochs: int,
    batch_size: int,
    progress: Progress | None = None,
) -> tuple[TrainState, History]:
    """Epochs of shuffled mini-batches, each followed by an evaluation, as one scan.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      predict: scores of the classes, for parameters and a batch of inputs.
      state: where the run starts.
      train_data: inputs and labels.
      test_data: inputs and labels.
      key: decides the shuffles; that of epoch ``i`` is ``shuffle(fold_in(key, i), samples)``.
      epochs: how many.
      batch_size: samples a step.
      progress: told how the run goes while it goes on.

    Returns:
      The state after the last epoch, and the history.
    """

    def epoch(state: TrainState, number: Array) -> tuple[TrainState, History]:
        state, losses = train_epoch(
            loss,
            optimizer,
            state,
            train_data,
            shuffle(jax.random.fold_in(key, number), len(train_data[0])),
            batch_size=batch_size,
            epoch=number,
            progress=progress,
        )
        test_accuracy = accuracy(partial(predict, state.params), *test_data)
        if progress is not None:
            jax.debug.callback(progress.on_epoch, number, test_accuracy)
        return state, History(losses, test_accuracy)

    return jax.lax.scan(epoch, state, jnp.arange(epochs))


def train_full_batch(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    steps: int,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """The same batch, all the data, again and again, as one scan.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: where the run starts.
      batch: arrays with one first axis.
      steps: how many, each an epoch.

    Returns:
      The state after the last step, and the loss of every step.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> state, losses = train_full_batch(loss, optimizer, state, (jnp.ones(3),), steps=4)
      >>> print(losses)
      [1.       0.25     0.0625   0.015625]
    """
    batch = tuple(jnp.asarray(array) for array in batch)

    def train(state: TrainState, _: None) -> tuple[TrainState, Array]:
        state, info = train_step(loss, optimizer, state, batch)
        return state, info.loss

    return jax.lax.scan(train, state, length=steps)


def accuracy(
    predict: Callable[[Any], Float[Array, "batch classes"]],
    inputs: Float[Array | np.ndarray, "samples ..."] | Integer[Array | np.ndarray, "samples ..."],
    labels: Integer[Array | np.ndarray, " samples"],
    *,
    batch_size: int = 1000,
) -> Float[Array, ""]:
    """The share of samples whose largest output is the labelled class.

    Args:
      predict: outputs for a batch of inputs.
      inputs: the samples along the first axis.
      labels: their classes.
      batch_size: samples at once, which bounds the memory and does not change the result.

    Returns:
      A scalar between 0 and 1.

    Raises:
      ValueError: there are not as many labels as inputs.

    Example:
      >>> float(accuracy(lambda x: x, jnp.eye(4), jnp.array([0, 1, 2, 0])))
      0.75
    """
    if len(labels) != len(inputs):
        raise ValueError(f"{len(inputs)} inputs need as many labels; got {len(labels)}.")
    outputs = jax.lax.map(lambda x: predict(x[None])[0], inputs, batch_size=batch_size)
    return (outputs.argmax(-1) == jnp.asarray(labels)).mean()
