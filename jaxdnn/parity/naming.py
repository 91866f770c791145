"""Which mistakes of the catalogue explain a divergence.

A mistake is named only where making it reproduces the port's numbers: a loss and its gradient by
the output, an optimiser's updates step by step, or, for a layer, everything that torch computes
with it. What the mistake is taken from must reproduce torch's own numbers in the same way, so that
a loss which torch reduces by hand, say, is not mistaken for the library's.

A port may make several. After each one found, the comparison is repeated without it, until the two
agree or nothing in the catalogue explains what is left.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxdnn.parity import float32, trajectory, widening
from jaxdnn.parity.compare import (
    PHASES,
    Divergence,
    Observation,
    difference_of,
    largest_magnitude,
    phase_index,
    ratio,
    under,
)
from jaxdnn.parity.mistakes import data, losses, optimizers
from jaxdnn.parity.port import Port, take_step
from jaxdnn.parity.progress import tracked
from jaxdnn.parity.runner import precision
from jaxdnn.parity.source import Source
from jaxdnn.parity.trajectory import Result
from jaxdnn.parity.vacuity import ROUNDING

__all__ = ["Names", "name"]

_SAME = 1e-11
"""Relative: closer than this, a mistake and the port compute the same. Ten times the tolerance of
the comparison, since a mistake may be written with sums in yet another order."""

_STEPS_BEYOND = 20
"""A mistake must explain this many steps after the first that it shows in: two mistakes can agree
for one step, as a schedule and a learning rate do, but not for twenty."""

_MOST = 5
"""How many mistakes are looked for in one port."""

_FAR = 10.0
"""A tensor this far off, relatively, is wrong altogether; how much so does not count."""

_EXPLAINS = 0.7
"""One of several mistakes in the layers must bring torch at least this much nearer to the port."""


class Names(NamedTuple):
    """The mistakes, as far as they are known.

    Attributes:
      traps: their names in `jaxdnn.parity.TRAPS`, in the order in which they show.
      mended: the result of the comparison without them.
      unfinished: whether the time ran out.
    """

    traps: tuple[str, ...] = ()
    mended: str | None = None
    unfinished: bool = False


class Question(NamedTuple):
    """What is to be explained.

    Attributes:
      sides: torch's run and the port, compiled.
      divergence: where the two part.
      made: mistakes that torch's layers make, those found so far.
      deadline: the value of `time.monotonic` at which to give up.
    """

    sides: trajectory.Sides
    divergence: Divergence
    made: tuple[str, ...]
    deadline: float

    @property
    def source(self) -> Source:
        """Torch's run."""
        return self.sides.source

    @property
    def port(self) -> Port:
        """The port."""
        return self.sides.double.port

    @property
    def mistake(self) -> str | None:
        """What torch's layers are to do wrong."""
        return "+".join(self.made) or None

    @property
    def steps(self) -> int:
        """How many steps a mistake must explain."""
        return self.divergence.step + 1 + _STEPS_BEYOND

    def seen(self) -> Iterator[Observation]:
        """Torch's steps, with the mistakes found so far."""
        return self.source.steps(mistake=self.mistake)


class Found(NamedTuple):
    """A mistake, and what is left without it.

    Attributes:
      trap: its name.
      question: the port or torch, changed so that the two no longer differ by it.
      result: of the comparison of these.
    """

    trap: str
    question: Question
    result: Result


class _OutOfTimeError(Exception):
    """The budget is spent."""


def name(result: Result, *, seconds: float = math.inf) -> Names:
    """Find the mistakes behind a divergence.

    Args:
      result: of a comparison that found one.
      seconds: how long to look.

    Returns:
      The names, as far as they explain what the port does.
    """
    sides, divergence = result.sides, result.divergence
    if divergence is None:
        return _narrow(result)
    if divergence.phase == "batch":
        assert sides.port_batches is not None
        ours, theirs = list(sides.source.batches()), [tuple(batch) for batch in sides.port_batches]
        found = data.mistake_in(ours, theirs, divergence)
        return Names(() if found is None else (found,))
    if divergence.phase == "start":
        return Names()
    sides = sides._replace(exact=True, single=None)
    question = Question(sides, divergence, (), time.monotonic() + seconds)
    traps: list[str] = []
    mended = None
    try:
        while len(traps) < _MOST:
            found = _next(question)
            if found is None:
                break
            traps.append(found.trap)
            if found.result.divergence != question.divergence:
                mended = _outcome(found)
            if found.result.divergence in (None, question.divergence):
                break  # the second, where a network without its softmax has another output
            question = found.question._replace(divergence=found.result.divergence)
    except _OutOfTimeError:
        return Names(tuple(dict.fromkeys(traps)), mended, unfinished=True)
    return Names(tuple(dict.fromkeys(traps)), mended)


def _next(question: Question) -> Found | None:
    """The next mistake, cheap candidates first."""
    match question.divergence.phase:
        case "optimizer" | "param":
            looks = [_untrained, _optimizer]
        case "loss":
            looks = [_loss]
        case "grad":
            looks = [_loss, _layer]
        case _:
            looks = [_softmax, _layer]
    return next(filter(None, (look(question) for look in looks)), None)


def _outcome(found: Found) -> str:
    """What is left without the mistakes found so far."""
    result = found.result
    steps = f"{result.carry.steps} step{'s' * (result.carry.steps != 1)}"
    who = "torch with the same mistake and the port" if found.question.made else "the two"
    if result.divergence is not None:
        return f"{who} part again at {result.divergence}"
    largest = max(result.carry.errors.largest.values(), default=0.0)
    return f"{who} agree over {steps}, to {largest:.0e}"


def _again(question: Question, *, steps: int) -> Result | None:
    """Compare once more; None if the shapes do not fit."""
    if time.monotonic() > question.deadline:
        raise _OutOfTimeError
    try:
        result = trajectory.compare(question.sides, mistake=question.mistake, steps=steps)
        if result.divergence is not None and _is_small(result.divergence):
            result = trajectory.compare(
                question.sides, mistake=question.mistake, steps=steps, twins=True
            )
    except (TypeError, ValueError, RuntimeError, KeyError, IndexError):
        return None
    return result if result.carry.steps else None


def _is_small(divergence: Divergence) -> bool:
    """Whether it may be rounding, which twins would show."""
    return divergence.error < 1e-6 or divergence.phase in ("grad", "optimizer", "param")


def _tried(trap: str, question: Question, before: Divergence) -> Found | None:
    """The mistake, if the two part later without it, or not at all."""
    result = _again(question, steps=before.step + 1 + _STEPS_BEYOND)
    if result is None:
        return None
    after = result.divergence
    if after is not None and _place(after) <= _place(before):
        return None
    return Found(trap, question, result)


def _place(divergence: Divergence) -> tuple[int, int]:
    return divergence.step, PHASES.index(divergence.phase)


def _with_port(question: Question, **changes: Any) -> Question:
    """The question with another port."""
    port = question.port._replace(**changes)
    sides = trajectory.sides_of(question.source, port, question.sides.port_batches)
    return question._replace(sides=sides)


def _softmax(question: Question) -> Found | None:
    """A network that ends in a softmax which torch's does not have."""
    port, divergence = question.port, question.divergence
    seen = next(question.seen())
    if divergence.phase != "output" or port.apply is None or port.stateful:
        return None
    if seen["output"].ndim < 2:
        return None
    with precision("float64"):
        output = port.apply(_params(question), jnp.asarray(seen["batch/x"]))
        if not _close(output, jax.nn.softmax(jnp.asarray(seen["output"]), axis=1)):
            return None
    # Nothing to compare: without its softmax, the network's output is another one.
    result = trajectory.compare(question.sides, steps=0)
    return Found("softmax-twice", question, result._replace(differing=(divergence,)))


def _params(question: Question) -> PyTree:
    """The port's initial parameters."""
    tensors = under("param/", question.source.initial)
    return jax.tree.map(jnp.asarray, question.port.from_torch(tensors))


def _loss(question: Question) -> Found | None:
    port = question.port
    if port.loss is None:
        return None
    seen = next(itertools.islice(question.seen(), question.divergence.step, None))
    if "slope/output" not in seen:
        return None
    truth = seen["loss"], seen["slope/output"]
    with precision("float64"):
        output, target = jnp.asarray(seen["output"]), jnp.asarray(seen["batch/y"])
        ported = _value_and_slope(port.loss, output, target)
        if ported is None:
            return None
        found: dict[str, Callable[..., Any]] = {}
        for loss, settings in _possible_losses(question.source):
            right = losses.faithful(loss, settings)
            ours = _value_and_slope(right, output, target)
            # It must be what torch computes, and not only be called so.
            if ours is None or not _agree(ours, truth) or _agree(ours, ported):
                continue
            for trap, mistaken in losses.candidates(loss, settings):
                theirs = _value_and_slope(mistaken, output, target)
                if theirs is not None and _agree(theirs, ported):
                    found.setdefault(trap, right)
    for trap, right in found.items():
        fixed = _tried(trap, _with_port(question, loss=right), question.divergence)
        if fixed is not None:
            return fixed
    return None


def _agree(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(map(_close, one, other))


def _possible_losses(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    """What torch's loss is said to be, or could be."""
    described = source.header["loss"]
    if described is not None:
        yield described["name"], described["settings"]
        return
    for loss, reduction in itertools.product(losses.NAMES, ("mean", "sum")):
        yield loss, {"reduction": reduction}


def _value_and_slope(
    loss: Callable[..., Any], output: Any, target: Any
) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        value, slope = jax.value_and_grad(loss)(output, target)
    except (TypeError, ValueError, IndexError):
        return None  # the loss does not accept these shapes or types
    return np.asarray(value), np.asarray(slope)


def _untrained(question: Question) -> Found | None:
    """Parameters that torch leaves alone, and the port trains."""
    source, tensor = question.source, question.divergence.tensor
    if question.divergence.phase == "optimizer":
        tensor = tensor.rpartition("/")[0]
    initial = source.initial.get(f"param/{tensor}")
    if initial is None:
        return None
    frozen = tensor in source.header["frozen"]
    names = set(under("param/", source.initial))
    for seen in itertools.islice(question.seen(), question.divergence.step + 1):
        names &= {
            name
            for name, array in under("param/", seen).items()
            if np.array_equal(array, source.initial[f"param/{name}"])
            and (frozen or not np.any(seen.get(f"grad/{name}", 0)))
        }
    if tensor not in names:
        return None
    optimizer = _leaving_alone(question.port, names, source)
    trap = "frozen-parameter" if frozen else "unused-parameter"
    return _tried(trap, _with_port(question, optimizer=optimizer), question.divergence)


def _leaving_alone(
    port: Port, names: set[str], source: Source
) -> optax.GradientTransformationExtraArgs:
    """The port's optimiser, which does not change some parameters."""
    tensors = under("param/", source.initial)
    with precision("float64"):
        kept = port.from_torch(
            {name: np.full(a.shape, float(name not in names)) for name, a in tensors.items()}
        )
    optimizer = optax.with_extra_args_support(port.optimizer)

    def update(updates: PyTree, state: Any, params: Any = None, **extra: Any) -> Any:
        updates, state = optimizer.update(updates, state, params, **extra)
        return jax.tree.map(lambda u, k: u * jnp.asarray(k, u.dtype), updates, kept), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def _optimizer(question: Question) -> Found | None:
    source, port = question.source, question.port
    right = optimizers.faithful(source.header)
    if right is None:
        return None
    rivals = list(optimizers.candidates(source.header))
    with precision("float64"):
        tried = [port.optimizer, right, *(optimizer for _, optimizer in rivals)]
        alive, distinct = set(range(len(rivals))), set[int]()
        for truth, ported, faithful, *others in _updates(question, tried):
            if not _trees_close(faithful, truth):
                return None  # torch does something else than its description says
            alive = {i for i in alive if _trees_close(others[i], ported)}
            distinct |= {i for i in alive if not _trees_close(others[i], faithful)}
            if not alive:
                return None
    # One that does what torch does, where it counts, explains nothing.
    for number in sorted(alive & distinct):
        fixed = _with_port(question, optimizer=right)
        found = _tried(rivals[number][0], fixed, question.divergence)
        if found is not None:
            return found
    return None


def _updates(
    question: Question, transformations: list[optax.GradientTransformation]
) -> Iterator[list[PyTree]]:
    """Torch's updates, and those that each transformation makes of torch's gradients."""
    port, steps = question.port, question.steps
    params = _params(question)
    states = [jax.tree.map(_widest, optimizer.init(params)) for optimizer in transformations]
    updates = [optimizer.update for optimizer in transformations]
    # Some thirty candidates: compiling them costs more than a few dozen steps of each.
    if steps > 2 * _STEPS_BEYOND:
        updates = [jax.jit(update) for update in updates]
    noise: dict[str, np.ndarray] = {}
    scale = 0.0
    for seen in itertools.islice(question.seen(), steps):
        after = under("param/", seen)
        given = under("grad/", seen)
        scale = max([scale, *map(largest_magnitude, given.values())])
        for name_, grad in given.items():
            small = np.abs(grad) <= ROUNDING * scale
            noise[name_] = small if name_ not in noise else noise[name_] | small
        zeros = {name: np.zeros_like(array) for name, array in after.items()}
        grads = jax.tree.map(jnp.asarray, port.from_torch(zeros | given))
        new = port.from_torch(after)
        # Elements whose gradient is rounding, or nothing, are no evidence of any rule.
        counted = port.from_torch(
            {n: 1.0 - noise.get(n, np.zeros(a.shape, bool)) for n, a in after.items()}
        )
        results = [u(grads, s, params) for u, s in zip(updates, states, strict=True)]
        states = [state for _, state in results]
        truth = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), new, params)
        sizes = jax.tree.map(np.asarray, params)
        yield [
            jax.tree.map(_Update, update, counted, sizes)
            for update in (truth, *(update for update, _ in results))
        ]
        params = new


class _Update(NamedTuple):
    """An update of a parameter, where it counts, and the parameter."""

    values: Any
    counts: Any
    param: Any


def _widest(leaf: Any) -> Any:
    """Floats and counts in 64 bits, as in the comparison."""
    kind = {"f": np.float64, "i": np.int64}.get(np.asarray(leaf).dtype.kind)
    return leaf if kind is None else jnp.asarray(leaf, kind)


def _trees_close(one: PyTree, other: PyTree) -> bool:
    def is_update(node: Any) -> bool:
        return isinstance(node, _Update)

    pairs = zip(
        jax.tree.leaves(one, is_leaf=is_update),
        jax.tree.leaves(other, is_leaf=is_update),
        strict=True,
    )
    return all(_updates_close(a, b) for a, b in pairs)


def _updates_close(one: _Update, other: _Update) -> bool:
    a, b = (np.asarray(side.values) * np.asarray(one.counts) for side in (one, other))
    # An update that was read off as the difference of two parameters has their rounding.
    rounding = 4 * np.finfo(np.float64).eps * largest_magnitude(np.asarray(one.param))
    scale = largest_magnitude(b)
    return bool(np.all(np.abs(a - b) <= _SAME * scale + rounding))


def _layer(question: Question) -> Found | None:
    """Mistakes in torch's layers, of which each trains torch and compiles nothing."""
    before = question.divergence
    candidates = [m for m in question.source.mistakes() if m not in question.made]
    promising = _promising(question, candidates)
    for mistake in promising:
        trial = question._replace(made=(*question.made, mistake))
        found = _tried(_trap(mistake), trial, before)
        if found is not None:
            return found
    # None explains it alone: the one that explains most, if others explain the rest.
    return _partly(question, promising) if len(question.made) < _MOST else None


def _trap(mistake: str) -> str:
    return mistake.partition("@")[0].partition("/")[0]


def _promising(question: Question, candidates: list[str]) -> list[str]:
    """The candidates by their distance from the port in its first step, nearest first.

    Where the two part later than in the first step, a mistake may not show in it, and all remain.
    """
    if question.divergence.step:
        return candidates
    port = trajectory.first_step(question.sides)
    if port is None:
        return candidates
    phase = question.divergence.phase
    base = _distance(next(question.seen()), port, phase)
    distances = {}
    for mistake in tracked(candidates, len(candidates), "Looking for the mistake"):
        if time.monotonic() > question.deadline:
            raise _OutOfTimeError
        made = "+".join((*question.made, mistake))
        try:
            seen = next(question.source.steps(mistake=made))
        except (TypeError, ValueError, RuntimeError, IndexError):
            continue  # shapes that the network or its loss does not accept
        distance = _distance(seen, port, phase)
        if distance < _EXPLAINS * base:
            distances[mistake] = distance
    return sorted(distances, key=lambda mistake: distances[mistake])


def _distance(torch: Observation, port: Observation, phase: str) -> float:
    """Of what a step has computed up to a phase, relative to each tensor's size.

    What comes later may be off by other mistakes.
    """
    total = 0.0
    for key, array in torch.items():
        if key not in port or not PHASES.index("batch") < phase_index(key) <= PHASES.index(phase):
            continue
        if port[key].shape != array.shape:
            return math.inf
        furthest = float(np.max(difference_of(array, port[key]), initial=0.0))
        size = float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))
        total += min(ratio(furthest, size), _FAR)
    return total


def _partly(question: Question, promising: list[str]) -> Found | None:
    for mistake in promising[:3]:
        trial = question._replace(made=(*question.made, mistake))
        result = _again(trial, steps=question.divergence.step + 1)
        if result is None or result.divergence is None:
            continue
        rest = _layer(trial._replace(divergence=result.divergence))
        if rest is not None:
            return Found(_trap(mistake), trial, result)
    return None


def _narrow(result: Result) -> Names:
    """Fewer bits than float32, if the port passes without them."""
    sides = result.sides
    if sides.single is None:
        return Names()
    port = sides.double.port
    step = widening.widened(partial(take_step, port), "float32")
    single = sides.single._replace(step=jax.jit(step))
    again = trajectory.compare(sides._replace(single=single), twins=True, model=True)
    if float32.beyond(again.carry.roundings):
        return Names()
    return Names(("reduced-precision",), "in float32 throughout, the port rounds as torch does")


def _close(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    finite = np.isfinite(one) & np.isfinite(other)
    scale = np.max(np.abs(other), initial=0.0, where=finite)
    near = np.abs(np.where(finite, one - other, 0.0)) <= _SAME * scale
    return bool(np.all(np.where(finite, near, (one == other) | (np.isnan(one) & np.isnan(other)))))
