"""Which mistake of the catalogue explains a divergence.

A mistake is named where making it on purpose reproduces what the port does: a loss and its
gradient, an optimiser's updates step by step, or, for a layer, everything that torch computes with
it.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxdnn.parity import trajectory
from jaxdnn.parity.compare import PHASES, Divergence, Observation, under
from jaxdnn.parity.mistakes import data, losses, narrowing, optimizers
from jaxdnn.parity.port import Port, State, take_step
from jaxdnn.parity.runner import precision
from jaxdnn.parity.source import Batches, Source

__all__ = ["Name", "name"]

_SAME = 1e-11
"""Relative: closer than this, a mistake and the port compute the same. Ten times the tolerance of
the comparison, since a mistake may be written with sums in yet another order."""

_STEPS_BEYOND = 20
"""A mistake must explain this many steps after the first that it shows in: two mistakes can agree
for one step, as a schedule and a learning rate do, but not for twenty."""


class Name(NamedTuple):
    """The mistake, if it is known.

    Attributes:
      trap: its name in `jaxdnn.parity.TRAPS`, or None.
      mended: the result of the comparison without it.
    """

    trap: str | None
    mended: str | None = None


class Rerun(NamedTuple):
    """A comparison that was repeated.

    Attributes:
      divergence: where the two part, or None.
      steps: how many were compared.
    """

    divergence: Divergence | None
    steps: int

    def __str__(self) -> str:
        """One clause."""
        if self.divergence is None:
            return f"the two agree over {_count(self.steps)}"
        return f"the two part again at {self.divergence}"


class Question(NamedTuple):
    """What is to be explained.

    Attributes:
      source: torch's run.
      port: the port that parts from it in float64.
      divergence: where.
      port_batches: the port's own batches, if it has any.
    """

    source: Source
    port: Port
    divergence: Divergence
    port_batches: Batches | None

    @property
    def steps(self) -> int:
        """How many steps a mistake must explain."""
        return self.divergence.step + 1 + _STEPS_BEYOND


def _count(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"


def name(
    source: Source, port: Port, divergence: Divergence, port_batches: Batches | None = None
) -> Name:
    """Find the mistake behind a divergence in float64.

    Args:
      source: torch's run.
      port: the port that parts from it.
      divergence: where.
      port_batches: the port's own batches, if it has any.

    Returns:
      The name, if one mistake explains what the port does.
    """
    question = Question(source, port, divergence, port_batches)
    match divergence.phase:
        case "batch":
            assert port_batches is not None
            return Name(data.mistake_in(list(source.batches()), list(port_batches), divergence))
        case "optimizer" | "param":
            found = _optimizer(question)
        case "loss":
            found = _loss(question)
        case "grad":
            found = _loss(question)
            found = found if found.trap else _layer(question)
        case "output" if _is_softmax(source, port):
            return Name("softmax-twice")
        case _:
            found = _layer(question)
    if found.trap is None and _narrows(source, port):
        return Name("reduced-precision")
    return found


def _again(question: Question, *, mistake: str | None = None, steps: int) -> Rerun:
    """Compare once more, with a mistake in torch's layers or a changed port."""
    recorded = itertools.islice(question.source.steps(mistake=mistake), steps)
    try:
        result = trajectory.follow(
            question.source,
            question.port,
            question.port_batches,
            precisions=("float64",),
            recorded=recorded,
        )
    except (TypeError, ValueError, RuntimeError):
        # The mistake makes shapes that this network or its loss does not accept.
        return Rerun(None, 0)
    return Rerun(result.divergence, result.carry.steps)


def _is_softmax(source: Source, port: Port) -> bool:
    """Whether the port's network ends in a softmax that torch's does not have."""
    seen = _seen(source, 0)
    if port.apply is None or port.stateful or seen["output"].ndim < 2:
        return False
    with precision("float64"):
        output = port.apply(_params(source, port), jnp.asarray(seen["batch/x"]))
        return _close(output, jax.nn.softmax(jnp.asarray(seen["output"]), axis=1))


def _seen(source: Source, number: int) -> Observation:
    """What a step of torch's computed."""
    return next(itertools.islice(source.steps(), number, None))


def _params(source: Source, port: Port) -> PyTree:
    """The port's initial parameters."""
    return jax.tree.map(jnp.asarray, port.from_torch(under("param/", source.initial)))


def _loss(question: Question) -> Name:
    source, port = question.source, question.port
    if port.loss is None:
        return Name(None)
    seen = _seen(source, question.divergence.step)
    output, target = seen["output"], seen["batch/y"]
    with precision("float64"):
        output, target = jnp.asarray(output), jnp.asarray(target)
        ported = _value_and_slope(port.loss, output, target)
        if ported is None:
            return Name(None)
        for loss, settings in _possible_losses(source, seen):
            right = losses.faithful(loss, settings)
            truth = _value_and_slope(right, output, target)
            for trap, mistaken in losses.candidates(loss, settings):
                found = _value_and_slope(mistaken, output, target)
                if found is None or not all(map(_close, found, ported)):
                    continue
                # For a single column, say, the mean over rows is the mean over all: no mistake.
                if truth is None or not all(map(_close, found, truth)):
                    return _fixed(trap, question._replace(port=port._replace(loss=right)))
    return Name(None)


def _possible_losses(source: Source, seen: Observation) -> Iterator[tuple[str, dict[str, Any]]]:
    """What torch's loss is known to be, or could be, judging by its value."""
    described = source.header["loss"]
    if described is not None:
        yield described["name"], described["settings"]
        return
    output, target = jnp.asarray(seen["output"]), jnp.asarray(seen["batch/y"])
    for loss, reduction in itertools.product(losses.NAMES, ("mean", "sum")):
        settings = {"reduction": reduction}
        found = _value_and_slope(losses.faithful(loss, settings), output, target)
        if found is not None and _close(found[0], seen["loss"]):
            yield loss, settings


def _value_and_slope(
    loss: Callable[..., Any], output: Any, target: Any
) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        value, slope = jax.value_and_grad(loss)(output, target)
    except (TypeError, ValueError, IndexError):
        return None  # the loss does not accept these shapes or types
    return np.asarray(value), np.asarray(slope)


def _optimizer(question: Question) -> Name:
    source, port = question.source, question.port
    if _is_unused(source, question.divergence):
        return Name("unused-parameter")
    right = optimizers.faithful(source.header)
    if right is None:
        return Name(None)
    rivals = list(optimizers.candidates(source.header))
    with precision("float64"):
        tried = [port.optimizer, *(optimizer for _, optimizer in rivals)]
        alive = set(range(len(rivals)))
        for ported, *others in _updates(source, port, tried, question.steps):
            alive = {i for i in alive if _trees_close(others[i], ported)}
    if not alive:
        return Name(None)
    fixed = question._replace(port=port._replace(optimizer=right))
    return _fixed(rivals[min(alive)][0], fixed)


def _fixed(trap: str, question: Question) -> Name:
    """The name, unless the port without the mistake still parts from torch where it did."""
    result = _again(question, steps=question.steps)
    after = result.divergence
    if not result.steps:
        return Name(trap)
    if after is not None and _place(after) <= _place(question.divergence):
        return Name(None)
    return Name(trap, str(result))


def _place(divergence: Divergence) -> tuple[int, int]:
    return divergence.step, PHASES.index(divergence.phase)


def _updates(
    source: Source, port: Port, transformations: list[optax.GradientTransformation], steps: int
) -> Iterator[list[PyTree]]:
    """The updates that each transformation makes of torch's gradients and parameters."""
    params = _params(source, port)
    states = [jax.tree.map(_widest, optimizer.init(params)) for optimizer in transformations]
    updates = [optimizer.update for optimizer in transformations]
    # Some thirty candidates: compiling them costs more than a few dozen steps of each.
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
    """Floats and counts in 64 bits, as in the comparison."""
    kind = {"f": np.float64, "i": np.int64}.get(np.asarray(leaf).dtype.kind)
    return leaf if kind is None else jnp.asarray(leaf, kind)


def _is_unused(source: Source, divergence: Divergence) -> bool:
    """Whether torch does not change the parameter, though its optimiser would decay it."""
    decays = (source.header["optimizer"]["settings"] or {}).get("weight_decay")
    tensor = divergence.tensor.rpartition("/")[0] or divergence.tensor
    initial = source.initial.get(f"param/{tensor}")
    if not decays or initial is None:
        return False
    for seen in itertools.islice(source.steps(), divergence.step + 1):
        if not np.array_equal(seen[f"param/{tensor}"], initial) or np.any(
            seen.get(f"grad/{tensor}", 0)
        ):
            return False
    return bool(np.any(initial))  # a parameter of zeros would not decay visibly


def _layer(question: Question) -> Name:
    # Each candidate trains torch and compiles nothing, but there are dozens: half the steps.
    steps = question.divergence.step + 1 + _STEPS_BEYOND // 2
    for mistake in question.source.mistakes():
        result = _again(question, mistake=mistake, steps=steps)
        if result.divergence is None and result.steps:
            trap = mistake.partition("@")[0].partition("/")[0]
            text = f"torch with the same mistake and the port agree over {_count(result.steps)}"
            return Name(trap, text)
    return Name(None)


def _narrows(source: Source, port: Port) -> bool:
    """Whether the port, given float64, converts it to fewer bits anywhere in its step."""
    seen = _seen(source, 0)
    with precision("float64"):
        params = _params(source, port)
        buffers = jax.tree.map(jnp.asarray, under("buffer/", source.initial))
        state = State(params, port.optimizer.init(params), buffers)
        batch = tuple(map(jnp.asarray, under("batch/", seen).values()))
        return narrowing.narrows(partial(take_step, port), state, batch)


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
