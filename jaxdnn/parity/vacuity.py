"""Vacuity checks: whether agreement means anything.

Two sides also agree where nothing could have differed: where no gradient flows, nothing moves, or
the output ignores the input. `Evidence` collects over a run what has to happen in one that proves
something; `reasons` says what did not.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import Observation, largest_magnitude, phase_of, under
from jaxdnn.parity.port import Arrays
from jaxdnn.parity.runner import Runner

__all__ = ["Evidence", "gradients_seen", "no_evidence", "reasons", "rounding_only", "step_seen"]

_ROUNDING = 1e-12
"""A gradient this much smaller than the largest of the network is what rounding left of 0: each
term that cancels leaves about 1e-16 of its size, and this leaves room for ten thousand of them."""


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


def no_evidence(header: Mapping[str, Any], initial: Arrays) -> Evidence:
    """Before the first step.

    Args:
      header: of torch's run; it names the frozen parameters.
      initial: arrays called ``param/…``.
    """
    frozen = set(header["frozen"])
    return Evidence(tuple(name for name in under("param/", initial) if name not in frozen), {})


def step_seen(
    evidence: Evidence, initial: Arrays, expected: Observation, actual: Observation
) -> Evidence:
    """Add a step.

    Args:
      evidence: of the steps before.
      initial: arrays called ``param/…`` and ``buffer/…``.
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
    changing = {
        key.removeprefix("buffer/")
        for key in expected.keys() - actual.keys()
        if phase_of(key) == "buffer" and not _same(expected[key], initial[key])
    }
    first = evidence.first_loss if evidence.steps else loss
    return evidence._replace(
        moved=evidence.moved | moved,
        steps=evidence.steps + 1,
        first_loss=first,
        loss_changed=evidence.loss_changed or loss != first,
        loss_finite=evidence.loss_finite and math.isfinite(loss),
        inputs=inputs,
        changing_buffers=evidence.changing_buffers | changing,
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


def rounding_only(evidence: Evidence, expected: Observation) -> set[str]:
    """The keys of the parameters whose gradient is 0 but for rounding, on both sides.

    A bias in front of a batch normalisation, for example: what rounding makes of its gradient is
    nothing that two frameworks share.
    """
    vanishing = _vanishing(evidence)
    return {
        key
        for key in expected
        for name in vanishing
        if key in (f"grad/{name}", f"param/{name}") or key.startswith(f"optimizer/{name}/")
    }


def _vanishing(evidence: Evidence) -> list[str]:
    """The parameters whose gradient was never more than rounding, and yet not 0."""
    scale = max(evidence.gradients.values(), default=0.0)
    return [name for name, g in evidence.gradients.items() if 0 < g <= _ROUNDING * scale]


def reasons(evidence: Evidence, runner: Runner, initial: Arrays) -> list[str]:
    """Why agreement would not mean enough; empty if it would.

    Args:
      evidence: of the whole run.
      runner: the port.
      initial: arrays called ``param/…`` and ``buffer/…``.
    """
    layout, found = runner.layout, []
    if layout.only_torch:
        found.append(f"torch's {', '.join(layout.only_torch)} did not reach the port")
    if layout.only_port:
        found.append(f"the port's {', '.join(layout.only_port)} did not come from torch")
    dead = [name for name in evidence.names if not evidence.gradients.get(name, 0.0)]
    found += _still(evidence, dead)
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
    if evidence.names and not dead and not _depends_on_input(evidence, runner, initial):
        found.append("the port's output does not depend on its input")
    return found


def _still(evidence: Evidence, dead: list[str]) -> list[str]:
    """What is said of parameters without a gradient, and of those that did not move."""
    found = []
    if dead:
        found.append(
            f"the gradient of {', '.join(dead)} was 0 in every step, so nothing that happens "
            "to it was compared; choose initial parameters at which it is not"
        )
    if vanishing := _vanishing(evidence):
        found.append(
            f"the gradient of {', '.join(vanishing)} is 0 but for rounding, as for a bias in "
            "front of a normalisation; leave the parameter out"
        )
    if still := [name for name in evidence.names if name not in evidence.moved]:
        found.append(f"{', '.join(still)} never moved; is the learning rate 0?")
    return found


def _depends_on_input(evidence: Evidence, runner: Runner, initial: Arrays) -> bool:
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
    state = running.initial_state(runner, initial)
    output = running.output(runner, state, first)
    if output is None or not others:
        return True
    changed = (running.output(runner, state, x) for x in others)
    return any(new is not None and not _same(new, output) for new in changed)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))
