"""What a row of the table of workflows is made of: its port, and its torch side."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxdnn.data.mnist import MNIST
from jaxdnn.parity.port import Arrays, Port, State
from jaxdnn.training import StepInfo, TrainState, train_step

__all__ = [
    "Case",
    "TorchSide",
    "bare",
    "bare_torch",
    "named",
    "named_in_place",
    "network",
    "network_torch",
    "outputs",
    "reference_module",
]

Batch = tuple[np.ndarray, ...]
Taken = tuple[State, StepInfo, Mapping[str, jax.Array]]


class TorchSide(NamedTuple):
    """A row in torch.

    Attributes:
      initial: the initial parameters by torch name, in float32.
      batches: what it trains on.
      stepper: makes what trains, a `reference_torch.parity.trajectory.Stepper`.
      optimizer: the class of its optimiser, or None.
    """

    initial: Arrays
    batches: Sequence[Batch]
    stepper: Callable[[], Any]
    optimizer: str | None = None


class Case(NamedTuple):
    """A row in both frameworks.

    Attributes:
      workflow: its id.
      port: makes its JAX side.
      torch: ``torch(data, steps)`` makes its torch side with at most that many batches; ``data`` is
        MNIST or None.
      needs_mnist: whether it needs MNIST.
    """

    workflow: str
    port: Callable[[], Port]
    torch: Callable[[MNIST | None, int], TorchSide]
    needs_mnist: bool = False


def reference_module(name: str) -> Any:
    """A module of `reference_torch`, imported when it is needed, since torch may be missing."""
    return importlib.import_module(f"reference_torch.{name}")


def bare(step: Callable[..., Any]) -> Port:
    """A step written from scratch, ``(params, *batch) -> (params, info)``, as a port."""

    def taken(state: State, batch: tuple[Any, ...]) -> Taken:
        params, info = step(state.params, *batch)
        return state._replace(params=params), StepInfo(info.loss, info.grads), {}

    def from_torch(tensors: Arrays) -> dict[str, jax.Array]:
        return jax.device_put(dict(tensors))

    return Port(None, None, optax.identity(), from_torch, step=taken)


def network(loss: Callable[..., Any], optimizer: optax.GradientTransformation) -> Port:
    """A network under an optimiser, which trains by `jaxdnn.training.train_step`, as a port.

    Args:
      loss: ``loss(params, *batch) -> scalar``.
      optimizer: any optax transformation.
    """

    def taken(state: State, batch: tuple[Any, ...]) -> Taken:
        before = TrainState(state.params, state.opt_state)
        after, info = train_step(loss, optimizer, before, batch)
        return State(after.params, after.opt_state, state.buffers), info, {}

    return Port(None, None, optimizer, step=taken)


def named(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step of one array, as a step of ``{"w": array}``."""

    def taken(params: Mapping[str, Any], *batch: Any) -> Any:
        w, info = step(params["w"], *batch)
        return {"w": w}, info._replace(grads={"w": info.grads})

    return taken


def named_in_place(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a torch step, which changes its tensor in place."""

    def taken(params: Mapping[str, Any], *batch: Any) -> Any:
        info = step(params["w"], *batch)
        return info._replace(grads={"w": info.grads})

    return taken


def bare_torch(
    initial: Mapping[str, Any],
    batches: Sequence[Batch],
    step: Callable[..., Any],
    *,
    tracked: bool = True,
) -> TorchSide:
    """A torch step written from scratch, ``step(params, *batch) -> info``."""
    arrays = {name: np.asarray(array, np.float32) for name, array in initial.items()}
    stepper = reference_module("parity.workflow_steps").BareStepper
    return TorchSide(arrays, batches, lambda: stepper(arrays, step, tracked=tracked))


def network_torch(
    initial: Arrays,
    batches: Sequence[Batch],
    module: Callable[[], Any],
    loss: Callable[..., Any],
    optimizer: Callable[[Any], Any],
) -> TorchSide:
    """A torch module under an optimiser.

    Args:
      initial: its parameters by name.
      batches: what it trains on.
      module: makes the module.
      loss: ``loss(module, *batch) -> scalar``.
      optimizer: makes the optimiser of a module.
    """
    stepper = reference_module("parity.workflow_steps").NetworkStepper
    name = type(optimizer(module())).__name__
    return TorchSide(initial, batches, lambda: stepper(module(), initial, loss, optimizer), name)


def outputs(criterion: Callable[..., Any]) -> Callable[..., Any]:
    """A criterion of outputs as a loss of a module; torch's class indices are 64-bit integers."""
    return lambda module, x, y: criterion(module(x), y if y.is_floating_point() else y.long())
