r"""Single precision: is a port rounded no worse than torch, and for how long is a run determined?

Torch in float64, torch in float32 and the port in float32 each take one step from the same float32
state. A right port rounds differently from torch, and no worse:

.. math:: r = \frac{\max(0, \text{rms}(\text{port} - \text{float64}) - \text{rms}(\text{ulp}))}
                   {\text{rms}(\text{torch} - \text{float64})}

with root mean squares over all elements of a tensor and all states, and ulp the distance from the
float64 value to the next float32. A tensor of one element needs many states: in any one of them
torch may be exact by luck.

Two kinds of right ports exceed torch's error. Torch sums pairwise, with an error that hardly grows
with the number of terms :math:`n`; XLA may sum one by one, with an error of the order
:math:`\sqrt{n}` units. And where one state is far worse conditioned than the others, the quotient
is that of two random numbers, which is large by chance. So where :math:`r` exceeds the limit,
torch's error is replaced by what torch has if each of its operations is rounded at random as in
float32, sums by :math:`\sqrt{n}` units of the sum of their terms' magnitudes; see
`reference_torch.parity.rounding`. An arithmetic of fewer bits exceeds that a thousandfold, and a
formula that loses digits exceeds it, too.

Reference:
  Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdnn.parity import runner as running
from jaxdnn.parity import widening
from jaxdnn.parity.compare import (
    Divergence,
    Measured,
    Observation,
    finite_magnitude,
    index_of_largest,
    largest_magnitude,
    phase_index,
    phase_of,
    ratio,
    under,
    unread_by,
)
from jaxdnn.parity.port import Arrays, State
from jaxdnn.parity.report import Tier
from jaxdnn.parity.runner import Runner

__all__ = [
    "NO_ROUNDINGS",
    "Roundings",
    "Runners",
    "Squares",
    "add",
    "beyond",
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

_SCALARS = 1e-3
"""The largest relative change of an update that float32 scalars may explain: optax's bias
correction makes 1e-5, and what makes more is worth a failure."""

_UNIT = 2.0**-24
"""Half a unit in the last place of 1 in float32: the largest relative error of one rounding."""


class Runners(NamedTuple):
    """A port in both precisions."""

    double: Runner
    single: Runner


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
      correction: the largest relative change of an update by the optimiser's float32 scalars.
      model: for each tensor, if it was asked for, the sum of squares of the errors that torch has
        if each of its operations is rounded at random.
    """

    steps: int
    squares: Mapping[str, Squares]
    worst: Mapping[str, tuple[float, Divergence]]
    magnitudes: Mapping[str, float]
    correction: float
    model: Mapping[str, float] = {}


NO_ROUNDINGS = Roundings(0, {}, {}, {}, 0.0)


def sample_seen(
    roundings: Roundings,
    runners: Runners,
    sample: Observation,
    opt_state: optax.OptState,
    *,
    step: int,
    noise: Mapping[str, np.ndarray],
) -> Roundings:
    """Let the port take a step that torch took from a float32 state, and compare.

    Args:
      roundings: of the states before.
      runners: the port.
      sample: ``state/…``, ``float64/…``, ``float32/…`` and perhaps ``model/…``; nothing where no
        state was far enough from a kink.
      opt_state: of the port before the step.
      step: its number.
      noise: elements of parameters whose gradient is rounding alone, which no optimiser settles.
    """
    before, exact, torch = (under(p, sample) for p in ("state/", "float64/", "float32/"))
    if not exact:
        return roundings
    batch = list(under("batch/", torch).values())
    left_out = Measured(noise=noise, unread=unread_by(under("slope/", exact)))
    if not np.isfinite(torch["loss"]):
        return roundings
    exact, torch = (_settled(side, left_out) for side in (exact, torch))
    state = running.resume(runners.single, before, opt_state)
    _, port = running.observe(runners.single, state, batch)
    port = _settled(port, left_out)
    changed, correction = _changed_by_scalars(runners, before, exact, opt_state)
    port |= {key: port[key] - change for key, change in changed.items() if key in port}
    found = add(roundings, exact, torch, port, step=step)
    modelled = dict(roundings.model)
    for key, square in under("model/", sample).items():
        scale = found.magnitudes.get(key, 0.0) or 1.0
        modelled[key] = modelled.get(key, 0.0) + float(square) / scale**2
    return found._replace(correction=max(roundings.correction, correction), model=modelled)


def _settled(seen: Observation, left_out: Measured) -> Observation:
    """Without the elements that noise decides, or that the loss does not read."""
    found = {}
    for key, array in seen.items():
        if key.startswith("slope/"):
            continue
        mask = None if key.startswith("grad/") else left_out.left_out(key)
        found[key] = array if mask is None else np.where(mask, 0.0, array)
    return found


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
        magnitudes[key] = _magnitude(magnitudes, key, truth)
        scale = magnitudes[key] or 1.0
        # Where torch itself is not finite, as after an overflow, there is nothing to come near to.
        known = np.isfinite(truth) & np.isfinite(torch[key])
        sides = (np.where(known, side[key] / scale, 0.0) for side in (exact, torch, port))
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
    return roundings._replace(
        steps=roundings.steps + 1, squares=squares, worst=worst, magnitudes=magnitudes
    )


def _more_squares(sums: Squares, exact: np.ndarray, torch: np.ndarray, port: np.ndarray) -> Squares:
    ulp = np.spacing(np.abs(exact).astype(np.float32))
    added = (
        float(np.sum(np.square(v, dtype=np.float64))) for v in (port - exact, torch - exact, ulp)
    )
    return Squares(*(total + more for total, more in zip(sums, added, strict=True)))


def excess(squares: Mapping[str, Squares], model: Mapping[str, float] = {}) -> dict[str, float]:
    """The ratio :math:`r` of each tensor; infinite where only the port is off, or not finite.

    Args:
      squares: what was measured.
      model: the squares that take the place of torch's, where they are larger.

    Example:
      >>> excess({"loss": Squares(port=5e-6**2, torch=1e-6**2, ulp=1e-7**2)})
      {'loss': 4.9}
    """
    ratios = {}
    for key, (port, torch, ulp) in squares.items():
        past = max(0.0, math.sqrt(port) - math.sqrt(ulp))
        ratios[key] = ratio(past, math.sqrt(torch))
        if ratios[key] > ALLOWED:
            ratios[key] = ratio(past, math.sqrt(max(torch, model.get(key, 0.0))))
        if not math.isfinite(port + torch):
            ratios[key] = math.inf
    return ratios


def beyond(roundings: Roundings) -> frozenset[str]:
    """The tensors whose ratio exceeds the limit."""
    ratios = excess(roundings.squares, roundings.model)
    return frozenset(key for key, r in ratios.items() if not r <= ALLOWED)


def tier(roundings: Roundings, horizon: int | None) -> Tier:
    """What the states show together."""
    ratios = excess(roundings.squares, roundings.model)
    past = beyond(roundings)
    found = sorted((key for key in ratios if key in past), key=phase_index)
    differing = tuple(
        dataclasses.replace(roundings.worst[key][1], error=ratios[key], of_rounding=True)
        for key in found
    )
    return Tier("float32", roundings.steps, ratios, ALLOWED, differing, horizon=horizon)


def notes(roundings: Roundings) -> Iterator[str]:
    """What was allowed for."""
    if roundings.correction:
        yield (
            "optax computes some scalars of the update (a bias correction, a schedule, an injected "
            f"hyperparameter) in float32, which changes it by up to {roundings.correction:.1e} of "
            "itself; the change was computed and taken out"
        )
    measured = excess(roundings.squares)
    if luckier := [key for key, r in measured.items() if not r <= ALLOWED]:
        yield (
            f"{', '.join(luckier)}: compared in float32 with what random rounding does to torch's "
            "operations, since torch itself rounds less there, in a long sum or by chance"
        )


def _changed_by_scalars(
    runners: Runners, before: Observation, exact: Observation, opt_state: optax.OptState
) -> tuple[Observation, float]:
    """What the optimiser's float32 scalars change in a step, and how much of an update that is."""
    double = runners.double
    changes = _scalar_changes(double.port.optimizer)
    arrays = {name: np.zeros_like(array) for name, array in under("param/", exact).items()}
    with running.precision("float64"):
        grads = double.port.from_torch(arrays | under("grad/", exact))
        state = running.resume(double, before, opt_state)
        if not changes.used(grads, state):
            return {}, 0.0
        updates, new_state, full, full_state = changes.compute(grads, state)
        found = running.in_torch(double, updates, new_state)
        whole = running.in_torch(double, full, full_state)
        sizes = {key: largest_magnitude(array) for key, array in whole.items()}
    size = max(
        (largest_magnitude(found[key]) / scale for key, scale in sizes.items() if scale),
        default=0.0,
    )
    return (found, size) if 4 * _UNIT < size <= _SCALARS else ({}, 0.0)


class _ScalarChanges:
    """The difference that float32 scalars make to an optimiser's update."""

    def __init__(self, optimizer: optax.GradientTransformation) -> None:
        self._optimizer = optimizer
        self._computes: bool | None = None
        self._difference: Callable[..., Any] | None = None

    def used(self, grads: Any, state: State) -> bool:
        """Whether the optimiser computes with scalars at all."""
        if self._computes is None:
            shapes = self._shapes(grads, state)
            with jax.enable_x64(False):
                program = jax.make_jaxpr(self._optimizer.update)(*shapes)
            self._computes = widening.computes_scalars(program)
            if self._computes:
                self._prepare(shapes)
        return self._computes

    def compute(self, grads: Any, state: State) -> tuple[Any, Any, Any, Any]:
        """The changes of the updates and of the state, and these themselves."""
        assert self._difference is not None
        return self._difference(grads, state.opt_state, state.params)

    def _shapes(self, grads: Any, state: State) -> tuple[Any, ...]:
        def narrow(leaf: Any) -> jax.ShapeDtypeStruct:
            types = {np.dtype("float64"): np.float32, np.dtype("int64"): np.int32}
            return jax.ShapeDtypeStruct(np.shape(leaf), types.get(leaf.dtype, leaf.dtype))

        return jax.tree.map(narrow, (grads, state.opt_state, state.params))

    def _prepare(self, shapes: tuple[Any, ...]) -> None:
        kept = widening.scalars_kept(self._optimizer.update, *shapes)
        # Parameters without axes are arrays, too; then no scalar of the state is kept.
        has_scalars = any(not leaf.shape for leaf in jax.tree.leaves(shapes[2]))

        def as_kept(leaf: Any) -> Any:
            if leaf.dtype == np.int64:
                return leaf.astype(np.int32)
            narrow = leaf.dtype == np.float64 and not np.ndim(leaf) and not has_scalars
            return leaf.astype(np.float32) if narrow else leaf

        def difference(grads: Any, opt_state: Any, params: Any) -> tuple[Any, Any, Any, Any]:
            ours = kept(grads, jax.tree.map(as_kept, opt_state), params)
            updates, after = widening.widened(self._optimizer.update)(grads, opt_state, params)
            changes = jax.tree.map(_minus, ours, (updates, after))
            return (*changes, updates, after)

        self._difference = running.quickly_compiled(difference)


def _minus(one: Any, other: Any) -> Any:
    if jnp.issubdtype(one.dtype, jnp.floating):
        return one.astype(other.dtype) - other
    return one


@lru_cache(maxsize=8)
def _scalar_changes(optimizer: optax.GradientTransformation) -> _ScalarChanges:
    return _ScalarChanges(optimizer)


def _magnitude(magnitudes: Mapping[str, float], key: str, exact: np.ndarray) -> float:
    # Each state counts alike, however large its numbers are; but one in which they nearly cancel
    # must not count for all the others.
    return max(finite_magnitude(exact), 0.5 * magnitudes.get(key, 0.0))


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
    single = {
        key: np.asarray(array, np.float32) if array.dtype.kind == "f" else array
        for key, array in initial.items()
    }
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
