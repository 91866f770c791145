"""Whether agreement means anything: what has to happen in a run that proves something."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdnn.parity.compare import Observation, largest_magnitude, phase_of, under
from jaxdnn.parity.port import Arrays, Runner

__all__ = ["Gates"]

_ROUNDING = 1e-12
"""A gradient so much smaller than the largest of the network is what rounding left of 0."""


class Gates:
    """Watches a run for what would make agreement empty."""

    def __init__(self, header: Mapping[str, Any], start: Arrays, runner: Runner) -> None:
        self._start, self._runner = start, runner
        frozen = set(header["frozen"])
        self._names = [name for name in under("param/", start) if name not in frozen]
        self._gradients: dict[str, float] = {}
        self._moved: set[str] = set()
        self._losses: list[float] = []
        self._inputs: list[np.ndarray] = []
        self._changing_buffers: set[str] = set()

    def see(self, expected: Observation, actual: Observation) -> None:
        """Take in a step."""
        self._losses.append(float(expected["loss"]))
        x = expected.get("batch/x")
        if (
            x is not None
            and len(self._inputs) < 2
            and not any(_same(x, seen) for seen in self._inputs)
        ):
            self._inputs.append(x)
        for name in self._names:
            if name not in self._moved and not _same(
                expected[f"param/{name}"], self._start[f"param/{name}"]
            ):
                self._moved.add(name)
        for key in expected.keys() - actual.keys():
            if phase_of(key) == "buffer" and not _same(expected[key], self._start[key]):
                self._changing_buffers.add(key.removeprefix("buffer/"))

    def rounding_only(self, expected: Observation, actual: Observation) -> set[str]:
        """The tensors of parameters whose gradient is 0 but for rounding, on both sides.

        A bias in front of a batch normalisation, for instance: what rounding makes of its gradient
        is nothing that two frameworks share.
        """
        for name in self._names:
            key = f"grad/{name}"
            sides = (side[key] for side in (expected, actual) if key in side)
            largest = max(map(largest_magnitude, sides), default=0.0)
            self._gradients[name] = max(self._gradients.get(name, 0.0), largest)
        vanishing = self._vanishing()
        return {
            key
            for key in expected
            for name in vanishing
            if key in (f"grad/{name}", f"param/{name}") or key.startswith(f"optimizer/{name}/")
        }

    def _vanishing(self) -> list[str]:
        """The parameters whose gradient was never more than rounding, and yet not 0."""
        scale = max(self._gradients.values(), default=0.0)
        return [name for name, g in self._gradients.items() if 0 < g <= _ROUNDING * scale]

    def reasons(self) -> list[str]:
        """Why agreement would not mean enough; empty if it would."""
        reasons = []
        layout = self._runner.layout
        if layout.only_torch:
            reasons.append(f"torch's {', '.join(layout.only_torch)} did not reach the port")
        if layout.only_port:
            reasons.append(f"the port's {', '.join(layout.only_port)} did not come from torch")
        dead = [name for name in self._names if not self._gradients.get(name, 0.0)]
        if dead:
            reasons.append(
                f"the gradient of {', '.join(dead)} was 0 in every step, so nothing that happens "
                "to it was compared; start from parameters at which it is not"
            )
        if vanishing := self._vanishing():
            reasons.append(
                f"the gradient of {', '.join(vanishing)} is 0 but for rounding, as of a bias in "
                "front of a normalisation; leave the parameter out"
            )
        if still := [name for name in self._names if name not in self._moved]:
            reasons.append(f"{', '.join(still)} never moved; is the learning rate 0?")
        if not all(map(math.isfinite, self._losses)):
            reasons.append("torch's loss is not finite; start elsewhere or take smaller steps")
        if len(self._losses) < 2:
            reasons.append("one step does not show what the optimiser carries on; give more")
        elif len(set(self._losses)) < 2:
            reasons.append("the loss was the same in every step")
        if self._changing_buffers:
            reasons.append(
                f"torch changes the buffers {', '.join(sorted(self._changing_buffers))}, which "
                "were not compared; give an apply that returns them, with stateful=True"
            )
        if self._names and not dead and not self._depends_on_input():
            reasons.append("the port's output does not depend on its input")
        return reasons

    def _depends_on_input(self) -> bool:
        if not self._inputs:
            return True
        first, others = self._inputs[0], self._inputs[1:]
        others = [other for other in others if other.shape == first.shape]
        if first.ndim and len(first) > 1:
            others.append(first[::-1])
        if first.dtype.kind == "f":
            others.append(first + 1)
        others = [other for other in others if not _same(other, first)]
        state = self._runner.start(self._start)
        output = self._runner.output(state, first)
        changed = (self._runner.output(state, x) for x in others)
        if output is None or not others:
            return True
        return any(new is not None and not _same(new, output) for new in changed)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))
