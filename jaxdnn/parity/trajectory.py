"""A port beside torch's run, step by step: a fold over the steps.

`follow` carries the port's state and what has been found so far (`Carry`) over torch's recorded
steps with `advance`, ``(carry, expected, actual) -> (carry, divergence)``, and ends at the first
divergence in float64. Where rounding has grown beyond the tolerance while the step itself agrees,
the port goes on from torch's state. `jaxdnn.parity.verdict` makes a report of the result, and
`jaxdnn.parity.naming` names the mistake.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdnn.parity import float32, vacuity
from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import Divergence, Errors, Observation, compare_step, under
from jaxdnn.parity.port import Arrays, Port, State
from jaxdnn.parity.source import Source
from jaxdnn.parity.stepwise import Carry, Sides, advance, is_comparable, other_shape, take

__all__ = ["Result", "follow"]

Batches = Sequence[Sequence[np.ndarray]]


class Result(NamedTuple):
    """What came of a comparison.

    Attributes:
      sides: what was compared.
      carry: after the last step.
      divergence: where the two part in float64, or None.
    """

    sides: Sides
    carry: Carry
    divergence: Divergence | None


def follow(
    source: Source,
    port: Port,
    port_batches: Batches | None = None,
    *,
    precisions: Sequence[str] = ("float64", "float32"),
    recorded: Iterable[Arrays] | None = None,
) -> Result:
    """Compare a port with torch's run, up to the first divergence.

    Args:
      source: torch's run.
      port: the port.
      port_batches: the port's own batches; by default torch's.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      recorded: steps to compare with instead of the whole of torch's run.

    Returns:
      The result, for `jaxdnn.parity.verdict.report`.
    """
    sides = _sides(source, port, port_batches, precisions)
    state = running.initial_state(sides.double, sides.initial)
    evidence = vacuity.no_evidence(source.header, sides.initial)
    carry = Carry(state, sides.initial, {}, 0, Errors({}, {}), evidence)
    divergence = _initial_difference(sides, state)
    if divergence is not None:
        return Result(sides, carry, divergence)
    steps = source.steps(samples=sides.single is not None) if recorded is None else recorded
    for arrays in steps:
        expected, samples = _split(arrays)
        batch = _port_batch(sides, carry, expected)
        if batch is None:
            break
        before, taken = carry, take(sides.double, carry.state, batch)
        carry, divergence = advance(sides, carry, expected, taken)
        if divergence is not None:
            return Result(sides, carry, divergence)
        carry = _sample(sides, carry, before, samples)
    if recorded is None and port_batches is not None:
        divergence = _another_length(carry.steps, source, port_batches)
    return Result(sides, carry, divergence)


def _sides(
    source: Source, port: Port, port_batches: Batches | None, precisions: Sequence[str]
) -> Sides:
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
    betas = float32.betas_of(sides.source.header["optimizer"])
    for sample in samples:
        comparable = {
            key: array
            for key, array in sample.items()
            if is_comparable(carry, key.partition("/")[2])
        }
        roundings = float32.sample_seen(
            roundings,
            sides.single,
            comparable,
            before.state.opt_state,
            step=before.steps,
            betas=betas,
        )
    return carry._replace(roundings=roundings)


def _split(recorded: Mapping[str, np.ndarray]) -> tuple[Observation, list[Observation]]:
    """A recorded step: what happened in float64, and its float32 states."""
    seen, samples = {}, {}
    for key, array in recorded.items():
        if key.startswith("sample/"):
            _, number, name = key.split("/", 2)
            samples.setdefault(number, {})[name] = array
        else:
            seen[key] = array
    return seen, list(samples.values())


def _initial_difference(sides: Sides, state: State) -> Divergence | None:
    """Whether the port's parameters differ from torch's before the first step already."""
    returned = sides.double.layout.to_torch(state.params)
    back = {f"param/{name}": array for name, array in returned.items()}
    common = {key: sides.initial[key] for key in sides.initial.keys() & back.keys()}
    found = other_shape(0, common, back)
    if found is None:
        _, found = compare_step(Errors({}, {}), 0, common, back, tolerance=0.0)
    return None if found is None else dataclasses.replace(found, phase="start")


def _another_length(steps: int, source: Source, port_batches: Batches) -> Divergence | None:
    ours, theirs = source.header["steps"], len(port_batches)
    if ours == theirs:
        return None
    detail = f"torch has {ours} batches, the port {theirs}"
    return Divergence.of(
        steps, "batch/number of batches", ours, theirs, error=math.inf, detail=detail
    )
