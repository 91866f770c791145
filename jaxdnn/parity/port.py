"""A JAX port of a torch training run, and its training step as a pure function."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxdnn import torch_compat
from jaxdnn.training import StepInfo

__all__ = [
    "Arrays",
    "Batch",
    "Port",
    "State",
    "activations_of",
    "named_batch",
    "predict",
    "take_step",
]

Arrays = dict[str, np.ndarray]
Batch = tuple[Any, ...]


class State(NamedTuple):
    """What a step of a port takes and returns.

    `jaxdnn.training.TrainState` does not serve here: no network of this package has buffers, but
    somebody's port may.

    Attributes:
      params: the parameters.
      opt_state: the optimiser's state.
      buffers: arrays by torch name that are carried along without a gradient, such as the running
        statistics of a batch normalisation; empty for most networks.
    """

    params: PyTree
    opt_state: optax.OptState
    buffers: Mapping[str, Any]


Step = Callable[[State, Batch], tuple[State, StepInfo, Mapping[str, Array]]]


class Port(NamedTuple):
    """What a user ported: a network, a loss and an optimiser, or else a whole step.

    Attributes:
      apply: ``(params, x) -> output``; if stateful, ``(params, buffers, x) -> (output, buffers)``.
        None where ``step`` is given.
      loss: ``(output, target) -> scalar``. None where ``step`` is given.
      optimizer: any optax transformation.
      from_torch: from arrays by torch name to parameters.
      to_torch: its inverse, for any tree like the parameters; None to derive it from
        ``from_torch``.
      activations: ``(params, x) -> {name of a torch submodule: its output}``, or None.
      stateful: whether ``apply`` takes and returns buffers.
      step: a pure function that is used instead of the step made of the others,
        ``(state, batch) -> (state, info, further observations)``, the last an array for each key,
        such as ``output`` or ``activation/…``; None for the others' step.
    """

    apply: Callable[..., Any] | None
    loss: Callable[..., Float[Array, ""]] | None
    optimizer: optax.GradientTransformation
    from_torch: Callable[[Arrays], PyTree] = torch_compat.from_torch
    to_torch: Callable[[PyTree], Arrays] | None = None
    activations: Callable[[PyTree, Array], Mapping[str, Array]] | None = None
    stateful: bool = False
    step: Step | None = None


def take_step(
    port: Port, state: State, batch: Batch
) -> tuple[State, StepInfo, Mapping[str, Array]]:
    """One step of training.

    Args:
      port: the port.
      state: before the step.
      batch: arrays; of a port without a step of its own, inputs and targets.

    Returns:
      The state after the step, the loss and its gradient before it, and what else is compared, by
      key.
    """
    if port.step is not None:
        return port.step(state, batch)
    loss_of = port.loss
    assert loss_of is not None
    x, y = batch

    def objective(params: PyTree) -> tuple[Array, tuple[Any, Mapping[str, Array]]]:
        output, buffers = predict(port, state._replace(params=params), x)
        with _noting("loss", output=output, target=y):
            loss = loss_of(output, y)
        if np.ndim(loss):
            raise ValueError(
                f"The port's loss must be a scalar; it has shape {np.shape(loss)}. Take its mean "
                "or its sum, as torch's loss does."
            )
        return loss, (output, buffers)

    (loss, (output, buffers)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    activations = activations_of(port, state.params, x)
    updates, opt_state = port.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    observed = {f"activation/{name}": array for name, array in activations.items()}
    return State(params, opt_state, buffers), StepInfo(loss, grads), observed | {"output": output}


def predict(port: Port, state: State, x: Any) -> tuple[Any, Mapping[str, Array]]:
    """The network's output for a batch of inputs, and its buffers afterwards."""
    assert port.apply is not None
    if port.stateful:
        with _noting("apply", params=state.params, buffers=state.buffers, x=x):
            output, buffers = port.apply(state.params, state.buffers, x)
        return output, buffers
    with _noting("apply", params=state.params, x=x):
        return port.apply(state.params, x), state.buffers


def activations_of(port: Port, params: PyTree, x: Any) -> Mapping[str, Array]:
    """What the port gives as outputs of torch's submodules, by their names."""
    if port.activations is None:
        return {}
    with _noting("activations", params=params, x=x):
        activations = port.activations(params, x)
    if not isinstance(activations, Mapping):
        raise ValueError(
            "The port's activations must be a mapping from names of torch's submodules to arrays; "
            f"it returns a {type(activations).__name__}."
        )
    return activations


class _Bare(str):
    """Text that a container shows without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


@contextlib.contextmanager
def _noting(function: str, **arguments: Any) -> Iterator[None]:
    """Add to an error of a user's function, which may come from deep inside a library, its call."""
    try:
        yield
    except Exception as error:
        given = ", ".join(f"{name} {_abstract(value)}" for name, value in arguments.items())
        error.add_note(f"It was raised in the port's {function}, which was called with {given}.")
        raise


def _abstract(tree: PyTree, most: int = 400) -> str:
    """The types and shapes of a tree, cut to a number of characters."""

    def leaf(array: Any) -> _Bare:
        shape = ", ".join(map(str, np.shape(array)))
        return _Bare(f"{getattr(array, 'dtype', type(array).__name__)}[{shape}]")

    text = str(jax.tree.map(leaf, tree))
    return text if len(text) <= most else f"{text[:most]} ..."


def named_batch(batch: Batch) -> Mapping[str, Any]:
    """The arrays of a batch by key: ``batch/x``, ``batch/y``, and numbers for further ones.

    Example:
      >>> list(named_batch((0, 1, 2)))
      ['batch/x', 'batch/y', 'batch/2']
    """
    return {f"batch/{'xy'[i] if i < 2 else i}": array for i, array in enumerate(batch)}
