"""Two streams of observations: how far apart they are, and where they part first."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, SupportsFloat, TypeVar

import numpy as np

__all__ = [
    "PHASES",
    "Comparison",
    "Divergence",
    "Errors",
    "Observation",
    "RoundingErrors",
    "compare",
    "index_of_largest",
    "largest_magnitude",
    "phase_index",
    "phase_of",
    "rounding_excess",
    "tensor_of",
    "under",
]

Observation = dict[str, np.ndarray]
T = TypeVar("T")

PHASES = ("start", "batch", "activation", "output", "buffer", "loss", "grad", "optimizer", "param")
"""In the order in which a step computes them."""


@dataclass(frozen=True)
class Divergence:
    """The first place at which two runs differ by more than the tolerance.

    Attributes:
      step: from 0.
      phase: one of `PHASES`.
      tensor: torch's name for it, or the phase for a phase of one tensor.
      index: of the element that is furthest off.
      expected: its value on the first side.
      actual: its value on the second side.
      error: the difference, relative to the largest magnitude of the tensor in the run so far.
      detail: what differs, where it is not a value.
    """

    step: int
    phase: str
    tensor: str
    index: tuple[int, ...]
    expected: float
    actual: float
    error: float
    detail: str = ""

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
        return (
            f"step {self.step}, {place}: expected {self.expected!r}, "
            f"got {self.actual!r}, a relative error of {self.error:.1e}"
        )


class Comparison(NamedTuple):
    """What `compare` found.

    Attributes:
      steps: how many were compared.
      errors: for each tensor, the largest relative error over the run.
      first_divergence: None if every error is within the tolerance.
    """

    steps: int
    errors: Mapping[str, float]
    first_divergence: Divergence | None

    def largest_error(self, phase: str) -> float:
        """The largest relative error of a phase's tensors over the run; 0 if it has none."""
        errors = (error for key, error in self.errors.items() if phase_of(key) == phase)
        return max(errors, default=0.0)


def compare(
    expected: Iterable[Mapping[str, np.ndarray]],
    actual: Iterable[Mapping[str, np.ndarray]],
    *,
    tolerance: float = 1e-12,
) -> Comparison:
    r"""Compare two runs step by step, holding one step of each in memory.

    The error of a tensor :math:`a` at step :math:`t` is relative to the largest magnitude that it
    has had on the expected side so far, so that a gradient that dies out at an optimum, where both
    sides hold only rounding, is not a difference:

    .. math:: e_t = \frac{\max_i |a_{t,i} - b_{t,i}|}{\max_{s \le t} \max_i |a_{s,i}|}

    Two NaNs, or two infinities of one sign, are equal; any other difference that is not finite is
    infinite. After the first divergence what follows from it is not looked at.

    Args:
      expected: the observations of the oracle.
      actual: those of the port.
      tolerance: the largest relative error that is rounding; for float64 about 1e-12.

    Returns:
      A `Comparison`, up to and including the first step that diverges.

    Raises:
      ValueError: a step has other tensors or shapes on one side than on the other, a tensor of an
        unknown phase or not of real numbers; the runs differ in length; there is nothing to
        compare; or the tolerance is not a finite number of at least 0.

    Example:
      >>> torch_run = [{"loss": np.array(1.0), "param/w": np.array([1.0, 2.0])}]
      >>> jax_run = [{"loss": np.array(1.0), "param/w": np.array([1.0, 2.5])}]
      >>> print(compare(torch_run, jax_run, tolerance=1e-12).first_divergence)
      step 0, param w[1]: expected 2.0, got 2.5, a relative error of 2.5e-01
    """
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"The tolerance must be finite and at least 0; got {tolerance}.")
    errors = Errors()
    steps = 0
    for ours, theirs in itertools.zip_longest(expected, actual):
        if ours is None or theirs is None:
            side = "expected" if ours is None else "actual"
            raise ValueError(f"The {side} run ends after {steps} steps, the other goes on.")
        _check_same_tensors(ours, theirs, step=steps)
        divergence = errors.see(steps, ours, theirs, tolerance=tolerance)
        steps += 1
        if divergence:
            return Comparison(steps, errors.largest, divergence)
    if not steps:
        raise ValueError("There are no steps to compare.")
    return Comparison(steps, errors.largest, None)


class Errors:
    """The relative errors of a run so far, as `compare` defines them.

    Attributes:
      largest: for each tensor, the largest relative error.
      magnitudes: for each tensor, the largest magnitude.
    """

    def __init__(self) -> None:
        self.largest: dict[str, float] = {}
        self.magnitudes: dict[str, float] = {}

    def copy(self) -> "Errors":
        """The same, to be changed apart."""
        other = Errors()
        other.largest, other.magnitudes = dict(self.largest), dict(self.magnitudes)
        return other

    def see(
        self,
        step: int,
        expected: Mapping[str, np.ndarray],
        actual: Mapping[str, np.ndarray],
        *,
        tolerance: float,
    ) -> Divergence | None:
        """Take in a step, of the same tensors on both sides, and say where they part first."""
        divergence = None
        for key in sorted(expected, key=phase_index):
            ours, theirs = expected[key], actual[key]
            if not ours.size:
                self.largest[key] = 0.0
                continue
            difference = _difference(ours, theirs)
            self.magnitudes[key] = max(self.magnitudes.get(key, 0.0), _magnitude(ours))
            at = index_of_largest(difference)
            error = _ratio(float(difference[at]), self.magnitudes[key])
            self.largest[key] = max(self.largest.get(key, 0.0), error)
            if error > tolerance and divergence is None:
                divergence = Divergence.of(step, key, ours[at], theirs[at], error=error, index=at)
        return divergence


def rounding_excess(
    oracle: Iterable[Mapping[str, np.ndarray]],
    reference: Iterable[Mapping[str, np.ndarray]],
    port: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, float]:
    r"""How much further a float32 port is from the truth than the float32 reference is.

    The three sides take the same steps, each from the same float32 state: the oracle in float64,
    the other two in float32. A correct port rounds otherwise than the reference, yet no worse:

    .. math:: r = \frac{\max(0, \text{rms}(\text{port} - \text{oracle}) - \text{rms}(\text{ulp}))}
                       {\text{rms}(\text{reference} - \text{oracle})}

    with root mean squares over all elements of a tensor and all steps, and ulp the distance from
    the oracle's value to the next float32. A tensor of one element needs many steps: in any one of
    them the reference may be exact by luck.

    Args:
      oracle: steps in float64.
      reference: steps in float32, by the side that is trusted.
      port: steps in float32, by the side that is judged.

    Returns:
      :math:`r` for each tensor; infinite where only the port is off by more than one ulp, or where
      any side is not finite.

    Raises:
      ValueError: the sides differ in length, hold other tensors or shapes, or have no steps.

    Example:
      >>> exact = [{"loss": np.array(1.0)}]
      >>> torch_steps = [{"loss": np.array(1.0 + 1e-6)}]
      >>> jax_steps = [{"loss": np.array(1.0 + 5e-6)}]
      >>> round(rounding_excess(exact, torch_steps, jax_steps)["loss"], 1)
      4.9
    """
    roundings = RoundingErrors()
    for step, (exact, trusted, judged) in enumerate(zip(oracle, reference, port, strict=True)):
        _check_same_tensors(exact, trusted, step=step)
        _check_same_tensors(exact, judged, step=step)
        roundings.see(exact, trusted, judged)
    if not roundings.steps:
        raise ValueError("There are no steps to compare.")
    return roundings.excess()


class RoundingErrors:
    """The sums of squares behind `rounding_excess`, so far.

    Attributes:
      steps: how many were taken in.
    """

    def __init__(self) -> None:
        self.steps = 0
        self._port: defaultdict[str, float] = defaultdict(float)
        self._reference: defaultdict[str, float] = defaultdict(float)
        self._ulp: defaultdict[str, float] = defaultdict(float)

    def see(
        self,
        oracle: Mapping[str, np.ndarray],
        reference: Mapping[str, np.ndarray],
        port: Mapping[str, np.ndarray],
    ) -> None:
        """Take in a step, of the same tensors on all sides."""
        self.steps += 1
        for key, truth in oracle.items():
            ulp = np.spacing(np.abs(truth).astype(np.float32))
            for sums, values in (
                (self._port, port[key] - truth),
                (self._reference, reference[key] - truth),
                (self._ulp, ulp),
            ):
                sums[key] += float(np.sum(np.square(values, dtype=np.float64)))

    def excess(self) -> dict[str, float]:
        """The ratio of each tensor."""
        ratios = {}
        for key, squares in self._port.items():
            beyond = math.sqrt(squares) - math.sqrt(self._ulp[key])
            ratios[key] = _ratio(max(0.0, beyond), math.sqrt(self._reference[key]))
            if not math.isfinite(beyond + self._reference[key]):
                ratios[key] = math.inf
        return ratios


def phase_of(key: str) -> str:
    """The phase in a tensor's key, ``grad`` in ``grad/net.1.weight``."""
    return key.partition("/")[0]


def phase_index(key: str) -> int:
    """Where the phase in a tensor's key is among `PHASES`."""
    return PHASES.index(phase_of(key))


def tensor_of(key: str) -> str:
    """The tensor in its key, ``net.1.weight`` in ``grad/net.1.weight``, ``loss`` in ``loss``."""
    return key.partition("/")[2] or key


def under(prefix: str, arrays: Mapping[str, T]) -> dict[str, T]:
    """What lies under a prefix, by the rest of its name.

    Args:
      prefix: as it is in the names, ``param/``.
      arrays: by name.

    Returns:
      The arrays whose names begin with the prefix, in their order.

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


def _check_same_tensors(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], *, step: int
) -> None:
    missing, extra = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    if missing or extra:
        raise ValueError(
            f"step {step}: the sides hold other tensors; only expected: {missing or 'none'}, "
            f"only actual: {extra or 'none'}."
        )
    for key in ours:
        if phase_of(key) not in PHASES:
            raise ValueError(f"step {step}: {key} must begin with one of {', '.join(PHASES)}.")
        for array in (ours[key], theirs[key]):
            if array.dtype.kind not in "biuf":
                raise ValueError(f"step {step}: {key} is {array.dtype}, not of real numbers.")
        if ours[key].shape != theirs[key].shape:
            raise ValueError(
                f"step {step}: {key} has shape {ours[key].shape} on the expected side, "
                f"{theirs[key].shape} on the actual one."
            )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    ours, theirs = (np.asarray(side, np.float64) for side in (ours, theirs))
    with np.errstate(invalid="ignore"):
        difference = np.asarray(ours - theirs)
        np.abs(difference, out=difference)  # in place: fresh memory costs more than the sums
    if np.isfinite(difference.max(initial=0.0)):
        return difference
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    return np.where(same, 0.0, np.where(np.isfinite(difference), difference, np.inf))


def _magnitude(values: np.ndarray) -> float:
    """The largest finite magnitude."""
    values = np.asarray(values, np.float64)
    largest = max(values.max(initial=0.0), -values.min(initial=0.0))
    if np.isfinite(largest):
        return float(largest)
    return float(np.max(np.abs(values), initial=0.0, where=np.isfinite(values)))


def _ratio(difference: float, magnitude: float) -> float:
    if difference == 0.0:
        return 0.0
    return difference / magnitude if magnitude else np.inf
