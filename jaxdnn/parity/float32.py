"""Single precision: is a port rounded no worse than torch, and how far can a run be foretold."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxdnn.parity import states
from jaxdnn.parity.compare import (
    Divergence,
    Observation,
    RoundingErrors,
    index_of_largest,
    largest_magnitude,
    phase_index,
    phase_of,
    under,
)
from jaxdnn.parity.port import BATCH, Arrays, PortState, Runner
from jaxdnn.parity.report import Tier

__all__ = ["Roundings", "horizon"]

ALLOWED = 3.0
"""Times torch's own root mean square error, beyond one unit in the last place."""

_PARTED = 1e-3
"""Two runs have parted when a parameter differs by this, relative to its largest magnitude."""

_OPTAX_ADAM = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)


class Roundings:
    """One step from each of many float32 states, against the same steps in float64 by torch."""

    def __init__(self, optimizer: Mapping[str, Any]) -> None:
        self._optimizer = optimizer
        self._sums = RoundingErrors()
        self._worst: dict[str, tuple[float, Divergence]] = {}
        self._magnitudes: dict[str, float] = {}
        self._correction = 0.0

    @property
    def steps(self) -> int:
        """How many states were taken in."""
        return self._sums.steps

    def see(
        self, runner: Runner, sample: Observation, opt_state: optax.OptState, step: int
    ) -> None:
        """Let the port take a step that torch took, and compare.

        Args:
          runner: the port in float32.
          sample: ``state/…``, ``float64/…`` and ``float32/…``.
          opt_state: of the port before the step.
          step: its number.
        """
        before, oracle, trusted = (
            under(prefix, sample) for prefix in ("state/", "float64/", "float32/")
        )
        if not oracle:
            return
        state = runner.resume(before, opt_state)
        _, port = runner.step(state, [trusted[key] for key in BATCH if key in trusted])
        if any(isinstance(part, _OPTAX_ADAM) for part in states.parts(opt_state)):
            port = self._without_bias_correction_error(before, oracle, port, step)
        keys = [
            key
            for key, array in oracle.items()
            if key in port and phase_of(key) != "batch" and array.size
        ]
        for key in keys:
            # Each state counts alike, however large its numbers are; but one in which they nearly
            # cancel must not count for all the others.
            magnitude = largest_magnitude(oracle[key])
            self._magnitudes[key] = max(magnitude, 0.5 * self._magnitudes.get(key, 0.0))
        scales = {key: self._magnitudes[key] or 1.0 for key in keys}
        exact, reference, judged = (
            {k: np.asarray(side[k] / scales[k]) for k in keys} for side in (oracle, trusted, port)
        )
        self._sums.see(exact, reference, judged)
        for key in keys:
            error = np.abs(judged[key] - exact[key])
            at = index_of_largest(np.nan_to_num(error, nan=np.inf))
            furthest = float(error[at])
            if not furthest <= self._worst.get(key, (-1.0, None))[0]:
                values = oracle[key][at], port[key][at]
                place = Divergence.of(step, key, *values, error=math.nan, index=at)
                self._worst[key] = furthest, place

    def tier(self, horizon: int | None) -> Tier:
        """What the states show together."""
        excess = self._sums.excess()
        beyond = [key for key, ratio in excess.items() if not ratio <= ALLOWED]
        divergence = None
        if beyond:
            first = min(beyond, key=phase_index)
            worst = self._worst[first][1]
            divergence = dataclasses.replace(worst, error=excess[first])
        return Tier("float32", self.steps, excess, ALLOWED, divergence, horizon=horizon)

    def notes(self) -> Iterator[str]:
        """What was allowed for."""
        if self._correction:
            yield (
                "optax computes Adam's bias correction in float32, which changes an update by up "
                f"to {self._correction:.1e} of itself (jaxdnn.optim.adam does not); it is no "
                "mistake of the port and was not counted"
            )

    def _without_bias_correction_error(
        self, before: Observation, oracle: Observation, port: Observation, step: int
    ) -> Observation:
        """Take out a common factor of all updates, if rounding 1 - beta ** t can have caused it."""
        names = [key for key in oracle if key.startswith("param/") and key in port]
        updates = {key: oracle[key] - before[key] for key in names}
        # By least squares, in which each number counts as its own rounding lets it.
        units = {k: np.spacing(np.abs(oracle[k]).astype(np.float32)).astype(float) for k in names}
        scaled = {k: updates[k] / units[k] for k in names}
        errors = {k: (port[k] - oracle[k]) / units[k] for k in names}
        product = sum(float(np.sum(errors[k] * scaled[k])) for k in names)
        square = sum(float(np.sum(scaled[k] ** 2)) for k in names)
        betas = (self._optimizer["settings"] or {}).get("betas", (0.9, 0.999))
        unit = 2.0**-24
        bound = sum(_correction_error(float(beta), step + 1) for beta in betas) + 4 * unit
        if not square or not 0 < abs(product / square) <= bound:
            return port
        factor = product / square
        self._correction = max(self._correction, abs(factor))
        return port | {key: port[key] - factor * updates[key] for key in names}


def _correction_error(beta: float, count: int) -> float:
    """Of 1 - beta ** count, relative, where beta and its power are rounded to float32."""
    rounded = abs(float(np.float32(beta)) - beta) / beta if beta else 0.0
    power = beta**count
    return power / (1 - power) * (count * rounded + 2 * 2.0**-24)


def horizon(runner: Runner, start: Arrays, batches: Iterable[Sequence[np.ndarray]]) -> int | None:
    """The step at which two right float32 runs part, that differ by a unit in the last place.

    Args:
      runner: the port in float32.
      start: arrays called ``param/…`` and ``buffer/…``.
      batches: what both train on.

    Returns:
      The first step after which a parameter differs by a thousandth of its largest magnitude;
      None if there is none.
    """
    single = {key: np.asarray(array, np.float32) for key, array in start.items()}
    moved = {
        key: np.asarray(np.nextafter(array, np.float32(np.inf)))
        if key.startswith("param/")
        else array
        for key, array in single.items()
    }
    one, other = runner.start(single), runner.start(moved)
    if not jax.tree.leaves(one.params):
        return None
    for step, batch in enumerate(batches):
        one, other = runner.train(one, batch), runner.train(other, batch)
        if _apart(one, other) > _PARTED:
            return step
    return None


def _apart(one: PortState, other: PortState) -> float:
    """The largest difference of a parameter, in NumPy, where nothing is compiled for it."""

    def difference(a: Any, b: Any) -> float:
        a, b = np.asarray(a), np.asarray(b)
        largest = max(np.max(np.abs(a), initial=0.0), np.finfo(a.dtype).tiny)
        return float(np.max(np.abs(a - b), initial=0.0) / largest)

    return max(jax.tree.leaves(jax.tree.map(difference, one.params, other.params)))
