r"""How far two right runs are apart: torch beside torch.

Rounding differs between two right runs: they take their sums in another order, and their
exponentials from another library. How far that takes them apart depends on the network, the tensor
and the step, so it is measured. Beside the run, three more train whose parameters begin one unit in
the last place away, in a random direction each, and whose operations are rounded at random
(`reference_torch.parity.rounding`). For each tensor, the largest distance between a twin and the
run is its *spread*.

A port may be further off than the twins by a factor. If rounding grows along one direction, as it
does where it grows much, both the port's distance and each twin's are the absolute values of
numbers drawn about 0 with similar standard deviations. The quotient of one over the largest of
three then exceeds a large factor :math:`k` with a probability of the order :math:`k^{-3}`: with 64,
of one in a hundred thousand; with one twin it would be one in a hundred.

Elements of a gradient that are 0 but for rounding have a spread as large as they are. Adam turns
such noise into steps of the size of the learning rate: then they are reported as noise, and the
twins take them from the run, so that the spread of everything else does not include theirs. Under
SGD they move nothing, and are reported as faint.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from reference_torch.parity.rounding import FLOAT64, Rounding
from reference_torch.parity.stepper import Arrays, Batch, Stepper

__all__ = ["Twins"]

_TWINS = 3

_ROUNDING = 1e-12
"""A gradient's element this much smaller than the largest of the network can be what rounding left
of 0: each term that cancels leaves about 1e-16 of its size; this leaves room for many of them."""

_PARTED = 1e-11
"""Twins further apart than this, relative to a parameter's largest magnitude, are set back to the
run: five digits of rounding have grown by themselves, and the rest would follow."""


class Twins:
    """Runs beside a run that differ from it by rounding.

    Args:
      stepper: the run, before its first step.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._run = stepper
        self._spread: dict[str, Any] = {}
        self._noise: dict[str, np.ndarray] = {}
        self._largest = 0.0
        self._real: dict[str, np.ndarray] = {}
        self._loud: set[str] = set()
        self._restart(0)

    def _restart(self, number: int) -> None:
        self._twins = [_moved(self._run, seed=number * _TWINS + i) for i in range(_TWINS)]

    def step(self, batch: Batch, number: int, seen: Arrays) -> Arrays:
        """Let the twins take the step that the run has just taken.

        Args:
          batch: what it trained on.
          number: of the step.
          seen: what the run computed.

        Returns:
          ``spread/…`` for each tensor (of a buffer, for each element), ``noise/…`` or ``faint/…``,
          a mask for each parameter whose gradient has elements that are rounding alone, and
          ``parted`` if the twins were set back to the run after this step.
        """
        observed = []
        for i, twin in enumerate(self._twins):
            try:
                with Rounding(number * _TWINS + i, FLOAT64):
                    other = twin.step(batch, number)
            except (RuntimeError, ValueError):
                continue  # the rounding has left what an operation accepts; the others remain
            if _is_as_finite(other, seen):
                observed.append(other)
        if not observed:
            return {}
        self._find_noise(seen, observed)
        self._find_loud(seen, observed)
        self._take_noise_from_run()
        for key, array in seen.items():
            if array.dtype.kind != "f" or key.startswith(("batch/", "slope/")):
                continue
            if key.startswith("buffer/"):
                each = [np.abs(side[key] - array) for side in observed]
                self._spread[key] = np.max([self._spread.get(key, 0 * array), *each], axis=0)
                continue
            outside = ~self._mask(key, array)
            furthest = max(_distance(side[key], array, outside) for side in observed)
            self._spread[key] = max(self._spread.get(key, 0.0), furthest)
        found: Arrays = {f"spread/{k}": np.asarray(v) for k, v in self._spread.items()}
        for name, mask in self._noise.items():
            if mask.any():
                found[f"{'noise' if name in self._loud else 'faint'}/{name}"] = mask
        if self._have_parted(seen):
            found["parted"] = np.asarray(True)
            self._spread = {}
            self._restart(number + 1)
        return found

    def _find_noise(self, seen: Arrays, others: Sequence[Arrays]) -> None:
        grads = {key: array for key, array in seen.items() if key.startswith("grad/")}
        for array in grads.values():
            self._largest = max(self._largest, float(np.max(np.abs(array), initial=0.0)))
        for key, array in grads.items():
            name = key.removeprefix("grad/")
            small = np.abs(array) <= _ROUNDING * self._largest
            distance = np.max([np.abs(side[key] - array) for side in others], axis=0)
            noise = small & (distance > 0) & (distance >= 0.1 * np.abs(array))
            nothing = (array == 0) & (distance == 0)
            # What has once been a gradient is one, also where it vanishes later.
            real = self._real.get(name, False) | ~(noise | nothing)
            self._real[name] = real
            self._noise[name] = (self._noise.get(name, False) | noise) & ~real

    def _find_loud(self, seen: Arrays, others: Sequence[Arrays]) -> None:
        """The parameters that the optimiser moves by noise, as Adam does and SGD does not."""
        params = [array for key, array in seen.items() if key.startswith("param/")]
        largest = max((float(np.max(np.abs(p), initial=0.0)) for p in params), default=0.0)
        for name, mask in self._noise.items():
            key = f"param/{name}"
            moved = max(_distance(side[key], seen[key], mask) for side in others)
            if moved > _ROUNDING * largest:
                self._loud.add(name)

    def _take_noise_from_run(self) -> None:
        if not self._loud:
            return
        tensors = self._run.tensors()
        for twin in self._twins:
            for key, tensor in twin.tensors().items():
                name = _parameter(key)
                if name in self._loud and (mask := self._noise[name]).any():
                    where = torch.from_numpy(mask).to(tensor.device)
                    tensor.copy_(torch.where(where, tensors[key], tensor))

    def _mask(self, key: str, array: np.ndarray) -> np.ndarray:
        if key.startswith(("param/", "optimizer/")):
            name = _parameter(key)
            if name in self._loud:
                return self._noise[name]
        return np.zeros(array.shape, bool)

    def _have_parted(self, seen: Arrays) -> bool:
        def relative(key: str) -> float:
            largest = float(np.max(np.abs(seen[key]), initial=0.0))
            return self._spread[key] / largest if largest else 0.0

        return any(relative(k) > _PARTED for k in self._spread if k.startswith("param/"))


def _parameter(key: str) -> str:
    """The parameter that a tensor belongs to, ``0.weight`` of ``optimizer/0.weight/exp_avg``."""
    phase, _, name = key.partition("/")
    return name.rpartition("/")[0] if phase == "optimizer" else name


def _moved(stepper: Stepper, *, seed: int) -> Stepper:
    """A copy whose parameters are one unit in the last place away."""
    twin, generator = copy.deepcopy(stepper), torch.Generator().manual_seed(seed)
    for key, tensor in twin.tensors().items():
        if key.startswith("param/"):
            up = (torch.rand(tensor.shape, generator=generator) < 0.5).to(tensor.device)
            bound = torch.where(up, float("inf"), -float("inf")).to(tensor.dtype)
            # The number next to 0 is far less than a rounding of the others.
            moved = torch.where(tensor == 0, tensor, torch.nextafter(tensor, bound))
            tensor.copy_(moved)
    return twin


def _is_as_finite(other: Arrays, seen: Arrays) -> bool:
    """Whether a twin is finite wherever the run is; if not, it says nothing of rounding."""
    return all(
        np.all(np.isfinite(other[key]) | ~np.isfinite(array))
        for key, array in seen.items()
        if array.dtype.kind == "f"
    )


def _distance(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(one - other)
    # Where a number is not finite, nothing is known of rounding, and nothing is allowed for it.
    return float(np.max(distance, initial=0.0, where=np.isfinite(distance) & where))
