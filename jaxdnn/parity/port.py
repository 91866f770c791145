"""A JAX port of a torch training run: its start, its step, and what is seen of it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxdnn.models import Params
from jaxdnn.parity import layout, states
from jaxdnn.parity.compare import Observation, under

__all__ = ["Arrays", "Port", "PortState", "Runner", "Seen", "Steps", "precision", "steps_of"]

Arrays = dict[str, np.ndarray]
Batch = Sequence[Any]

BATCH = ("batch/x", "batch/y")
"""What the arrays of a batch are called."""


class Port(NamedTuple):
    """What a user ported.

    Attributes:
      apply: ``(params, x) -> output``; if stateful, ``(params, buffers, x) -> (output, buffers)``,
        with buffers as arrays by torch name.
      loss: ``(output, target) -> scalar``.
      optimizer: any optax transformation.
      from_torch: from arrays by torch name to parameters.
      to_torch: its inverse, of any tree like the parameters; None to have it found.
      activations: ``(params, x) -> {name of a torch submodule: its output}``, or None.
      stateful: whether ``apply`` takes and returns buffers, the running statistics of a batch
        normalisation for instance.
    """

    apply: Callable[..., Any]
    loss: Callable[[Array, Array], Float[Array, ""]]
    optimizer: optax.GradientTransformation
    from_torch: Callable[[Arrays], PyTree]
    to_torch: Callable[[PyTree], Arrays] | None = None
    activations: Callable[[PyTree, Array], Mapping[str, Array]] | None = None
    stateful: bool = False


class PortState(NamedTuple):
    """What a step of a port takes and returns."""

    params: Params
    opt_state: optax.OptState
    buffers: dict[str, Array]


class Seen(NamedTuple):
    """What a step of a port reports."""

    loss: Array
    grads: Params
    output: Array | None = None
    activations: Mapping[str, Array] | None = None


class Steps(NamedTuple):
    """A training run in JAX, however it is written, as a comparison needs it.

    Attributes:
      step: ``(state, *batch) -> (state, seen)``, a pure function.
      init: ``params -> opt_state``.
      from_torch: from arrays by torch name to parameters.
      to_torch: its inverse, or None to have it found.
      stateful: whether the state has buffers.
      output: ``(state, x) -> output``, or None where there is no such thing.
    """

    step: Callable[..., tuple[PortState, Seen]]
    init: Callable[[Params], optax.OptState]
    from_torch: Callable[[Arrays], PyTree]
    to_torch: Callable[[PyTree], Arrays] | None = None
    stateful: bool = False
    output: Callable[[PortState, Array], Array] | None = None


def steps_of(port: Port) -> Steps:
    """The training run of a port."""

    def output(state: PortState, x: Array) -> Array:
        if port.stateful:
            return port.apply(state.params, state.buffers, x)[0]
        return port.apply(state.params, x)

    return Steps(
        partial(step, port),
        port.optimizer.init,
        port.from_torch,
        port.to_torch,
        port.stateful,
        output,
    )


def step(port: Port, state: PortState, x: Array, y: Array) -> tuple[PortState, Seen]:
    """One step of training, as a pure function."""

    def objective(params: Params) -> tuple[Array, tuple[Array, dict[str, Array]]]:
        if port.stateful:
            output, buffers = port.apply(params, state.buffers, x)
        else:
            output, buffers = port.apply(params, x), state.buffers
        return port.loss(output, y), (output, buffers)

    (loss, (output, buffers)), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    activations = None if port.activations is None else port.activations(state.params, x)
    updates, opt_state = port.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return PortState(params, opt_state, buffers), Seen(loss, grads, output, activations)


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX in one floating-point type, whatever the caller has set, with exact products.

    Args:
      dtype: ``"float32"`` or ``"float64"``.
    """
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        yield


class Runner:
    """A training run in one floating-point type: its states and observations, compiled once.

    Attributes:
      dtype: ``"float32"`` or ``"float64"``.
      layout: the way back to torch, and what has no counterpart there.
    """

    def __init__(
        self, run: Steps, dtype: str, shapes: Mapping[str, tuple[int, ...]], optimizer: str | None
    ) -> None:
        self.dtype, self._run, self._optimizer = dtype, run, optimizer
        with precision("float64"):
            if run.to_torch is None:
                self.layout = layout.trace(run.from_torch, shapes)
            else:
                self.layout = layout.Layout(run.to_torch, (), ())
        self._step = jax.jit(run.step)
        self._output = None if run.output is None else jax.jit(run.output)

    def start(self, tensors: Mapping[str, np.ndarray]) -> PortState:
        """The state from which torch starts.

        Args:
          tensors: arrays called ``param/…`` and ``buffer/…``, of any floating-point type.

        Returns:
          The port's state, of this runner's type.

        Raises:
          ValueError: ``from_torch`` makes another type of them.
        """
        with precision(self.dtype):
            params, buffers = self._parameters(tensors), self._buffers(tensors)
            # What a transformation keeps in float32 would hide the mathematics in rounding.
            opt_state = jax.tree.map(self._cast, self._run.init(params))
            return PortState(params, opt_state, buffers)

    def resume(self, tensors: Mapping[str, np.ndarray], opt_state: optax.OptState) -> PortState:
        """The state that torch is in.

        Args:
          tensors: arrays called ``param/…``, ``buffer/…`` and ``optimizer/…``.
          opt_state: what the tensors do not say, its counts for instance, of any type.

        Returns:
          The port's state, of this runner's type.
        """
        moments = {
            key: array.astype(self.dtype)
            for key, array in tensors.items()
            if key.startswith("optimizer/")
        }
        with precision(self.dtype):
            params, buffers = self._parameters(tensors), self._buffers(tensors)
            opt_state = jax.tree.map(self._cast, opt_state)
            opt_state = states.restore(
                opt_state, moments, self._from_torch, like=params, optimizer=self._optimizer
            )
        return PortState(params, opt_state, buffers)

    def step(self, state: PortState, batch: Batch) -> tuple[PortState, Observation]:
        """Train on one batch, and say what happened, under torch's names."""
        with precision(self.dtype):
            arrays = [self._cast(np.asarray(array)) for array in batch]
            try:
                state, seen = self._step(state, *arrays)
            except TypeError as error:
                if "cond" not in str(error) or self.dtype != "float64":
                    raise
                raise ValueError(
                    "The port's optimiser keeps a state in float32 even where all else is float64, "
                    "so its mathematics cannot be told from rounding; optax.MultiSteps does not "
                    f"with accumulator_dtype=None. ({error})"
                ) from error
            observation: Observation = dict(zip(BATCH, map(np.asarray, arrays), strict=False))
            for name, array in (seen.activations or {}).items():
                observation[f"activation/{name}"] = np.asarray(array)
            if seen.output is not None:
                observation["output"] = np.asarray(seen.output)
            if self._run.stateful:
                observation |= {f"buffer/{k}": np.asarray(v) for k, v in state.buffers.items()}
            observation["loss"] = np.asarray(seen.loss)
            to_torch = self.layout.to_torch
            observation |= {f"grad/{k}": v for k, v in to_torch(seen.grads).items()}
            observation |= states.optimizer_tensors(
                state.opt_state, to_torch, like=state.params, optimizer=self._optimizer
            )
            observation |= {f"param/{k}": v for k, v in to_torch(state.params).items()}
        return state, observation

    def train(self, state: PortState, batch: Batch) -> PortState:
        """Train on one batch."""
        with precision(self.dtype):
            return self._step(state, *(self._cast(np.asarray(array)) for array in batch))[0]

    def output(self, state: PortState, x: np.ndarray) -> np.ndarray | None:
        """What the network says of a batch; None where there is no such thing."""
        if self._output is None:
            return None
        with precision(self.dtype):
            return np.asarray(self._output(state, self._cast(np.asarray(x))))

    def _parameters(self, tensors: Mapping[str, np.ndarray]) -> Params:
        params = self._run.from_torch(self._of(tensors, "param/"))
        params = jax.device_put(params)
        wrong = {str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {self.dtype}
        if wrong:
            raise ValueError(
                f"from_torch makes {' and '.join(sorted(wrong))} of {self.dtype} arrays; it must "
                "keep the type it is given."
            )
        return params

    def _buffers(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Array]:
        return jax.device_put(self._of(tensors, "buffer/"))

    def _from_torch(self, tensors: Arrays) -> PyTree:
        return jax.device_put(self._run.from_torch(tensors))

    def _of(self, tensors: Mapping[str, np.ndarray], prefix: str) -> Arrays:
        found = under(prefix, tensors)
        return {name: np.asarray(array, self.dtype) for name, array in found.items()}

    def _cast(self, array: Any) -> Array:
        """Floats of this runner's type; counts, which schedules divide, as wide as those."""
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return array
        array = np.asarray(array)
        if array.dtype.kind == "f":
            return jax.device_put(array.astype(self.dtype))
        if array.dtype == np.int32 and self.dtype == "float64":
            array = array.astype(np.int64)
        return jax.device_put(array.astype(jax.dtypes.canonicalize_dtype(array.dtype)))
