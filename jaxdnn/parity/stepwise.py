"""One step of the comparison: what the fold of `jaxdnn.parity.trajectory` does."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxdnn.parity import float32, vacuity
from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import (
    SPREADS,
    Divergence,
    Errors,
    Measured,
    Observation,
    compare_step,
    index_of_largest,
    largest_magnitude,
    phase_index,
    phase_of,
    under,
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

_IN_FLOAT32 = 1e-5
"""Relative: a difference in float64 that float32 alone would show too, in every step."""

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
      tolerance: the largest relative error that passes in float64.
      constants: float32 constants, of either side, on which the other may differ by rounding. Where
        there are any, each step is compared on its own, from torch's state.
    """

    source: Source
    initial: Arrays
    double: Runner
    single: Runner | None
    exact: bool
    port_batches: Batches | None
    tolerance: float = TOLERANCE
    constants: tuple[str, ...] = ()


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
      pending: the differences by which such a field was last recognised.
      noise: for each parameter that has any, which elements have a gradient of rounding alone, and
        are moved by it.
      faint: likewise, and are not.
      unread: outputs and activations that differ at padded positions, which the loss ignores.
      unproved: those that differ elsewhere, where the loss did not read them in that step.
      resynchronised: the steps after which the port went on from torch's state, since torch's own
        twins had parted.
      measured: whether torch's twins were there to measure rounding.
      idle: what was given and has had no effect on torch's steps so far: ``before_step``, or the
        ``scheduler``.
      undetermined: the step from which on nothing was compared, since the twins had parted and a
        state of the optimiser cannot be set to torch's; None if there is none.
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
    pending: tuple[Divergence, ...] = ()
    noise: Mapping[str, np.ndarray] = {}
    faint: Mapping[str, np.ndarray] = {}
    unread: frozenset[str] = frozenset()
    unproved: frozenset[str] = frozenset()
    resynchronised: tuple[int, ...] = ()
    measured: bool = False
    idle: frozenset[str] = frozenset()
    undetermined: int | None = None

    @property
    def vanishing(self) -> dict[str, np.ndarray]:
        """The elements whose gradient is rounding alone, for each parameter that has any."""
        return {**self.faint, **self.noise}


class Taken(NamedTuple):
    """A step that the port took.

    Attributes:
      batch: what it trained on.
      state: the state after it.
      seen: what it computed.
    """

    batch: Sequence[np.ndarray]
    state: State
    seen: Observation


def take(runner: Runner, state: State, batch: Sequence[np.ndarray]) -> Taken:
    """Let the port take a step."""
    return Taken(batch, *running.observe(runner, state, batch))


def advance(
    sides: Sides, carry: Carry, expected: Observation, taken: Taken, measured: Measured
) -> tuple[Carry, tuple[Divergence, ...]]:
    """Compare one step: what the fold does.

    Args:
      sides: what is compared.
      carry: from the steps before.
      expected: what torch computed.
      taken: what the port computed.
      measured: how far right runs are apart, where that is known.

    Returns:
      The carry for the next step, and all tensors that differ; none if the step is right.
    """
    carry = carry._replace(noise=measured.noise, faint=measured.faint)
    if (sides.constants or carry.vanishing) and sides.double.port.step is None:
        taken = _with_torchs_gradient(sides, carry, expected, taken)
    compared, found = _agrees(sides, carry, measured, expected, taken.seen)
    evidence = vacuity.step_seen(
        compared.evidence, sides.initial, carry.expected, expected, taken.seen
    )
    after = compared._replace(
        state=_next_state(sides, compared, expected, taken, measured, parts=bool(found)),
        expected=expected,
        actual=taken.seen,
        steps=carry.steps + 1,
        evidence=evidence,
        measured=bool(measured.spread),
    )
    if measured.parted:
        if after.incomparable:
            after = after._replace(undetermined=after.steps)
        else:
            after = after._replace(resynchronised=(*carry.resynchronised, carry.steps))
    if found and carry.pending and carry.pending[0].step == carry.steps - 1:
        # A state of the optimiser was set apart one step before: the mistake began there.
        found = carry.pending
    if not sides.exact:
        found = tuple(divergence for divergence in found if not divergence.error < _IN_FLOAT32)
    return after, found


def _with_torchs_gradient(sides: Sides, carry: Carry, expected: Observation, taken: Taken) -> Taken:
    """The port's step, updated with torch's gradient where its own says nothing.

    That is so where constants differ in their last float32 bits, and where a gradient is noise. Its
    optimiser, with whatever state it keeps, can be compared all the same.
    """
    grads = {name: np.zeros_like(array) for name, array in under("param/", expected).items()}
    grads |= under("grad/", taken.seen)
    for name, array in under("grad/", expected).items():
        if grads[name].shape == array.shape:
            mask = True if sides.constants else carry.vanishing.get(name, False)
            grads[name] = np.where(mask, array, grads[name])
    params, opt_state = running.update(sides.double, carry.state, grads)
    seen = taken.seen | running.in_torch(sides.double, params, opt_state)
    return Taken(taken.batch, State(params, opt_state, taken.state.buffers), seen)


def _next_state(
    sides: Sides,
    carry: Carry,
    expected: Observation,
    taken: Taken,
    measured: Measured,
    *,
    parts: bool,
) -> State:
    """The state from which the port takes its next step.

    It is the port's own, unless torch's own twins have parted: then it is torch's.
    """
    parted = measured.parted and not carry.incomparable
    if parted or sides.constants or (parts and not sides.exact):
        comparable = {k: v for k, v in expected.items() if is_comparable(carry, k)}
        return running.resume(sides.double, comparable, taken.state.opt_state)
    return taken.state


def _agrees(
    sides: Sides,
    carry: Carry,
    measured: Measured,
    expected: Observation,
    actual: Observation,
) -> tuple[Carry, tuple[Divergence, ...]]:
    """Compare all tensors, setting apart states of the optimiser that differ without effect.

    A momentum that has already been multiplied by the learning rate, for example, is another number
    and as right as torch's, as long as the parameters agree.
    """
    compared, found = _differs(sides, carry, measured, expected, actual)
    if not found or found[0].phase != "optimizer":
        return compared, found
    tried, remaining = carry, found
    while remaining and remaining[0].phase == "optimizer":
        incomparable = tried.incomparable | {_field(remaining[0].tensor)}
        tried = carry._replace(incomparable=incomparable)
        tried, remaining = _differs(sides, tried, measured, expected, actual)
    if remaining:
        return compared, found
    return tried._replace(pending=found), ()


def _differs(
    sides: Sides,
    carry: Carry,
    measured: Measured,
    expected: Observation,
    actual: Observation,
) -> tuple[Carry, tuple[Divergence, ...]]:
    """Compare the tensors that both sides have."""
    evidence = vacuity.gradients_seen(carry.evidence, expected, actual)
    common = {k for k in expected if is_comparable(carry, k)} & actual.keys()
    theirs = {key: expected[key] for key in expected if key in common}
    only_torch = carry.only_torch | (expected.keys() - common)
    compared = carry._replace(evidence=evidence, only_torch=only_torch)
    if (found := other_shape(carry.steps, theirs, actual)) is not None:
        return compared, (found,)
    if sides.double.port.step is None:
        # The update of what is noise was made with torch's gradient.
        measured = measured._replace(loud=False)
    late = {k: v for k, v in theirs.items() if phase_of(k) in ("optimizer", "param")}
    early = {k: v for k, v in theirs.items() if k not in late}
    errors, differing = compare_step(
        carry.errors, carry.steps, early, actual, tolerance=sides.tolerance, measured=measured
    )
    # The optimiser sees no constant: given torch's gradient, it has to be exact.
    errors, more = compare_step(
        errors, carry.steps, late, actual, tolerance=TOLERANCE, measured=measured
    )
    differing += more + _more_than_rounding(compared, measured, expected, actual)
    masks = {key: mask for key, mask in measured.unread.items() if key in common}
    return _unread_seen(compared._replace(errors=errors), masks, expected, actual), differing


def _unread_seen(
    carry: Carry, masks: Mapping[str, np.ndarray], expected: Observation, actual: Observation
) -> Carry:
    """Add the tensors that differ where the loss does not read them, at padding or elsewhere."""
    unread, unproved = set(carry.unread), set(carry.unproved)
    for key, mask in masks.items():
        magnitude = carry.errors.magnitudes[key]
        apart = mask & (np.abs(expected[key] - actual[key]) > _UNREAD * magnitude)
        padding = _is_padding(expected, key, mask)
        unread |= {key} if np.any(apart & padding) else set()
        unproved |= {key} if np.any(apart & ~padding) else set()
    return carry._replace(unread=frozenset(unread), unproved=frozenset(unproved))


_UNREAD = 1e-9
"""Relative: elements that the loss does not read are said to differ if they differ by this."""


def _is_padding(expected: Observation, key: str, unread: np.ndarray) -> np.ndarray:
    """Which elements lie at positions whose target is a negative class that the loss ignores.

    It ignores a class if it reads none of its positions: a label of -1 may also be one of two.
    """
    array, target = expected[key], expected.get("batch/y")
    if target is None or target.dtype.kind != "i":
        return np.zeros(array.shape, bool)
    # Channels come after the positions, or, as torch's losses want them, after the examples.
    for channels in ([*range(target.ndim, array.ndim)], [*range(1, 1 + array.ndim - target.ndim)]):
        rest = tuple(n for axis, n in enumerate(array.shape) if axis not in channels)
        if rest == target.shape:
            nowhere = np.all(unread, axis=tuple(channels))
            negative = np.unique(target[target < 0])
            ignored = [label for label in negative if np.all(nowhere[target == label])]
            padding = np.isin(target, ignored)
            return np.broadcast_to(np.expand_dims(padding, tuple(channels)), array.shape)
    return np.zeros(array.shape, bool)


def _more_than_rounding(
    carry: Carry, measured: Measured, expected: Observation, actual: Observation
) -> tuple[Divergence, ...]:
    """Elements that are rounding alone in torch, and more in the port.

    Their own magnitude says nothing, so they are measured by the largest of all gradients, or of
    all parameters.
    """
    gradient = max(carry.evidence.gradients.values(), default=0.0)
    param = max((largest_magnitude(v) for v in under("param/", expected).values()), default=0.0)
    vanishing = [*measured.noise.items(), *measured.faint.items()]
    checks = [
        *((f"grad/{name}", mask, gradient, 1) for name, mask in vanishing),
        # Ten times the bound at which twins call it loud, since the port may be further off.
        *((f"param/{name}", mask, param, 10) for name, mask in measured.faint.items()),
    ]
    found = []
    for key, mask, scale, times in checks:
        if key not in expected or key not in actual:
            continue
        excess = np.where(mask, np.abs(actual[key] - expected[key]), 0.0)
        at = index_of_largest(excess)
        spread = float(measured.spread.get(key, 0.0))
        if not excess[at] <= max(times * vacuity.ROUNDING * scale, SPREADS * spread):
            values = expected[key][at], actual[key][at]
            error = float(excess[at]) / scale
            found.append(Divergence.of(carry.steps, key, *values, error=error, index=at))
    return tuple(found)


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
