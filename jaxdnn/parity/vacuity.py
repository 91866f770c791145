"""Vacuity checks: whether agreement means anything.

Two sides also agree where nothing could have differed: where no gradient flows, nothing moves, or
the output ignores the input. `Evidence` collects over a run what has to happen in one that proves
something; `reasons` says what did not.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import Observation, largest_magnitude, phase_of, under
from jaxdnn.parity.port import Arrays, State
from jaxdnn.parity.runner import Runner

__all__ = [
    "ROUNDING",
    "Evidence",
    "gradients_seen",
    "no_evidence",
    "noise_matters",
    "reasons",
    "remarks",
    "step_seen",
]

ROUNDING = 1e-12
"""A gradient this much smaller than the largest of the network can be what rounding left of 0: each
term that cancels leaves about 1e-16 of its size, and this leaves room for ten thousand of them."""

_STILL = 1e-13
"""Relative: a parameter that moves by less has converged, and its learning rate does not show."""

_WITHOUT_INFLUENCE = 1e-10
"""Relative: a loss, an output or a gradient that changes by no more than this when a parameter is
moved does not depend on it but for rounding."""


class Evidence(NamedTuple):
    """What a run has shown so far.

    Attributes:
      names: the parameters that torch trains.
      gradients: the largest magnitude of each one's gradient, on either side.
      moved: those that have moved.
      steps: how many there were.
      first_loss: torch's loss in the first step.
      loss_changed: whether a later one differed.
      loss_finite: whether all were finite.
      inputs: at most two different batches of inputs.
      changing_buffers: buffers that torch changes and the port does not have.
      counters: likewise, but single integers.
      changed: all parameters that torch has changed, trained or not.
      last_moved: the last step in which a parameter moved by more than rounding.
      untouched: for each parameter, a mask of the elements whose gradient was 0 in every step.
    """

    names: tuple[str, ...]
    gradients: Mapping[str, float]
    moved: frozenset[str] = frozenset()
    steps: int = 0
    first_loss: float = math.nan
    loss_changed: bool = False
    loss_finite: bool = True
    inputs: tuple[np.ndarray, ...] = ()
    changing_buffers: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    last_moved: int = 0
    untouched: Mapping[str, np.ndarray] = {}


def no_evidence(header: Mapping[str, Any], initial: Arrays) -> Evidence:
    """Before the first step.

    Args:
      header: of torch's run; it names the frozen parameters.
      initial: arrays called ``param/…``.
    """
    frozen = set(header["frozen"])
    return Evidence(tuple(name for name in under("param/", initial) if name not in frozen), {})


def step_seen(
    evidence: Evidence,
    initial: Arrays,
    before: Observation,
    expected: Observation,
    actual: Observation,
) -> Evidence:
    """Add a step.

    Args:
      evidence: of the steps before.
      initial: arrays called ``param/…`` and ``buffer/…``.
      before: torch's step before, or the initial arrays.
      expected: torch's step.
      actual: the port's.
    """
    loss, x, inputs = float(expected["loss"]), expected.get("batch/x"), evidence.inputs
    # Two batches are enough to see whether the output depends on its input.
    if x is not None and len(inputs) < 2 and not any(_same(x, seen) for seen in inputs):
        inputs = (*inputs, x)
    moved = {
        name
        for name in set(evidence.names) - evidence.moved
        if not _same(expected[f"param/{name}"], initial[f"param/{name}"])
    }
    changed = {
        name
        for name, array in under("param/", expected).items()
        if name not in evidence.changed and not _same(array, initial[f"param/{name}"])
    }
    moves = any(
        largest_magnitude(array - before[f"param/{name}"]) > _STILL * largest_magnitude(array)
        for name, array in under("param/", expected).items()
    )
    changing = {
        key.removeprefix("buffer/")
        for key in expected.keys() - actual.keys()
        if phase_of(key) == "buffer" and not _same(expected[key], initial[key])
    }
    counters = {n for n in changing if _is_counter(expected[f"buffer/{n}"])}
    untouched = dict(evidence.untouched)
    for name in evidence.names:
        grad, mask = expected.get(f"grad/{name}"), untouched.get(name)
        if grad is not None and (mask is None or mask.any()):
            zero = grad == 0
            untouched[name] = zero if mask is None else mask & zero
    first = evidence.first_loss if evidence.steps else loss
    return evidence._replace(
        moved=evidence.moved | moved,
        steps=evidence.steps + 1,
        first_loss=first,
        loss_changed=evidence.loss_changed or loss != first,
        loss_finite=evidence.loss_finite and math.isfinite(loss),
        inputs=inputs,
        changing_buffers=evidence.changing_buffers | (changing - counters),
        counters=evidence.counters | counters,
        untouched=untouched,
        changed=evidence.changed | changed,
        last_moved=evidence.steps if moves else evidence.last_moved,
    )


def gradients_seen(evidence: Evidence, expected: Observation, actual: Observation) -> Evidence:
    """Add the gradients of a step."""
    gradients = dict(evidence.gradients)
    for name in evidence.names:
        key = f"grad/{name}"
        sides = (side[key] for side in (expected, actual) if key in side)
        largest = max(map(largest_magnitude, sides), default=0.0)
        gradients[name] = max(gradients.get(name, 0.0), largest)
    return evidence._replace(gradients=gradients)


def reasons(
    evidence: Evidence, runner: Runner, initial: Arrays, final: State, noise: Mapping[str, Any]
) -> list[str]:
    """Why agreement would not mean enough; empty if it would.

    Args:
      evidence: of the whole run.
      runner: the port.
      initial: arrays called ``param/…`` and ``buffer/…``.
      final: the port's state after the last step.
      noise: parameters whose gradients are, in some elements, rounding alone.
    """
    layout, found = runner.layout, []
    moving = evidence.changed | set(evidence.names)
    if missing := [name for name in layout.only_torch if name in moving]:
        found.append(
            f"what torch does to {', '.join(missing)} was not compared, since it does not reach "
            "the port's parameters, or to_torch leaves it out"
        )
    if layout.only_port:
        found.append(
            f"what the port does to its {', '.join(layout.only_port)} was not compared, since it "
            "does not come from torch, or to_torch leaves it out"
        )
    dead = [n for n in evidence.names if not evidence.gradients.get(n, 0.0) and n not in missing]
    found += _still(evidence, dead, missing, noise)
    if not evidence.loss_finite:
        found.append(
            "torch's loss is not finite; choose other initial parameters or a smaller learning rate"
        )
    if evidence.steps < 2:
        found.append("one step does not show what the optimiser carries on; give more")
    elif not evidence.loss_changed:
        found.append("the loss was the same in every step")
    if evidence.changing_buffers:
        found.append(
            f"torch changes the buffers {', '.join(sorted(evidence.changing_buffers))}, which "
            "were not compared; give an apply that returns them, with stateful=True"
        )
    if evidence.names and not dead:
        start = running.initial_state(runner, initial)
        # A last layer that starts at 0 hides its input until it has been trained.
        if not any(_depends_on_input(evidence, runner, state) for state in (start, final)):
            found.append("the port's output does not depend on its input")
    return found


def _still(
    evidence: Evidence, dead: list[str], missing: list[str], noise: Mapping[str, Any]
) -> list[str]:
    """What is said of parameters without a gradient, and of those that did not move."""
    found = []
    if dead:
        found.append(
            f"the gradient of {', '.join(dead)} was 0 in every step, so nothing that happens "
            "to it was compared; choose initial parameters at which it is not"
        )
    still = [n for n in evidence.names if n not in evidence.moved and n not in noise]
    if still := [name for name in still if name not in missing]:
        found.append(f"{', '.join(still)} never moved; is the learning rate 0?")
    return found


def _is_counter(buffer: np.ndarray) -> bool:
    return buffer.ndim == 0 and buffer.dtype.kind in "iu"


def remarks(evidence: Evidence) -> Iterator[str]:
    """What a run does not prove, though it proves the rest."""
    counters = [n for n in evidence.counters if not n.endswith("num_batches_tracked")]
    if counters:
        yield f"torch counts in {', '.join(sorted(counters))}, which the port does not have"
    if evidence.names and evidence.steps - 1 - evidence.last_moved > _RESTING:
        yield (
            f"no parameter moved after step {evidence.last_moved}, so the steps after it show "
            "nothing of the optimiser"
        )
    for name, mask in evidence.untouched.items():
        if mask.all() or not mask.any():
            continue
        for axis, what in ((0, "rows"), (1, "columns")):
            if axis >= mask.ndim:
                continue
            others = tuple(other for other in range(mask.ndim) if other != axis)
            still = np.flatnonzero(mask.all(others))
            if len(still) and (axis == 0 or mask.shape[axis] > 1):
                listed = ", ".join(map(str, still[:8])) + (", …" if len(still) > 8 else "")
                yield (
                    f"{len(still)} of {mask.shape[axis]} {what} of {name} had no gradient in any "
                    f"step, so nothing shows that they are trained alike: {listed}"
                )


_RESTING = 3
"""Steps in which nothing moves that are worth a remark."""


def noise_matters(
    runner: Runner,
    state: State,
    batch: Sequence[np.ndarray],
    noise: Mapping[str, np.ndarray],
) -> bool:
    """Whether the loss or another gradient depends on elements that are noise.

    The output may, where the loss does not depend on a shift of all scores, say.

    Args:
      runner: the port.
      state: after some steps.
      batch: on which it is tried.
      noise: masks by parameter.
    """
    numbers = np.random.default_rng(0)
    with running.precision(runner.dtype):
        arrays = dict(runner.layout.to_torch(state.params))
        for name, mask in noise.items():
            size = max(largest_magnitude(arrays[name]), 1e-3)
            moved = arrays[name] + size * numbers.normal(size=mask.shape)
            arrays[name] = np.where(mask, moved, arrays[name])
        changed = state._replace(params=runner.port.from_torch(arrays))
    before, after = (running.observe(runner, s, batch)[1] for s in (state, changed))
    gradients = max(
        (largest_magnitude(before[k]) for k in before if phase_of(k) == "grad"), default=0.0
    )
    for key in before.keys() & after.keys():
        phase = phase_of(key)
        if phase not in ("loss", "grad"):
            continue
        scale = gradients if phase == "grad" else largest_magnitude(before[key])
        if not largest_magnitude(after[key] - before[key]) <= _WITHOUT_INFLUENCE * scale:
            return True
    return False


def _depends_on_input(evidence: Evidence, runner: Runner, state: State) -> bool:
    """Whether other inputs give another output; true where that cannot be tried."""
    if not evidence.inputs:
        return True
    first, others = evidence.inputs[0], list(evidence.inputs[1:])
    # Other shapes would compile the network again.
    others = [other for other in others if other.shape == first.shape]
    if first.ndim and len(first) > 1:
        others.append(first[::-1])
    if first.dtype.kind == "f":
        others.append(first + 1)
    others = [other for other in others if not _same(other, first)]
    output = running.output(runner, state, first)
    if output is None or not others:
        return True
    changed = (running.output(runner, state, x) for x in others)
    return any(new is not None and not _same(new, output) for new in changed)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))
