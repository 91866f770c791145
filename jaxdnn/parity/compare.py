"""Observations of two runs: how far apart they are, and where they part first.

An observation maps ``phase/tensor`` to a NumPy array, for everything that one training step
computes, under torch's names and in torch's layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, SupportsFloat, TypeVar

import numpy as np

__all__ = [
    "PHASES",
    "SPREADS",
    "Divergence",
    "Errors",
    "Measured",
    "Observation",
    "compare_step",
    "difference_of",
    "finite_magnitude",
    "index_of_largest",
    "largest_magnitude",
    "phase_index",
    "phase_of",
    "ratio",
    "tensor_of",
    "under",
    "unread_by",
]

Observation = dict[str, np.ndarray]
T = TypeVar("T")

PHASES = ("start", "batch", "activation", "output", "buffer", "loss", "grad", "optimizer", "param")
"""In the order in which a step computes them, so that the first difference comes before those that
follow from it. ``start`` is the initial parameters."""


@dataclass(frozen=True)
class Divergence:
    """The first place at which two runs differ by more than the tolerance.

    Attributes:
      step: from 0.
      phase: one of `PHASES`.
      tensor: torch's name for it, or the phase for a phase of one tensor.
      index: of the element that is furthest off.
      expected: its value in torch.
      actual: its value in the port.
      error: the difference, relative to the largest magnitude of the tensor in the run so far.
      detail: what differs, where it is not a value.
      of_rounding: whether the error is in multiples of torch's rounding error in float32 instead.
    """

    step: int
    phase: str
    tensor: str
    index: tuple[int, ...]
    expected: float
    actual: float
    error: float
    detail: str = ""
    of_rounding: bool = False

    @classmethod
    def of(
        cls,
        step: int,
        key: str,
        expected: SupportsFloat,
        actual: SupportsFloat,
        *,
        error: float,
        index: tuple[int, ...] = (),
        detail: str = "",
    ) -> "Divergence":
        """The divergence of a tensor by its key, ``grad/net.1.weight``."""
        values = float(expected), float(actual)
        return cls(step, phase_of(key), tensor_of(key), index, *values, error, detail)

    def __str__(self) -> str:
        """One sentence."""
        tensor = "" if self.tensor == self.phase else f" {self.tensor}"
        place = f"{self.phase}{tensor}{list(self.index) if self.index else ''}"
        if self.detail:
            return f"step {self.step}, {place}: {self.detail}"
        text = f"step {self.step}, {place}: expected {self.expected!r}, got {self.actual!r}, "
        if self.of_rounding:
            return text + f"{self.error:.1f} times torch's rounding error in float32"
        return text + f"a relative error of {self.error:.1e}"


class Errors(NamedTuple):
    """The relative errors of a run so far, as `compare_step` defines them.

    Attributes:
      largest: for each tensor, the largest relative error.
      magnitudes: for each tensor, the largest finite magnitude on torch's side.
    """

    largest: Mapping[str, float]
    magnitudes: Mapping[str, float]


class Measured(NamedTuple):
    """What twins of torch's run showed of rounding; see `reference_torch.parity.twins`.

    Attributes:
      spread: for each tensor, how far right runs are apart; for a buffer, in each element.
      noise: for each parameter that has any, a mask of the elements whose gradient is 0 but for
        rounding, and which the optimiser moves by that.
      faint: likewise of those that it moves by no more than rounding.
      loud: whether the parameters and moments that noise moves are left out.
      unread: for outputs and activations, a mask of the elements that the loss does not read.
      parted: whether the twins were set back to the run after this step.
    """

    spread: Mapping[str, float | np.ndarray] = {}
    noise: Mapping[str, np.ndarray] = {}
    faint: Mapping[str, np.ndarray] = {}
    loud: bool = True
    unread: Mapping[str, np.ndarray] = {}
    parted: bool = False

    def left_out(self, key: str) -> np.ndarray | None:
        """A mask of the elements of a tensor that are not compared; None if all are."""
        if key in self.unread:
            return self.unread[key]
        phase, _, name = key.partition("/")
        if phase == "optimizer":
            name = name.rpartition("/")[0]
        if phase not in ("grad", "optimizer", "param"):
            return None
        sides = (self.noise, self.faint) if phase == "grad" or self.loud else (self.faint,)
        masks = [side[name] for side in sides if name in side]
        return np.logical_or.reduce(masks) if masks else None


def unread_by(slopes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The elements that a loss does not read, by its derivative by each tensor."""
    return {key: slope == 0 for key, slope in slopes.items() if not slope.all()}


SPREADS = 64.0
"""How many times the spread of three twins two right runs may be apart: with what probability a
right one exceeds it is derived in `reference_torch.parity.twins`."""


_OF_ITSELF = 1e-9
"""Relative to itself, what an element of a buffer may be off beyond the spread of right runs."""


def compare_step(
    errors: Errors,
    step: int,
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    *,
    tolerance: float,
    measured: Measured = Measured(),  # noqa: B008 (immutable)
) -> tuple[Errors, tuple[Divergence, ...]]:
    r"""Compare one step of two runs.

    The error of a tensor :math:`a` at step :math:`t` is relative to the largest magnitude that it
    has had on the expected side so far, so that a gradient that vanishes at an optimum, where both
    sides hold only rounding, is not a difference:

    .. math:: e_t = \frac{\max_i |a_{t,i} - b_{t,i}|}{\max_{s \le t} \max_i |a_{s,i}|}

    Two NaNs, or two infinities of one sign, are equal; any other difference that is not finite is
    infinite.

    Args:
      errors: of the steps before.
      step: its number, from 0.
      expected: arrays by key.
      actual: arrays of the same shapes under the same keys, and perhaps more.
      tolerance: the largest relative error that passes, or else `SPREADS` times the spread.
      measured: how far right runs are apart, where that is known.

    Returns:
      The errors including this step, and all tensors, in the order of `PHASES`, that differ by more
      than is allowed.

    Example:
      >>> torch_step = {"loss": np.array(1.0), "param/w": np.array([1.0, 2.0])}
      >>> jax_step = {"loss": np.array(1.0), "param/w": np.array([1.0, 2.5])}
      >>> _, found = compare_step(Errors({}, {}), 0, torch_step, jax_step, tolerance=1e-12)
      >>> print(*found)
      step 0, param w[1]: expected 2.0, got 2.5, a relative error of 2.5e-01
    """
    largest, magnitudes, differing = dict(errors.largest), dict(errors.magnitudes), []
    for key in sorted(expected, key=phase_index):
        ours, theirs = expected[key], actual[key]
        if not ours.size:
            largest[key] = 0.0
            continue
        difference = difference_of(ours, theirs)
        if (mask := measured.left_out(key)) is not None:
            difference = np.where(mask, 0.0, difference)
            ours = np.where(mask, 0.0, ours)
        magnitudes[key] = max(magnitudes.get(key, 0.0), finite_magnitude(ours))
        at = index_of_largest(difference)
        furthest = float(difference[at])
        error = ratio(furthest, magnitudes[key])
        largest[key] = max(largest.get(key, 0.0), error)
        allowed = SPREADS * np.asarray(measured.spread.get(key, 0.0))
        # "~ <=", so that NaN differs.
        beyond = ~(difference <= allowed)
        if not error <= tolerance and beyond[at]:
            differing.append(Divergence.of(step, key, ours[at], theirs[at], error=error, index=at))
        elif phase_of(key) == "buffer":
            # Each channel's statistics are its own, however large another channel's are.
            own = np.where(beyond & (difference > _OF_ITSELF * np.abs(ours)), difference, 0.0)
            at = index_of_largest(own)
            if own[at] > 0:
                values = ours[at], theirs[at]
                error = ratio(float(own[at]), abs(float(ours[at])))
                differing.append(Divergence.of(step, key, *values, error=error, index=at))
    return Errors(largest, magnitudes), tuple(differing)


def phase_of(key: str) -> str:
    """The phase in a tensor's key, ``grad`` in ``grad/net.1.weight``."""
    return key.partition("/")[0]


def phase_index(key: str) -> int:
    """The position in `PHASES` of the phase in a tensor's key."""
    return PHASES.index(phase_of(key))


def tensor_of(key: str) -> str:
    """The tensor in its key, ``net.1.weight`` in ``grad/net.1.weight``, ``loss`` in ``loss``."""
    return key.partition("/")[2] or key


def under(prefix: str, arrays: Mapping[str, T]) -> dict[str, T]:
    """The arrays whose names begin with a prefix, by the rest of their names.

    Args:
      prefix: as it is in the names, ``param/``.
      arrays: by name.

    Returns:
      The arrays, in their order.

    Example:
      >>> under("param/", {"loss": 0.5, "grad/w": 1.0, "param/w": 2.0})
      {'w': 2.0}
    """
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def largest_magnitude(values: np.ndarray | np.floating) -> float:
    """The largest magnitude of all elements; 0 if there are none, NaN if one is."""
    return float(np.max(np.abs(values), initial=0.0))


def index_of_largest(values: np.ndarray | np.floating) -> tuple[int, ...]:
    """The index of the largest element, the first of several."""
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(values)), values.shape))


def ratio(difference: float, magnitude: float) -> float:
    """Their quotient: 0 where there is no difference, infinite where only the magnitude is 0."""
    if difference == 0.0:
        return 0.0
    return difference / magnitude if magnitude else np.inf


def difference_of(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The magnitudes of their differences: 0 for two equal infinities or NaNs, else infinite."""
    # In float64, in which bytes do not wrap around.
    ours, theirs = (np.asarray(side, np.float64) for side in (ours, theirs))
    with np.errstate(invalid="ignore"):
        difference = np.asarray(ours - theirs)
        np.abs(difference, out=difference)  # in place: fresh memory costs more than the sums
    if np.isfinite(difference.max(initial=0.0)):
        return difference
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))


def finite_magnitude(values: np.ndarray) -> float:
    """The largest finite magnitude."""
    values = np.asarray(values, np.float64)
    largest = max(values.max(initial=0.0), -values.min(initial=0.0))
    if np.isfinite(largest):
        return float(largest)
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))
