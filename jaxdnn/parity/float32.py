r"""Single precision: is a port rounded no worse than torch, and for how long is a run determined?

Torch in float64, torch in float32 and the port in float32 each take one step from the same float32
state. A right port rounds differently from torch, and no worse:

.. math:: r = \frac{\max(0, \text{rms}(\text{port} - \text{float64}) - \text{rms}(\text{ulp}))}
                   {\text{rms}(\text{torch} - \text{float64})}

with root mean squares over all elements of a tensor and all states, and ulp the distance from the
float64 value to the next float32. A tensor of one element needs many states: in any one of them
torch may be exact by luck.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jaxdnn.parity import runner as running
from jaxdnn.parity import states
from jaxdnn.parity.compare import (
    Divergence,
    Observation,
    index_of_largest,
    largest_magnitude,
    phase_index,
    phase_of,
    ratio,
    under,
)
from jaxdnn.parity.port import Arrays, State
from jaxdnn.parity.report import Tier
from jaxdnn.parity.runner import Runner

__all__ = [
    "NO_ROUNDINGS",
    "Roundings",
    "Squares",
    "add",
    "betas_of",
    "excess",
    "horizon",
    "notes",
    "sample_seen",
    "tier",
]

ALLOWED = 3.0
"""Times torch's own root mean square error, beyond one unit in the last place. Random right ports
(``scripts/clean_runs.py``) reach about 1, since only the order of their sums differs from torch's;
3 leaves room for chance in tensors of few elements."""

_PARTED = 1e-3
"""Two runs have parted when a parameter differs by this, relative to its largest magnitude: ten
thousand roundings, so the difference has grown by itself."""

_OPTAX_ADAM = (optax.ScaleByAdamState, optax.ScaleByAmsgradState)

_UNIT = 2.0**-24
"""Half a unit in the last place of 1 in float32: the largest relative error of one rounding."""


class Squares(NamedTuple):
    """Sums of squares over the elements and states of a tensor.

    Attributes:
      port: of the port's errors.
      torch: of torch's.
      ulp: of the units in the last place.
    """

    port: float = 0.0
    torch: float = 0.0
    ulp: float = 0.0


class Roundings(NamedTuple):
    """One step from each of many float32 states, against the same steps in float64 by torch.

    Attributes:
      steps: how many states were taken in.
      squares: for each tensor.
      worst: for each tensor, its largest error, and where.
      magnitudes: for each tensor, what its errors are measured by.
      correction: the largest relative error of an update that optax's bias correction explains.
    """

    steps: int
    squares: Mapping[str, Squares]
    worst: Mapping[str, tuple[float, Divergence]]
    magnitudes: Mapping[str, float]
    correction: float


NO_ROUNDINGS = Roundings(0, {}, {}, {}, 0.0)


def sample_seen(
    roundings: Roundings,
    runner: Runner,
    sample: Observation,
    opt_state: optax.OptState,
    *,
    step: int,
    betas: Sequence[float],
) -> Roundings:
    """Let the port take a step that torch took from a float32 state, and compare.

    Args:
      roundings: of the states before.
      runner: the port in float32.
      sample: ``state/…``, ``float64/…`` and ``float32/…``; nothing where no state was far enough
        from a kink.
      opt_state: of the port before the step.
      step: its number.
      betas: of torch's Adam.
    """
    before, exact, torch = (under(p, sample) for p in ("state/", "float64/", "float32/"))
    if not exact:
        return roundings
    state = running.resume(runner, before, opt_state)
    _, port = running.observe(runner, state, list(under("batch/", torch).values()))
    correction = roundings.correction
    if any(isinstance(part, _OPTAX_ADAM) for part in states.parts(opt_state)):
        bound = sum(_correction_error(beta, step + 1) for beta in betas) + 4 * _UNIT
        port, found = _without_bias_correction_error(before, exact, port, bound=bound)
        correction = max(correction, found)
    return add(roundings, exact, torch, port, step=step)._replace(correction=correction)


def add(
    roundings: Roundings, exact: Observation, torch: Observation, port: Observation, *, step: int
) -> Roundings:
    """Add one step that all three took from the same state.

    Args:
      roundings: of the states before.
      exact: torch's step in float64.
      torch: torch's step in float32.
      port: the port's step in float32.
      step: its number.
    """
    squares, worst = dict(roundings.squares), dict(roundings.worst)
    magnitudes = dict(roundings.magnitudes)
    for key, truth in exact.items():
        if key not in port or phase_of(key) == "batch" or not truth.size:
            continue
        # Each state counts alike, however large its numbers are; but one in which they nearly
        # cancel must not count for all the others.
        magnitudes[key] = max(largest_magnitude(truth), 0.5 * magnitudes.get(key, 0.0))
        scale = magnitudes[key] or 1.0
        sides = (np.asarray(side[key] / scale) for side in (exact, torch, port))
        truth_scaled, torch_scaled, ported = sides
        before = squares.get(key, Squares())
        squares[key] = _more_squares(before, truth_scaled, torch_scaled, ported)
        error = np.abs(ported - truth_scaled)
        at = index_of_largest(np.nan_to_num(error, nan=np.inf))
        furthest = float(error[at])
        if key not in worst or not furthest <= worst[key][0]:
            values = truth[at], port[key][at]
            place = Divergence.of(step, key, *values, error=math.nan, index=at)
            worst[key] = furthest, place
    return Roundings(roundings.steps + 1, squares, worst, magnitudes, roundings.correction)


def _more_squares(sums: Squares, exact: np.ndarray, torch: np.ndarray, port: np.ndarray) -> Squares:
    ulp = np.spacing(np.abs(exact).astype(np.float32))
    added = (
        float(np.sum(np.square(v, dtype=np.float64))) for v in (port - exact, torch - exact, ulp)
    )
    return Squares(*(total + more for total, more in zip(sums, added, strict=True)))


def excess(squares: Mapping[str, Squares]) -> dict[str, float]:
    """The ratio :math:`r` of each tensor; infinite where only the port is off, or not finite.

    Example:
      >>> excess({"loss": Squares(port=5e-6**2, torch=1e-6**2, ulp=1e-7**2)})
      {'loss': 4.9}
    """
    ratios = {}
    for key, (port, torch, ulp) in squares.items():
        beyond = math.sqrt(port) - math.sqrt(ulp)
        ratios[key] = ratio(max(0.0, beyond), math.sqrt(torch))
        if not math.isfinite(beyond + torch):
            ratios[key] = math.inf
    return ratios


def tier(roundings: Roundings, horizon: int | None) -> Tier:
    """What the states show together."""
    ratios = excess(roundings.squares)
    beyond = [key for key, r in ratios.items() if not r <= ALLOWED]
    divergence = None
    if beyond:
        first = min(beyond, key=phase_index)
        divergence = dataclasses.replace(roundings.worst[first][1], error=ratios[first])
    return Tier("float32", roundings.steps, ratios, ALLOWED, divergence, horizon=horizon)


def notes(roundings: Roundings) -> Iterator[str]:
    """What was allowed for."""
    if roundings.correction:
        yield (
            "optax computes Adam's bias correction in float32, which changes an update by up "
            f"to {roundings.correction:.1e} of itself (jaxdnn.optim.adam does not); this is no "
            "mistake of the port and was not counted"
        )


def betas_of(optimizer: Mapping[str, Any]) -> tuple[float, ...]:
    """Adam's betas in the description of torch's optimiser, or else their defaults."""
    return tuple(map(float, (optimizer["settings"] or {}).get("betas", (0.9, 0.999))))


def _without_bias_correction_error(
    before: Observation, exact: Observation, port: Observation, *, bound: float
) -> tuple[Observation, float]:
    """The port's step without a common relative error of all updates, and that error.

    The error is taken out only where rounding ``1 - beta ** t`` can have caused it.
    """
    names = [key for key in exact if key.startswith("param/") and key in port]
    updates = {key: exact[key] - before[key] for key in names}
    # By least squares, in which each number counts as its own rounding lets it.
    units = {k: np.spacing(np.abs(exact[k]).astype(np.float32)).astype(float) for k in names}
    scaled = {k: updates[k] / units[k] for k in names}
    errors = {k: (port[k] - exact[k]) / units[k] for k in names}
    product = sum(float(np.sum(errors[k] * scaled[k])) for k in names)
    square = sum(float(np.sum(scaled[k] ** 2)) for k in names)
    if not square or not 0 < abs(product / square) <= bound:
        return port, 0.0
    factor = product / square
    return port | {key: port[key] - factor * updates[key] for key in names}, abs(factor)


def _correction_error(beta: float, count: int) -> float:
    """Of 1 - beta ** count, relative, where beta and its power are rounded to float32."""
    rounded = abs(float(np.float32(beta)) - beta) / beta if beta else 0.0
    power = beta**count
    return power / (1 - power) * (count * rounded + 2 * _UNIT)


def horizon(runner: Runner, initial: Arrays, batches: Iterable[Sequence[np.ndarray]]) -> int | None:
    """The step at which two right float32 runs part that differ by a unit in the last place.

    Args:
      runner: the port in float32.
      initial: arrays called ``param/…`` and ``buffer/…``.
      batches: what both train on.

    Returns:
      The first step after which a parameter differs by a thousandth of its largest magnitude;
      None if there is none.
    """
    single = {key: np.asarray(array, np.float32) for key, array in initial.items()}
    moved = {
        key: np.asarray(np.nextafter(array, np.float32(np.inf)))
        if key.startswith("param/")
        else array
        for key, array in single.items()
    }
    one, other = running.initial_state(runner, single), running.initial_state(runner, moved)
    if not jax.tree.leaves(one.params):
        return None
    for step, batch in enumerate(batches):
        one, other = running.train(runner, one, batch), running.train(runner, other, batch)
        if _apart(one, other) > _PARTED:
            return step
    return None


def _apart(one: State, other: State) -> float:
    """The largest relative difference of a parameter, in NumPy, which compiles nothing for it."""

    def difference(a: Any, b: Any) -> float:
        a, b = np.asarray(a), np.asarray(b)
        largest = max(np.max(np.abs(a), initial=0.0), np.finfo(a.dtype).tiny)
        return float(np.max(np.abs(a - b), initial=0.0) / largest)

    return max(jax.tree.leaves(jax.tree.map(difference, one.params, other.params)))
