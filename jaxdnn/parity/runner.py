"""A port in one floating-point type: its states set from torch's tensors, its steps observed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxdnn.parity import states, widening
from jaxdnn.parity.compare import Observation, under
from jaxdnn.parity.layout import Layout, checked, trace
from jaxdnn.parity.port import Arrays, Port, State, named_batch, predict, take_step

__all__ = [
    "Runner",
    "constants",
    "in_torch",
    "initial_state",
    "layout_of",
    "make_runner",
    "narrowings",
    "observe",
    "output",
    "precision",
    "quickly_compiled",
    "resume",
    "train",
    "update",
]


@contextlib.contextmanager
def precision(dtype: str) -> Iterator[None]:
    """JAX in one floating-point type, whatever the caller has set, with exact products.

    Args:
      dtype: ``"float32"`` or ``"float64"``.
    """
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        yield


def quickly_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, jitted without LLVM's optimisations.

    For programs that run once or twice, compiling without them takes a fifth of the time, and saves
    more than they do.
    """
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


class Runner(NamedTuple):
    """A port in one floating-point type.

    Attributes:
      port: the port.
      dtype: ``"float32"`` or ``"float64"``.
      layout: how torch's parameters lie in the port's.
      optimizer: the class of torch's optimiser, or None.
      step: `take_step` of the port, jitted; in float64, without its narrower types.
      predict: ``(state, x) -> output``, likewise; None for a port that has no such function.
      update: ``(gradients, opt_state, params) -> (params, opt_state)``, the optimiser alone.
    """

    port: Port
    dtype: str
    layout: Layout
    optimizer: str | None
    step: Any
    predict: Callable[..., Any] | None
    update: Callable[..., Any]


def layout_of(port: Port, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """The way from the port's parameters back to torch's, of these shapes by name."""
    with precision("float64"):
        if port.to_torch is not None:
            return checked(port.from_torch, port.to_torch, shapes)
        return trace(port.from_torch, shapes)


def make_runner(port: Port, dtype: str, layout: Layout, optimizer: str | None) -> Runner:
    """A port in a floating-point type; its functions are compiled when they are first called."""
    prepared = _Wide if dtype == "float64" else jax.jit
    return Runner(
        port,
        dtype,
        layout,
        optimizer,
        prepared(partial(take_step, port)),
        None if port.step is not None else prepared(lambda state, x: predict(port, state, x)[0]),
        quickly_compiled(partial(_update, port.optimizer)),
    )


def _update(
    optimizer: optax.GradientTransformation, grads: PyTree, opt_state: Any, params: PyTree
) -> tuple[PyTree, Any]:
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


class _Wide:
    """A jitted function, evaluated in float64 throughout if it narrows anything by itself."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._jitted = function, jax.jit(function)
        self._known = False
        self.constants: list[widening.Constant] = []

    def __call__(self, *args: Any) -> Any:
        if not self._known:
            # Tracing is shared with the call below.
            program = self._jitted.trace(*args).jaxpr
            if widening.narrows(program):
                self._jitted = jax.jit(widening.widened(self._function))
                self.constants = widening.rounded_constants(program)
            self._known = True
        return self._jitted(*args)


def initial_state(runner: Runner, tensors: Mapping[str, np.ndarray]) -> State:
    """The state in which torch's run begins.

    Args:
      runner: the port.
      tensors: arrays called ``param/…`` and ``buffer/…``, of any floating-point type.

    Returns:
      The port's state, of the runner's type.

    Raises:
      ValueError: ``from_torch`` makes another type of them.
    """
    with precision(runner.dtype):
        params, buffers = _parameters(runner, tensors), _buffers(runner, tensors)
        # What a transformation keeps in float32 would hide the mathematics in rounding.
        opt_state = jax.tree.map(partial(_cast, runner), runner.port.optimizer.init(params))
        return State(params, opt_state, buffers)


def resume(runner: Runner, tensors: Mapping[str, np.ndarray], opt_state: optax.OptState) -> State:
    """The state that torch is in.

    Args:
      runner: the port.
      tensors: arrays called ``param/…``, ``buffer/…`` and ``optimizer/…``.
      opt_state: what the tensors do not say, such as its counts, of any type.

    Returns:
      The port's state, of the runner's type.
    """
    moments = {
        key: array.astype(runner.dtype)
        for key, array in tensors.items()
        if key.startswith("optimizer/")
    }
    with precision(runner.dtype):
        params, buffers = _parameters(runner, tensors), _buffers(runner, tensors)
        opt_state = states.restore(
            jax.tree.map(partial(_cast, runner), opt_state),
            moments,
            runner.port.from_torch,
            runner.layout.to_torch,
            like=params,
            tensors=_of_type(runner, tensors, "param/"),
            optimizer=runner.optimizer,
        )
    return State(params, opt_state, buffers)


def observe(runner: Runner, state: State, batch: Sequence[np.ndarray]) -> tuple[State, Observation]:
    """Train on one batch.

    Args:
      runner: the port.
      state: before the step.
      batch: its arrays.

    Returns:
      The state after the step, and everything that the step computed, under torch's names.

    Raises:
      ValueError: the optimiser keeps a state in float32 where all else is float64.
    """
    with precision(runner.dtype):
        arrays = _cast_batch(runner, batch)
        try:
            state, info, observed = runner.step(state, arrays)
        except TypeError as error:
            if runner.dtype != "float64" or "float32" not in str(error):
                raise
            raise ValueError(
                "The port cannot be run in float64: it makes a float32 array where it must keep "
                "the type of what it is given. For optax.MultiSteps, give accumulator_dtype=None; "
                "for a layer of flax with a state of its own, param_dtype and dtype. JAX says: "
                f"{_first_line(error)}"
            ) from error
        seen = {key: np.asarray(array) for key, array in named_batch(arrays).items()}
        seen |= {key: np.asarray(array) for key, array in observed.items()}
        seen |= {f"buffer/{name}": np.asarray(v) for name, v in _compared_buffers(runner, state)}
        seen["loss"] = np.asarray(info.loss)
        grads = runner.layout.to_torch(info.grads)
        seen |= {f"grad/{name}": array for name, array in grads.items()}
        seen |= in_torch(runner, state.params, state.opt_state)
    return state, seen


def in_torch(runner: Runner, params: PyTree, opt_state: optax.OptState) -> Observation:
    """Parameters and the optimiser's tensors under torch's names, in torch's layout."""
    to_torch = runner.layout.to_torch
    found = dict(
        states.optimizer_tensors(opt_state, to_torch, like=params, optimizer=runner.optimizer)
    )
    return found | {f"param/{name}": array for name, array in to_torch(params).items()}


def train(runner: Runner, state: State, batch: Sequence[np.ndarray]) -> State:
    """Train on one batch without observing it."""
    with precision(runner.dtype):
        return runner.step(state, _cast_batch(runner, batch))[0]


def update(runner: Runner, state: State, grads: Arrays) -> tuple[PyTree, optax.OptState]:
    """What the optimiser makes of a gradient.

    Args:
      runner: the port.
      state: the port's before the step.
      grads: by torch name.

    Returns:
      The parameters and the optimiser's state after the step.
    """
    with precision(runner.dtype):
        return runner.update(runner.port.from_torch(grads), state.opt_state, state.params)


def output(runner: Runner, state: State, x: np.ndarray) -> np.ndarray | None:
    """The network's output for a batch of inputs; None for a port that has no such function."""
    if runner.predict is None:
        return None
    with precision(runner.dtype):
        return np.asarray(runner.predict(state, _cast(runner, np.asarray(x))))


def constants(runner: Runner) -> list[widening.Constant]:
    """The float32 constants of a port that has taken a step in float64."""
    return runner.step.constants if isinstance(runner.step, _Wide) else []


def narrowings(
    runner: Runner, state: State, batch: Sequence[np.ndarray], *, below: int
) -> list[widening.Narrowing]:
    """Where the jitted step of a float32 port makes floating-point numbers of fewer bits."""
    with precision(runner.dtype):
        program = runner.step.trace(state, _cast_batch(runner, batch)).jaxpr
        return widening.narrowings(program, below=below)


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _compared_buffers(runner: Runner, state: State) -> list[tuple[str, Any]]:
    """None where the port takes no buffers: it then only carries torch's along."""
    return list(state.buffers.items()) if runner.port.stateful else []


def _parameters(runner: Runner, tensors: Mapping[str, np.ndarray]) -> PyTree:
    params = jax.tree.map(_array, runner.port.from_torch(_of_type(runner, tensors, "param/")))
    wrong = {str(leaf.dtype) for leaf in jax.tree.leaves(params)} - {runner.dtype}
    if wrong:
        raise ValueError(
            f"from_torch makes {' and '.join(sorted(wrong))} of {runner.dtype} arrays; it must "
            "keep the type it is given."
        )
    return params


def _array(leaf: Any) -> Any:
    # NumPy arrays stay as they are: a jitted function takes them faster than we could move them.
    if not isinstance(leaf, np.ndarray):
        return jnp.asarray(leaf)
    return leaf.astype(jax.dtypes.canonicalize_dtype(leaf.dtype), copy=False)


def _buffers(runner: Runner, tensors: Mapping[str, np.ndarray]) -> Arrays:
    floats = {k: v for k, v in tensors.items() if np.asarray(v).dtype.kind == "f"}
    return _of_type(runner, floats, "buffer/")


def _of_type(runner: Runner, tensors: Mapping[str, np.ndarray], prefix: str) -> Arrays:
    found = under(prefix, tensors)
    return {name: np.asarray(array, runner.dtype) for name, array in found.items()}


def _cast_batch(runner: Runner, batch: Sequence[np.ndarray]) -> tuple[Any, ...]:
    return tuple(_cast(runner, np.asarray(array)) for array in batch)


def _cast(runner: Runner, array: Any) -> Any:
    """Floats in the runner's type; counts, which schedules divide, as wide as those."""
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return array
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return array.astype(runner.dtype)
    if array.dtype == np.int32 and runner.dtype == "float64":
        array = array.astype(np.int64)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
