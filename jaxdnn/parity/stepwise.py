"""One step of the comparison: what the fold of `jaxdnn.parity.trajectory` does."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdnn.parity import float32, vacuity
from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import (
    Divergence,
    Errors,
    Observation,
    compare_step,
    largest_magnitude,
    phase_index,
    phase_of,
)
from jaxdnn.parity.port import Arrays, State
from jaxdnn.parity.runner import Runner
from jaxdnn.parity.source import Source

__all__ = [
    "TOLERANCE",
    "Carry",
    "Sides",
    "Taken",
    "advance",
    "is_comparable",
    "other_shape",
    "take",
]

TOLERANCE = 1e-12
"""In float64, relative to the largest magnitude of a tensor in the run so far: four orders above
one rounding, so that sums in another order pass, and far below what any mistake changes."""

_AMPLIFIED = 16
"""How many times the effect of one unit in the last place of the parameters passes as rounding. The
probe rounds once, at the parameters; a right port also rounds differently in every sum of the step,
which has the effect of several such units."""

Batches = Sequence[Sequence[np.ndarray]]


class Sides(NamedTuple):
    """What is compared.

    Attributes:
      source: torch's run.
      initial: its parameters and buffers before the first step.
      double: the port in float64.
      single: the port in float32, or None where float32 does not decide.
      exact: whether float64 decides. If not, the port goes on from torch's state where the two
        part.
      port_batches: the port's own batches, or None for torch's.
    """

    source: Source
    initial: Arrays
    double: Runner
    single: Runner | None
    exact: bool
    port_batches: Batches | None


class Carry(NamedTuple):
    """What one step passes to the next.

    Attributes:
      state: the port's, in float64.
      expected: torch's last step; before the first one, the initial arrays.
      actual: the port's last step; empty before the first one.
      steps: how many were compared.
      errors: the errors in float64 so far.
      evidence: what the run proves.
      roundings: the errors in float32 so far.
      incomparable: fields of torch's optimiser for which the port's state has another meaning.
      only_torch: keys that the port has no counterpart of.
      pending: the difference by which such a field was last recognised.
      resynchronised: the steps after which the port went on from torch's state.
    """

    state: State
    expected: Observation
    actual: Observation
    steps: int
    errors: Errors
    evidence: vacuity.Evidence
    roundings: float32.Roundings = float32.NO_ROUNDINGS
    incomparable: frozenset[str] = frozenset()
    only_torch: frozenset[str] = frozenset()
    pending: Divergence | None = None
    resynchronised: tuple[int, ...] = ()


class Taken(NamedTuple):
    """A step that the port took.

    Attributes:
      before: the state before it.
      batch: what it trained on.
      state: the state after it.
      seen: what it computed.
    """

    before: State
    batch: Sequence[np.ndarray]
    state: State
    seen: Observation


def take(runner: Runner, state: State, batch: Sequence[np.ndarray]) -> Taken:
    """Let the port take a step."""
    return Taken(state, batch, *running.observe(runner, state, batch))


def advance(
    sides: Sides, carry: Carry, expected: Observation, taken: Taken
) -> tuple[Carry, Divergence | None]:
    """Compare one step: what the fold does.

    Args:
      sides: what is compared.
      carry: from the steps before.
      expected: what torch computed.
      taken: what the port computed.

    Returns:
      The carry for the next step, and the divergence if the step is wrong.
    """
    compared, divergence = _compare(sides, carry, expected, taken)
    evidence = vacuity.step_seen(compared.evidence, sides.initial, expected, taken.seen)
    after = compared._replace(
        expected=expected, actual=taken.seen, steps=carry.steps + 1, evidence=evidence
    )
    return after, divergence


def _compare(
    sides: Sides, carry: Carry, expected: Observation, taken: Taken
) -> tuple[Carry, Divergence | None]:
    """The same with the state for the next step, and what was found of errors and gradients."""
    compared, found = _agrees(carry, expected, taken.seen)
    if found is None:
        return compared._replace(state=taken.state), None
    if found.phase != "batch":
        # Either the step is wrong, or rounding has grown over the steps before: one step from
        # torch's own state tells.
        resumed = running.resume(
            sides.double, _comparable(compared, carry.expected), carry.state.opt_state
        )
        again = take(sides.double, resumed, taken.batch)
        alone, found = _differs(compared._replace(errors=carry.errors), expected, again.seen)
        if found is None or _is_rounding(sides.double, alone, expected, again):
            state = _torchs_state(sides, alone, expected, again)
            resynchronised = (*carry.resynchronised, carry.steps)
            return alone._replace(state=state, resynchronised=resynchronised), None
    if not sides.exact:
        return compared._replace(state=_torchs_state(sides, compared, expected, taken)), None
    # If a state of the optimiser was set apart one step before, the mistake began there.
    pending = carry.pending
    if pending is not None and pending.step == carry.steps - 1:
        found = pending
    return compared._replace(state=taken.state), found


def _torchs_state(sides: Sides, carry: Carry, expected: Observation, taken: Taken) -> State:
    return running.resume(sides.double, _comparable(carry, expected), taken.state.opt_state)


def _agrees(
    carry: Carry, expected: Observation, actual: Observation
) -> tuple[Carry, Divergence | None]:
    """Compare all tensors, setting apart states of the optimiser that differ without effect.

    A momentum that has already been multiplied by the learning rate, for example, is another number
    and as right as torch's, as long as the parameters agree.
    """
    compared, found = _differs(carry, expected, actual)
    if found is None or found.phase != "optimizer":
        return compared, found
    tried, remaining = carry, found
    while remaining is not None and remaining.phase == "optimizer":
        incomparable = tried.incomparable | {_field(remaining.tensor)}
        tried, remaining = _differs(carry._replace(incomparable=incomparable), expected, actual)
    if remaining is not None:
        return compared, found
    return tried._replace(pending=found), None


def _differs(
    carry: Carry, expected: Observation, actual: Observation
) -> tuple[Carry, Divergence | None]:
    """Compare the tensors that both sides have and that are more than rounding."""
    evidence = vacuity.gradients_seen(carry.evidence, expected, actual)
    common = _comparable(carry, expected).keys() & actual.keys()
    ignored = vacuity.rounding_only(evidence, expected)
    theirs = {key: expected[key] for key in expected if key in common and key not in ignored}
    errors, found = carry.errors, other_shape(carry.steps, theirs, actual)
    if found is None:
        errors, found = compare_step(errors, carry.steps, theirs, actual, tolerance=TOLERANCE)
    only_torch = carry.only_torch | (expected.keys() - common)
    return carry._replace(errors=errors, evidence=evidence, only_torch=only_torch), found


def _is_rounding(runner: Runner, carry: Carry, expected: Observation, taken: Taken) -> bool:
    """Whether the step multiplies rounding so much that a right port is this far off.

    Then it moves as far when its parameters are changed by a unit in the last place.
    """
    signs = np.random.default_rng(carry.steps)

    def moved(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        towards = np.where(signs.random(leaf.shape) < 0.5, -np.inf, np.inf)
        return np.asarray(np.nextafter(leaf, towards))

    changed = taken.before._replace(params=jax.tree.map(moved, taken.before.params))
    after, other = taken.seen, take(runner, changed, taken.batch).seen
    for key in expected.keys() & after.keys():
        if phase_of(key) == "batch" or expected[key].shape != after[key].shape:
            continue
        scale = max(carry.errors.magnitudes.get(key, 0.0), largest_magnitude(expected[key]))
        amplified = _AMPLIFIED * largest_magnitude(other[key] - after[key])
        allowed = max(TOLERANCE * scale, amplified)
        # "not <=", so that NaN is no rounding.
        if not largest_magnitude(expected[key] - after[key]) <= allowed:
            return False
    return True


def _comparable(carry: Carry, observation: Observation) -> Observation:
    """Without the states that cannot be compared."""
    return {key: array for key, array in observation.items() if is_comparable(carry, key)}


def is_comparable(carry: Carry, key: str) -> bool:
    """Whether a tensor means the same on both sides; states of the optimiser may not."""
    return phase_of(key) != "optimizer" or _field(key) not in carry.incomparable


def _field(key: str) -> str:
    """What torch's optimiser calls a tensor, ``exp_avg`` in ``optimizer/weight/exp_avg``."""
    return key.rpartition("/")[2]


def other_shape(step: int, expected: Observation, actual: Observation) -> Divergence | None:
    """The first tensor, in the order of a step, whose shapes differ."""
    for key in sorted(expected, key=phase_index):
        ours, theirs = expected[key].shape, actual[key].shape
        if ours != theirs:
            sizes = expected[key].size, actual[key].size
            detail = f"torch has shape {ours}, the port {theirs}"
            return Divergence.of(step, key, *sizes, error=math.inf, detail=detail)
    return None
