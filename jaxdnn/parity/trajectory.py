"""One pass over a torch run with its port beside it: what the two precisions show."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdnn.parity import environment, float32, gates
from jaxdnn.parity.compare import (
    Divergence,
    Errors,
    Observation,
    largest_magnitude,
    phase_index,
    phase_of,
    under,
)
from jaxdnn.parity.port import BATCH, Arrays, PortState, Runner, Steps
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.source import Source

__all__ = ["Trajectory"]

TOLERANCE = 1e-12
"""In float64, relative to the largest magnitude of a tensor in the run so far."""

_AMPLIFIED = 16
"""Times what one unit in the last place of the parameters does: other sums round elsewhere too."""

Batches = Sequence[Sequence[np.ndarray]]


class Trajectory:
    """One pass over torch's run, with the port beside it.

    Args:
      source: torch's run.
      run: the port's.
      port_batches: the port's own batches; by default torch's.
      precisions: which of ``"float64"`` and ``"float32"`` decide. Without float64, the port goes
        on from torch's state where the two part.

    Attributes:
      first_divergence: None, or where the two part in float64.
      steps: how many were compared.
    """

    def __init__(
        self,
        source: Source,
        run: Steps,
        port_batches: Batches | None = None,
        *,
        precisions: Sequence[str] = ("float64", "float32"),
    ) -> None:
        self._precisions, single = precisions, "float32" in precisions
        self._source, self._port_batches = source, port_batches
        self._start = source.start()
        shapes = {name: array.shape for name, array in under("param/", self._start).items()}
        self._optimizer = source.header["optimizer"]["name"]
        self._double = Runner(run, "float64", shapes, self._optimizer)
        self._single = Runner(run, "float32", shapes, self._optimizer) if single else None
        self._errors = Errors()
        self._roundings = float32.Roundings(source.header["optimizer"])
        self._gates = gates.Gates(source.header, self._start, self._double)
        self.first_divergence: Divergence | None = None
        self._resynchronised: list[int] = []
        self.steps = 0
        self._only_torch: set[str] = set()
        self._incomparable: set[str] = set()
        self._pending: Divergence | None = None
        self._movement: dict[str, float] = {}

    def run(self, *, recorded: Iterable[Arrays] | None = None) -> None:
        """Compare.

        Args:
          recorded: what is compared instead of the whole of torch's run.
        """
        state = self._double.start(self._start)
        self.first_divergence = self._start_differs(state)
        previous = self._start
        last: tuple[Observation, Observation] | None = None
        with_samples = self._single is not None
        for arrays in self._source.steps(samples=with_samples) if recorded is None else recorded:
            if self.first_divergence:
                break
            expected, samples = _split(arrays)
            batch = self._port_batch(expected)
            if batch is None:
                break
            before = state
            state, actual = self._double.step(state, batch)
            last = expected, actual
            state = self._compare(expected, actual, state, before, previous, batch)
            self._gates.see(expected, actual)
            if self._single is not None and self.first_divergence is None:
                for sample in samples:
                    comparable = {
                        key: array
                        for key, array in sample.items()
                        if self._is_comparable(key.partition("/")[2])
                    }
                    self._roundings.see(self._single, comparable, before.opt_state, self.steps)
            previous = expected
            self.steps += 1
        compared_all = recorded is None and self.first_divergence is None
        if compared_all and self._port_batches is not None:
            self.first_divergence = _another_length(self.steps, self._source, self._port_batches)
        if last is not None:
            self._movement = self._errors_by_movement(*last)

    def _start_differs(self, state: PortState) -> Divergence | None:
        """Whether the parameters are others before the first step already."""
        back = {f"param/{k}": v for k, v in self._double.layout.to_torch(state.params).items()}
        common = {key: self._start[key] for key in self._start.keys() & back.keys()}
        differing = _other_shape(0, common, back) or Errors().see(
            0, common, {key: back[key] for key in common}, tolerance=0.0
        )
        if differing is None:
            return None
        return dataclasses.replace(differing, phase="start")

    def _port_batch(self, expected: Observation) -> Sequence[np.ndarray] | None:
        if self._port_batches is None:
            return [expected[key] for key in BATCH if key in expected]
        if self.steps >= len(self._port_batches):
            return None
        return self._port_batches[self.steps]

    def _compare(
        self,
        expected: Observation,
        actual: Observation,
        state: PortState,
        before: PortState,
        previous: Observation,
        batch: Sequence[np.ndarray],
    ) -> PortState:
        kept = self._errors.copy()
        found = self._differs(expected, actual, self._errors)
        if found is not None and found.phase == "optimizer":
            self._errors = kept.copy()
            found = self._set_apart(found, expected, actual)
        if found is None:
            return state
        if found.phase != "batch":
            # Either the step is wrong, or rounding has grown: the step alone tells.
            resumed = self._double.resume(self._comparable(previous), before.opt_state)
            after, again = self._double.step(resumed, batch)
            errors = kept.copy()
            alone = self._differs(expected, again, errors)
            if alone is None or self._is_rounding(resumed, again, expected, batch):
                self._errors = errors
                self._resynchronised.append(self.steps)
                return self._double.resume(self._comparable(expected), after.opt_state)
            found = alone
        if "float64" not in self._precisions:
            return self._double.resume(self._comparable(expected), state.opt_state)
        # A state that was other one step before is where the mistake began.
        pending = self._pending
        self.first_divergence = (
            pending if pending is not None and pending.step == self.steps - 1 else found
        )
        return state

    def _is_rounding(
        self,
        before: PortState,
        after: Observation,
        expected: Observation,
        batch: Sequence[np.ndarray],
    ) -> bool:
        """Whether the step multiplies rounding so much that a right port is so far off.

        Then it moves as far when its parameters are changed by a unit in the last place.
        """
        signs = np.random.default_rng(self.steps)

        def moved(leaf: Any) -> np.ndarray:
            leaf = np.asarray(leaf)
            towards = np.where(signs.random(leaf.shape) < 0.5, -np.inf, np.inf)
            return np.asarray(np.nextafter(leaf, towards))

        changed = before._replace(params=jax.tree.map(moved, before.params))
        _, other = self._double.step(changed, batch)
        for key in expected.keys() & after.keys():
            if phase_of(key) == "batch" or expected[key].shape != after[key].shape:
                continue
            scale = max(self._errors.magnitudes.get(key, 0.0), largest_magnitude(expected[key]))
            amplified = _AMPLIFIED * largest_magnitude(other[key] - after[key])
            allowed = max(TOLERANCE * scale, amplified)
            if not largest_magnitude(expected[key] - after[key]) <= allowed:
                return False
        return True

    def _set_apart(
        self, found: Divergence, expected: Observation, actual: Observation
    ) -> Divergence | None:
        """What still differs if states are left out that are others and yet do the same.

        A momentum that has been multiplied by the learning rate already, for instance, is another
        number and as right as torch's, as long as the parameters agree.
        """
        remaining: Divergence | None = found
        set_apart: set[str] = set()
        while remaining is not None and remaining.phase == "optimizer":
            set_apart.add(_field(remaining.tensor))
            self._incomparable |= set_apart
            remaining = self._differs(expected, actual, self._errors.copy())
        if remaining is not None:
            self._incomparable -= set_apart
            self._differs(expected, actual, self._errors)
            return found
        self._pending = found
        return self._differs(expected, actual, self._errors)

    def _comparable(self, observation: Observation) -> Observation:
        """Without the states that cannot be compared."""
        return {key: array for key, array in observation.items() if self._is_comparable(key)}

    def _is_comparable(self, key: str) -> bool:
        return phase_of(key) != "optimizer" or _field(key) not in self._incomparable

    def _differs(
        self, expected: Observation, actual: Observation, errors: Errors
    ) -> Divergence | None:
        common = self._comparable(expected).keys() & actual.keys()
        self._only_torch |= expected.keys() - common
        ignored = self._gates.rounding_only(expected, actual)
        keys = [key for key in expected if key in common and key not in ignored]
        theirs = {key: expected[key] for key in keys}
        return _other_shape(self.steps, theirs, actual) or errors.see(
            self.steps, theirs, actual, tolerance=TOLERANCE
        )

    def _errors_by_movement(self, expected: Observation, actual: Observation) -> dict[str, float]:
        """Of each parameter: its error relative to how far it has moved."""
        errors = {}
        for name in under("param/", self._errors.largest):
            key = f"param/{name}"
            moved = largest_magnitude(expected[key] - self._start[key])
            if moved > 0:
                errors[name] = largest_magnitude(expected[key] - actual[key]) / moved
        return errors

    def report(self) -> Report:
        """The verdict."""
        tiers = self._tiers()
        diverged = any(tier.first_divergence for tier in tiers)
        reasons = environment.canaries()
        if not diverged:
            reasons = (*reasons, *self._reasons())
        return Report(
            "inconclusive" if reasons else "fail" if diverged else "pass",
            tiers,
            reasons=reasons,
            notes=() if diverged else tuple(self._notes()),
            environment={
                "torch": self._source.header["environment"],
                "jax": environment.describe(),
            },
        )

    def _tiers(self) -> tuple[Tier, ...]:
        tiers = [self._tier()] if "float64" in self._precisions else []
        # What is wrong in float64 is wrong in float32 too, and says nothing about rounding.
        if self._single is not None and not self.first_divergence:
            tiers.append(self._roundings.tier(self._horizon()))
        return tuple(tiers)

    def _reasons(self) -> tuple[str, ...]:
        reasons = self._gates.reasons()
        if self._single is not None and not self._roundings.steps:
            reasons.append("no float32 state was far enough from every kink to be compared")
        return tuple(reasons)

    def _tier(self) -> Tier:
        return Tier(
            "float64",
            self.steps,
            dict(self._errors.largest),
            TOLERANCE,
            self.first_divergence,
            movement=self._movement,
            resynchronised=tuple(self._resynchronised),
        )

    def _horizon(self) -> int | None:
        assert self._single is not None
        batches = self._source.batches() if self._port_batches is None else self._port_batches
        return float32.horizon(self._single, self._start, itertools.islice(batches, self.steps))

    def _notes(self) -> Iterator[str]:
        optimizer = [key for key in self._only_torch if phase_of(key) == "optimizer"]
        if optimizer:
            fields = sorted(set(map(_field, optimizer)))
            yield (
                f"torch's {' and '.join(fields)} and the port's optimiser state are not one to "
                "one; they were compared through the parameters"
            )
        yield from self._roundings.notes()


def _field(key: str) -> str:
    """What torch's optimiser calls a tensor, ``exp_avg`` in ``optimizer/weight/exp_avg``."""
    return key.rpartition("/")[2]


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


def _other_shape(step: int, expected: Observation, actual: Observation) -> Divergence | None:
    for key in sorted(expected, key=phase_index):
        ours, theirs = expected[key].shape, actual[key].shape
        if ours != theirs:
            sizes = expected[key].size, actual[key].size
            detail = f"torch has shape {ours}, the port {theirs}"
            return Divergence.of(step, key, *sizes, error=math.inf, detail=detail)
    return None


def _another_length(steps: int, source: Source, port_batches: Batches) -> Divergence | None:
    ours, theirs = source.header["steps"], len(port_batches)
    if ours == theirs:
        return None
    detail = f"torch has {ours} batches, the port {theirs}"
    return Divergence.of(
        steps, "batch/number of batches", ours, theirs, error=math.inf, detail=detail
    )
