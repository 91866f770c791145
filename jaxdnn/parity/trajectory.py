"""A port beside torch's run, step by step: a fold over the steps.

`follow` carries the port's state and what has been found so far (`Carry`) over torch's recorded
steps with `advance`, ``(carry, expected, actual) -> (carry, differences)``, and ends at the first
step that differs in float64. Where the fixed tolerance finds a difference, the run is compared once
more beside twins of torch's run, which measure how far right runs are apart.
`jaxdnn.parity.verdict` makes a report of the result, and `jaxdnn.parity.naming` names the mistake.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdnn.parity import float32, vacuity
from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import (
    Divergence,
    Errors,
    Measured,
    Observation,
    compare_step,
    under,
    unread_by,
)
from jaxdnn.parity.port import Port, State
from jaxdnn.parity.progress import tracked
from jaxdnn.parity.source import Source
from jaxdnn.parity.stepwise import Carry, Sides, advance, is_comparable, other_shape, take

__all__ = ["Result", "compare", "first_step", "follow", "sides_of"]

Batches = Sequence[Sequence[np.ndarray]]

_OF_CONSTANTS = 1e-6
"""Relative: what rounding constants to float32 (6e-8) may change in a step, some layers on."""


class Result(NamedTuple):
    """What came of a comparison.

    Attributes:
      sides: what was compared.
      carry: after the last step.
      differing: the tensors that differ in float64 in the first step in which any does.
    """

    sides: Sides
    carry: Carry
    differing: tuple[Divergence, ...]

    @property
    def divergence(self) -> Divergence | None:
        """Where the two part in float64, or None."""
        return self.differing[0] if self.differing else None


def follow(
    source: Source,
    port: Port,
    port_batches: Batches | None = None,
    *,
    precisions: Sequence[str] = ("float64", "float32"),
) -> Result:
    """Compare a port with torch's run, up to the first divergence.

    Args:
      source: torch's run.
      port: the port.
      port_batches: the port's own batches; by default torch's.
      precisions: which of ``"float64"`` and ``"float32"`` decide.

    Returns:
      The result, for `jaxdnn.parity.verdict.report`.
    """
    sides = sides_of(source, port, port_batches, precisions)
    result = compare(sides)
    found = result.divergence
    if (found is not None and found.phase not in ("start", "batch")) or not sides.exact:
        result = compare(sides, twins=True)
    if result.differing and result.differing[0].error < _OF_CONSTANTS:
        result = _beside_constants(result)
        sides = result.sides
    if sides.single is None or result.differing:
        return result
    if float32.beyond(result.carry.roundings) and not result.carry.roundings.model:
        return compare(sides, twins=True, model=True)
    return result


def _beside_constants(result: Result) -> Result:
    """Compare less closely where the difference may be that of constants in float32.

    One side may hold a table in float32 that the other computes in float64. Their difference then
    says nothing, so each step is compared on its own, to what rounding a constant can change.
    Constants of which both sides hold the same numbers explain nothing.
    """
    sides = result.sides
    ours = running.constants(sides.double)
    header, digests = sides.source.header, sides.source.header.get("digests", {})
    # A port that takes buffers is given torch's.
    given = under("buffer/", sides.initial) if sides.double.port.stateful else {}
    shared = {constant.digest for constant in ours} & set(digests.values())
    constants = (
        *(
            f"torch's {name}"
            for name in header.get("constants", ())
            if name not in given and digests.get(name) not in shared
        ),
        *(f"the port's {constant.name}" for constant in ours if constant.digest not in shared),
    )
    if not constants:
        return result
    loose = sides._replace(tolerance=_OF_CONSTANTS, constants=constants)
    return compare(loose, twins=True)


def compare(
    sides: Sides,
    *,
    twins: bool = False,
    mistake: str | None = None,
    steps: int | None = None,
    model: bool = False,
) -> Result:
    """Compare once.

    Args:
      sides: what is compared.
      twins: whether the spread of torch's twins is allowed for.
      mistake: one that torch's layers are to make.
      steps: at most this many.
      model: whether torch is asked what random rounding does to its operations.
    """
    state = running.initial_state(sides.double, sides.initial)
    evidence = vacuity.no_evidence(sides.source.header, sides.initial)
    carry = Carry(state, sides.initial, {}, 0, Errors({}, {}), evidence)
    if differing := _initial_differences(sides, state):
        return Result(sides, carry, differing)
    samples = sides.single is not None
    recorded = sides.source.steps(samples=samples, mistake=mistake, twins=twins, model=model)
    number = sides.source.header["steps"] if steps is None else steps
    what = "with torch's twins" if twins else "with torch"
    for arrays in tracked(itertools.islice(recorded, steps), number, f"Comparing {what}"):
        expected, measured, sampled = _split(arrays, twins=twins)
        batch = _port_batch(sides, carry, expected)
        if batch is None:
            break
        carry = carry._replace(idle=frozenset(under("idle/", arrays)))
        before, taken = carry, take(sides.double, carry.state, batch)
        carry, differing = advance(sides, carry, expected, taken, measured)
        if differing:
            return Result(sides, carry, differing)
        carry = _sample(sides, carry, before, sampled)
        if carry.undetermined is not None:
            break
    if mistake is None and steps is None and sides.port_batches is not None:
        differing = _another_length(carry.steps, sides.source, sides.port_batches)
    else:
        differing = ()
    return Result(sides, carry, differing)


def first_step(sides: Sides) -> Observation | None:
    """What the port computes in the first step; None if its initial parameters differ."""
    state = running.initial_state(sides.double, sides.initial)
    if _initial_differences(sides, state):
        return None
    batch = sides.port_batches[0] if sides.port_batches else next(sides.source.batches())
    return take(sides.double, state, batch).seen


def sides_of(
    source: Source,
    port: Port,
    port_batches: Batches | None = None,
    precisions: Sequence[str] = ("float64",),
) -> Sides:
    """What is compared; the port's functions are compiled when they are first called."""
    initial, optimizer = source.initial, source.header["optimizer"]["name"]
    shapes = {name: array.shape for name, array in under("param/", initial).items()}
    layout = running.layout_of(port, shapes)
    double, single = (
        running.make_runner(port, dtype, layout, optimizer) for dtype in ("float64", "float32")
    )
    return Sides(
        source,
        initial,
        double,
        single if "float32" in precisions else None,
        "float64" in precisions,
        port_batches,
    )


def _port_batch(sides: Sides, carry: Carry, expected: Observation) -> Sequence[np.ndarray] | None:
    """What the port trains on next; None if it has no more batches."""
    if sides.port_batches is None:
        return list(under("batch/", expected).values())
    if carry.steps >= len(sides.port_batches):
        return None
    return sides.port_batches[carry.steps]


def _sample(sides: Sides, carry: Carry, before: Carry, samples: list[Observation]) -> Carry:
    """Take in the float32 states of a step; ``before`` is the carry before it."""
    if sides.single is None:
        return carry
    roundings = carry.roundings
    runners = float32.Runners(sides.double, sides.single)
    for sample in samples:
        comparable = {
            key: array
            for key, array in sample.items()
            if is_comparable(carry, key.partition("/")[2])
        }
        state = before.state.opt_state
        roundings = float32.sample_seen(
            roundings, runners, comparable, state, step=before.steps, noise=carry.noise
        )
    return carry._replace(roundings=roundings)


_BESIDE = ("spread/", "noise/", "faint/", "slope/", "idle/")
"""What torch's side tells about a step beside the step itself."""


def _split(
    recorded: Mapping[str, np.ndarray], *, twins: bool
) -> tuple[Observation, Measured, list[Observation]]:
    """A recorded step: what happened in float64, what the twins showed, the float32 states."""
    seen, samples = {}, {}
    for key, array in recorded.items():
        if key.startswith("sample/"):
            _, number, name = key.split("/", 2)
            samples.setdefault(number, {})[name] = array
        elif not key.startswith(_BESIDE) and key != "parted":
            seen[key] = array
    samples = list(samples.values())
    if not twins:
        return seen, Measured(), samples
    measured = Measured(
        under("spread/", recorded),
        under("noise/", recorded),
        under("faint/", recorded),
        unread=unread_by(under("slope/", recorded)),
        parted="parted" in recorded,
    )
    return seen, measured, samples


def _initial_differences(sides: Sides, state: State) -> tuple[Divergence, ...]:
    """Which of the port's parameters differ from torch's before the first step already."""
    returned = sides.double.layout.to_torch(state.params)
    back = {f"param/{name}": np.asarray(array) for name, array in returned.items()}
    common = {key: sides.initial[key] for key in sides.initial.keys() & back.keys()}
    shape = other_shape(0, common, back)
    if shape is not None:
        found: tuple[Divergence, ...] = (shape,)
    else:
        _, found = compare_step(Errors({}, {}), 0, common, back, tolerance=0.0)
    if not found and sides.double.layout.changed:
        name = sides.double.layout.changed[0]
        detail = "to_torch(from_torch(tensors)) returns other numbers than it was given"
        key = f"param/{name}"
        found = (Divergence.of(0, key, math.nan, math.nan, error=math.inf, detail=detail),)
    return tuple(dataclasses.replace(divergence, phase="start") for divergence in found)


def _another_length(steps: int, source: Source, port_batches: Batches) -> tuple[Divergence, ...]:
    ours, theirs = source.header["steps"], len(port_batches)
    if ours == theirs:
        return ()
    detail = f"torch has {ours} batches, the port {theirs}"
    key = "batch/number of batches"
    return (Divergence.of(steps, key, ours, theirs, error=math.inf, detail=detail),)
