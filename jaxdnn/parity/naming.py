"""Which mistake of the catalogue explains a divergence.

A name is given where the mistake, made on purpose, reproduces what the port does: a loss and its
gradient, an optimiser's updates step by step, or, for a layer, all that torch computes with it.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxdnn.parity import loss_mistakes, optimizer_mistakes
from jaxdnn.parity.compare import PHASES, Divergence, Observation, under
from jaxdnn.parity.port import Port, PortState, precision, step
from jaxdnn.parity.source import Batches, Source

__all__ = ["Name", "Rerun", "name"]

_SAME = 1e-11
"""Relative; what a mistake computes and what the port computes are then the same."""

_STEPS_BEYOND = 20
"""A mistake must explain so many steps after the first that it shows in."""


class Name(NamedTuple):
    """The mistake, if it is known.

    Attributes:
      trap: its name in `jaxdnn.parity.TRAPS`, or None.
      mended: what came of the comparison without it.
    """

    trap: str | None
    mended: str | None = None


class Rerun(NamedTuple):
    """What came of a comparison that was made again.

    Attributes:
      divergence: where the two part, or None.
      steps: how many were compared.
    """

    divergence: Divergence | None
    steps: int

    def __str__(self) -> str:
        """One clause."""
        if self.divergence is None:
            return f"the two agree over {_steps(self.steps)}"
        return f"the two part again at {self.divergence}"


def _steps(count: int) -> str:
    return f"{count} step{'s' * (count != 1)}"


Again = Callable[[Port, str | None, int], Rerun]


def name(
    source: Source,
    port: Port,
    divergence: Divergence,
    port_batches: Batches | None,
    again: Again,
) -> Name:
    """Find the mistake behind a divergence in float64.

    Args:
      source: torch's run.
      port: the port that parts from it.
      divergence: where.
      port_batches: the port's own batches, if it has any.
      again: compares once more, ``(port, mistake of a layer, steps) -> Rerun``.

    Returns:
      The name, if one mistake explains what the port does.
    """
    match divergence.phase:
        case "batch":
            assert port_batches is not None
            return Name(_data(source, port_batches, divergence))
        case "optimizer" | "param":
            found = _optimizer(source, port, divergence, again)
        case "loss":
            found = _loss(source, port, divergence, again)
        case "grad":
            found = _loss(source, port, divergence, again)
            found = found if found.trap else _layer(source, port, divergence, again)
        case "output" if _is_softmax(source, port):
            return Name("softmax-twice")
        case _:
            found = _layer(source, port, divergence, again)
    if found.trap is None and _narrows(source, port):
        return Name("reduced-precision")
    return found


def _is_softmax(source: Source, port: Port) -> bool:
    """Whether the port's network ends in a softmax that torch's does not have."""
    seen = _seen(source, 0)
    if port.stateful or seen["output"].ndim < 2:
        return False
    with precision("float64"):
        output = port.apply(_params(source, port), jnp.asarray(seen["batch/x"]))
        return _close(output, jax.nn.softmax(jnp.asarray(seen["output"]), axis=1))


def _seen(source: Source, number: int) -> Observation:
    """What a step of torch's computed."""
    return next(itertools.islice(source.steps(), number, None))


def _params(source: Source, port: Port) -> PyTree:
    """What the port starts from."""
    return jax.tree.map(jnp.asarray, port.from_torch(under("param/", source.start())))


def _loss(source: Source, port: Port, divergence: Divergence, again: Again) -> Name:
    seen = _seen(source, divergence.step)
    output, target = seen["output"], seen["batch/y"]
    with precision("float64"):
        output, target = jnp.asarray(output), jnp.asarray(target)
        ported = _value_and_slope(port.loss, output, target)
        if ported is None:
            return Name(None)
        for loss, settings in _possible_losses(source, seen):
            right = loss_mistakes.faithful(loss, settings)
            truth = _value_and_slope(right, output, target)
            for trap, mistaken in loss_mistakes.candidates(loss, settings):
                found = _value_and_slope(mistaken, output, target)
                if found is None or not all(map(_close, found, ported)):
                    continue
                # Of a single column, say, the mean over rows is the mean over all: no mistake.
                if truth is None or not all(map(_close, found, truth)):
                    mended = port._replace(loss=right)
                    return _mended(trap, mended, divergence, again)
    return Name(None)


def _possible_losses(source: Source, seen: Observation) -> Iterator[tuple[str, dict[str, Any]]]:
    """What torch's loss is known to be, or could be, by its value."""
    described = source.header["loss"]
    if described is not None:
        yield described["name"], described["settings"]
        return
    output, target = jnp.asarray(seen["output"]), jnp.asarray(seen["batch/y"])
    for loss, reduction in itertools.product(loss_mistakes.NAMES, ("mean", "sum")):
        settings = {"reduction": reduction}
        found = _value_and_slope(loss_mistakes.faithful(loss, settings), output, target)
        if found is not None and _close(found[0], seen["loss"]):
            yield loss, settings


def _value_and_slope(
    loss: Callable[..., Any], output: Any, target: Any
) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        value, slope = jax.value_and_grad(loss)(output, target)
    except (TypeError, ValueError, IndexError):
        return None  # of shapes or types that this loss does not take
    return np.asarray(value), np.asarray(slope)


def _optimizer(source: Source, port: Port, divergence: Divergence, again: Again) -> Name:
    header = source.header
    right = optimizer_mistakes.faithful(header)
    if _is_unused(source, divergence):
        return Name("unused-parameter")
    if right is None:
        return Name(None)
    rivals = list(optimizer_mistakes.candidates(header))
    steps = divergence.step + 1 + _STEPS_BEYOND
    with precision("float64"):
        stream = _updates(source, port, [port.optimizer, *(o for _, o in rivals)], steps)
        alive = set(range(len(rivals)))
        for ported, *others in stream:
            alive = {i for i in alive if _trees_close(others[i], ported)}
    if not alive:
        return Name(None)
    return _mended(rivals[min(alive)][0], port._replace(optimizer=right), divergence, again)


def _mended(trap: str, port: Port, divergence: Divergence, again: Again) -> Name:
    """The name, unless the mended port still parts from torch where it did."""
    result = again(port, None, divergence.step + 1 + _STEPS_BEYOND)
    after = result.divergence
    if not result.steps:
        return Name(trap)
    if after is not None and _place(after) <= _place(divergence):
        return Name(None)
    return Name(trap, str(result))


def _place(divergence: Divergence) -> tuple[int, int]:
    return divergence.step, PHASES.index(divergence.phase)


def _updates(
    source: Source, port: Port, optimizers: list[optax.GradientTransformation], steps: int
) -> Iterator[list[PyTree]]:
    """What each transformation makes of torch's gradients and parameters."""
    params = _params(source, port)
    states = [jax.tree.map(_widest, optimizer.init(params)) for optimizer in optimizers]
    updates = [optimizer.update for optimizer in optimizers]
    if steps > 2 * _STEPS_BEYOND:
        updates = [jax.jit(update) for update in updates]
    for seen in itertools.islice(source.steps(), steps):
        after = under("param/", seen)
        zeros = {name: np.zeros_like(array) for name, array in after.items()}
        grads = port.from_torch(zeros | under("grad/", seen))
        results = [u(grads, s, params) for u, s in zip(updates, states, strict=True)]
        states = [state for _, state in results]
        yield [update for update, _ in results]
        params = port.from_torch(after)


def _widest(leaf: Any) -> Any:
    """Floats and counts in 64 bits, as the comparison has them."""
    kind = {"f": np.float64, "i": np.int64}.get(np.asarray(leaf).dtype.kind)
    return leaf if kind is None else jnp.asarray(leaf, kind)


def _is_unused(source: Source, divergence: Divergence) -> bool:
    """Whether torch leaves the parameter alone, though its optimiser would change it."""
    decays = (source.header["optimizer"]["settings"] or {}).get("weight_decay")
    tensor = divergence.tensor.rpartition("/")[0] or divergence.tensor
    start = source.start()
    if not decays or f"param/{tensor}" not in start:
        return False
    for seen in itertools.islice(source.steps(), divergence.step + 1):
        same = np.array_equal(seen[f"param/{tensor}"], start[f"param/{tensor}"])
        if not same or np.any(seen.get(f"grad/{tensor}", 0)):
            return False
    return bool(np.any(start[f"param/{tensor}"]))


def _layer(source: Source, port: Port, divergence: Divergence, again: Again) -> Name:
    steps = divergence.step + 1 + _STEPS_BEYOND // 2
    for mistake in source.mistakes():
        result = again(port, mistake, steps)
        if result.divergence is None and result.steps:
            trap = mistake.partition("@")[0].partition("/")[0]
            text = f"torch with the same mistake and the port agree over {_steps(result.steps)}"
            return Name(trap, text)
    return Name(None)


def _data(source: Source, port_batches: Batches, divergence: Divergence) -> str | None:
    ours, theirs = list(source.batches()), list(port_batches)
    if divergence.tensor == "number of batches" or divergence.step == len(ours) - 1:
        sizes = [len(x) for x, _ in ours], [len(x) for x, _ in theirs]
        if sizes[0][-1:] != sizes[1][-1:] or len(ours) != len(theirs):
            return "last-batch" if _rows(ours[:-1]) == _rows(theirs[: len(ours) - 1]) else None
    return "batch-order" if _rows(ours) == _rows(theirs) else None


def _rows(batches: Iterable[Sequence[np.ndarray]]) -> Counter[bytes]:
    """Every example with its target, however they are batched."""
    counts: Counter[bytes] = Counter()
    for x, y in batches:
        for row, target in zip(np.asarray(x), np.asarray(y), strict=False):
            both = np.asarray(row, float).tobytes() + np.asarray(target, float).tobytes()
            counts[hashlib.sha256(both).digest()] += 1
    return counts


def _narrows(source: Source, port: Port) -> bool:
    """Whether the port, given float64, converts it to fewer bits anywhere."""
    seen = _seen(source, 0)
    with precision("float64"):
        params = _params(source, port)
        buffers = jax.tree.map(jnp.asarray, under("buffer/", source.start()))
        state = PortState(params, port.optimizer.init(params), buffers)
        inputs = jnp.asarray(seen["batch/x"]), jnp.asarray(seen["batch/y"])
        program = jax.make_jaxpr(lambda *args: step(port, *args))(state, *inputs)
    return any(_is_narrowing(equation) for equation in _equations(program.jaxpr))


def _equations(program: Any) -> Iterator[Any]:
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _is_narrowing(equation: Any) -> bool:
    def widest(variables: Any) -> int:
        dtypes = (getattr(variable.aval, "dtype", None) for variable in variables)
        floats = [d for d in dtypes if d is not None and jnp.issubdtype(d, jnp.floating)]
        return max((jnp.finfo(d).bits for d in floats), default=0)

    return widest(equation.invars) == 64 and 0 < widest(equation.outvars) < 64


def _trees_close(one: PyTree, other: PyTree) -> bool:
    return all(map(_close, jax.tree.leaves(one), jax.tree.leaves(other)))


def _close(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    finite = np.isfinite(one) & np.isfinite(other)
    scale = np.max(np.abs(other), initial=0.0, where=finite)
    near = np.abs(np.where(finite, one - other, 0.0)) <= _SAME * scale
    return bool(np.all(np.where(finite, near, (one == other) | (np.isnan(one) & np.isnan(other)))))
