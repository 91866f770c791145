"""The training loop: a step, a scan over steps, an epoch, a whole run.

Each function is the one below it, repeated: `train_step` is one update, `train_steps` scans it over
an array of batch indices, `train_batches` cuts a permutation into batches, `train_epoch` shuffles
and takes every sample once, and `fit` scans `train_epoch` over the epochs and evaluates after each.
Start reading at `train_step`.

All are pure functions of what they are given, and none is jitted: compile once, at the outermost
call. Everything that trains in this package, the command line included, calls these.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, Key, PyTree

from jaxdnn.data.batches import shuffle
from jaxdnn.data.mnist import MNIST

__all__ = [
    "Batch",
    "Classifier",
    "History",
    "Loss",
    "StepInfo",
    "TrainState",
    "accuracy",
    "fit",
    "train_batches",
    "train_classifier",
    "train_epoch",
    "train_on_batch",
    "train_step",
    "train_steps",
]

Params = PyTree[Float[Array, "..."]]

Batch = tuple[Array | np.ndarray, ...]
"""Arrays whose first axis counts the same samples: inputs and labels, say."""

Loss = Callable[..., Float[Array, ""]]
"""``loss(params, *batch) -> scalar``."""


class TrainState(NamedTuple):
    """What a step takes and returns.

    Attributes:
      params: the network's parameters.
      opt_state: the optimiser's state, momentum and the like.
    """

    params: Params
    opt_state: optax.OptState

    def __repr__(self) -> str:
        """Sizes only: a network's numbers would fill pages."""
        sizes = [np.size(leaf) for leaf in jax.tree.leaves(self.params)]
        return f"TrainState({sum(sizes):,} parameters in {len(sizes)} arrays)"


class StepInfo(NamedTuple):
    """What a step reports; XLA drops what the caller does not use.

    Attributes:
      loss: a scalar, of the batch before the update.
      grads: the gradient of the loss, a tree like the parameters.
    """

    loss: Float[Array, ""]
    grads: Params


class History(NamedTuple):
    """What a run of several epochs reports.

    Attributes:
      losses: of every step, each before its update.
      test_accuracy: after every epoch, between 0 and 1; None where nothing is evaluated.
    """

    losses: Float[Array, "epochs steps"]
    test_accuracy: Float[Array, " epochs"] | None

    def __repr__(self) -> str:
        """Shapes only."""
        text = f"History(losses of shape {np.shape(self.losses)}"
        if self.test_accuracy is not None:
            text += f", test accuracy of shape {np.shape(self.test_accuracy)}"
        return text + ")"


def train_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, StepInfo]:
    r"""One step of gradient descent.

    .. math:: g_t = \nabla L(\theta_t; \text{batch}), \quad
              \theta_{t+1} = \theta_t + \text{update}(g_t)

    Args:
      loss: ``loss(params, *batch) -> scalar``.
      optimizer: any optax transformation.
      state: the parameters and the optimiser's state before the step.
      batch: arrays whose first axis counts the same samples.

    Returns:
      The state after the step, and the loss and its gradient before it.

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


def train_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    indices: Int[Array, "steps batch"],
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Several steps as one scan, each on the batch that a row of indices selects.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: before the first step.
      data: arrays whose first axis counts the samples.
      indices: the samples of each step's batch.

    Returns:
      The state after the last step, and the loss of every step before its update.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> state, losses = train_steps(
      ...     loss, optimizer, state, (jnp.array([1.0, 3.0]),), jnp.array([[0], [1]])
      ... )
      >>> print(state.params, losses)
      1.75 [1.   6.25]
    """
    data = tuple(jnp.asarray(array) for array in data)

    def step(state: TrainState, batch: Int[Array, " batch"]) -> tuple[TrainState, Array]:
        state, info = train_step(loss, optimizer, state, tuple(array[batch] for array in data))
        return state, info.loss

    return jax.lax.scan(step, state, indices)


def train_on_batch(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    steps: int,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Several steps as one scan, all on the same batch.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: before the first step.
      batch: as in `train_step`.
      steps: the number of steps.

    Returns:
      The state after the last step, and the loss of every step before its update.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> state, losses = train_on_batch(loss, optimizer, state, (jnp.ones(3),), steps=3)
      >>> print(state.params, losses)
      0.875 [1.     0.25   0.0625]
    """

    def step(state: TrainState, _: None) -> tuple[TrainState, Array]:
        state, info = train_step(loss, optimizer, state, batch)
        return state, info.loss

    return jax.lax.scan(step, state, length=steps)


def train_batches(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    permutation: Int[Array, " samples"],
    *,
    batch_size: int,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """A step on each batch of a permutation; the last batch may be smaller.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: before the first step.
      data: arrays whose first axis counts the samples.
      permutation: the samples in the order in which they are taken.
      batch_size: samples per step.

    Returns:
      The state after the last step, and the loss of every step before its update.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> data, permutation = (jnp.array([1.0, 3.0, 5.0]),), jnp.array([2, 0, 1])
      >>> _, losses = train_batches(loss, optimizer, state, data, permutation, batch_size=2)
      >>> print(losses)
      [13.    2.25]
    """
    full = len(permutation) // batch_size * batch_size
    batches, tail = permutation[:full].reshape(-1, batch_size), permutation[None, full:]
    state, losses = train_steps(loss, optimizer, state, data, batches)
    if tail.size:  # a smaller batch has another shape, so it cannot be part of the scan
        state, last = train_steps(loss, optimizer, state, data, tail)
        losses = jnp.concatenate([losses, last])
    return state, losses


def train_epoch(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    permutation: Key[Array, ""] | Int[Array | np.ndarray, " samples"],
    *,
    batch_size: int | None,
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Every sample once, in shuffled batches; the last one may be smaller.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: before the epoch.
      data: arrays whose first axis counts the samples.
      permutation: the samples in the order in which they are taken; or a key that decides it,
        by ``shuffle(key, samples)``.
      batch_size: samples per step; None for one step on all of them, in their own order.

    Returns:
      The state after the epoch, and the loss of every step before its update.

    Raises:
      ValueError: the arrays of ``data`` differ in their first axis, or the permutation is not of
        all samples.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> state, losses = train_epoch(
      ...     loss, optimizer, state, (jnp.arange(5.0),), jax.random.key(0), batch_size=2
      ... )
      >>> losses.shape
      (3,)
    """
    samples = len(data[0])
    if any(len(array) != samples for array in data):
        raise ValueError(f"data must have one first axis; got {[array.shape for array in data]}.")
    if batch_size is None:
        state, info = train_step(loss, optimizer, state, tuple(map(jnp.asarray, data)))
        return state, info.loss[None]
    permutation = jnp.asarray(permutation)
    if _is_key(permutation):
        permutation = shuffle(permutation, samples)
    elif permutation.shape != (samples,):
        raise ValueError(
            f"a permutation must have the shape of the samples, ({samples},), not "
            f"{permutation.shape}; or give a key, jax.random.key(seed)."
        )
    return train_batches(loss, optimizer, state, data, permutation, batch_size=batch_size)


def fit(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    data: Batch,
    permutations: Key[Array, ""] | Int[Array | np.ndarray, "run_epochs samples"],
    *,
    epochs: int | Int[Array, " epochs"],
    batch_size: int | None,
    evaluate: Callable[[Params], Float[Array, ""]] | None = None,
) -> tuple[TrainState, History]:
    """A whole run: a scan of `train_epoch` over the epochs, each followed by an evaluation.

    Args:
      loss: as in `train_step`.
      optimizer: as in `train_step`.
      state: before the first epoch.
      data: arrays whose first axis counts the samples.
      permutations: of the samples, one for each epoch, torch's for instance; or a key that decides
        them: that of epoch ``i`` is made from ``fold_in(key, i)``.
      epochs: how many; or their numbers, so that a run can be taken in pieces: epochs 0 to 4 are
        the same as ``jnp.arange(2)`` and then ``jnp.arange(2, 5)``.
      batch_size: as in `train_epoch`.
      evaluate: ``evaluate(params) -> test accuracy``, after every epoch; None for none.

    Returns:
      The state after the last epoch, and the history.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> optimizer = optax.sgd(0.25)
      >>> state = TrainState(jnp.array(0.0), optimizer.init(jnp.array(0.0)))
      >>> data, key = (jnp.ones(3),), jax.random.key(0)
      >>> state, history = fit(loss, optimizer, state, data, key, epochs=4, batch_size=None)
      >>> print(history.losses.ravel())
      [1.       0.25     0.0625   0.015625]
    """
    permutations = jnp.asarray(permutations)
    if not _is_key(permutations) and batch_size is not None:
        least = epochs if isinstance(epochs, int) else 1
        if permutations.ndim != 2 or len(permutations) < least:
            raise ValueError(
                f"permutations must have a row for each of the {least} epochs, not the shape "
                f"{permutations.shape}; or give a key, jax.random.key(seed)."
            )

    def epoch(state: TrainState, number: Int[Array, ""]) -> tuple[TrainState, History]:
        if _is_key(permutations):
            permutation = jax.random.fold_in(permutations, number)
        else:
            permutation = permutations[number]
        state, losses = train_epoch(
            loss, optimizer, state, data, permutation, batch_size=batch_size
        )
        return state, History(losses, None if evaluate is None else evaluate(state.params))

    numbers = jnp.arange(epochs) if isinstance(epochs, int) else epochs
    return jax.lax.scan(epoch, state, numbers)


def _is_key(argument: Any) -> bool:
    return jnp.issubdtype(argument.dtype, jax.dtypes.prng_key)


class Classifier(NamedTuple):
    """A network that classifies images, and how it is trained, as pure functions.

    Attributes:
      init: ``init(key, config) -> state``.
      loss: ``loss(params, images, labels) -> scalar``.
      optimizer: ``optimizer(config) -> transformation``.
      predict: ``predict(params, images) -> scores``.
    """

    init: Callable[..., TrainState]
    loss: Loss
    optimizer: Callable[[Any], optax.GradientTransformation]
    predict: Callable[..., Array]


def train_classifier(
    classifier: Classifier,
    state: TrainState,
    epochs: int | Int[Array, " epochs"],
    permutations: Key[Array, ""] | Int[Array | np.ndarray, "run_epochs samples"],
    config: Any,
    data: MNIST,
) -> tuple[TrainState, History]:
    """`fit` for a classifier of MNIST, evaluated on the test images after every epoch.

    Args:
      classifier: its functions.
      state: before the first epoch.
      epochs: as in `fit`.
      permutations: as in `fit`.
      config: hyperparameters, with a ``batch_size``.
      data: images as bytes, and labels.

    Returns:
      The state after the last epoch, and the history.
    """

    def evaluate(params: Params) -> Float[Array, ""]:
        return accuracy(partial(classifier.predict, params), data.test_images, data.test_labels)

    return fit(
        classifier.loss,
        classifier.optimizer(config),
        state,
        (data.train_images, data.train_labels),
        permutations,
        epochs=epochs,
        batch_size=config.batch_size,
        evaluate=evaluate,
    )


def accuracy(
    predict: Callable[[Array], Float[Array, "batch classes"]],
    inputs: Float[Array | np.ndarray, "samples ..."] | Integer[Array | np.ndarray, "samples ..."],
    labels: Integer[Array | np.ndarray, " samples"],
    *,
    batch_size: int = 1000,
) -> Float[Array, ""]:
    """The fraction of samples whose largest output is the labelled class.

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
