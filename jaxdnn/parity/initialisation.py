"""Whether a port draws its start from the distributions that torch draws from."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.nn import initializers
from jaxtyping import Array, Key, PyTree

from jaxdnn import interop
from jaxdnn.parity import environment, layout
from jaxdnn.parity.compare import Divergence
from jaxdnn.parity.port import Arrays
from jaxdnn.parity.report import Report, Tier

if TYPE_CHECKING:
    import torch

__all__ = ["check_initialisation"]

_VALUES = 20_000
"""Numbers of each parameter on each side, so that a 3 % change of the scale is seen."""

_FALSE_ALARM = 1e-9
"""The probability that two equal distributions are called different."""

_ALIKE = 1e-4
"""A named distribution is ruled out below this probability."""


def check_initialisation(
    torch_init: "Callable[[], torch.nn.Module]",
    init: Callable[[Key[Array, ""]], PyTree],
    *,
    from_torch: Callable[[Arrays], PyTree] | None = None,
    to_torch: Callable[[PyTree], Arrays] | None = None,
    seed: int = 0,
) -> Report:
    r"""Draw many starts on both sides and compare the distribution of each parameter.

    Two samples are called different by the two-sided test of Kolmogorov and Smirnov at a level of
    :math:`10^{-9}`. Its statistic is the largest distance of the empirical distribution functions,
    :math:`D = \sup_x |F_n(x) - G_m(x)|`. Besides, no two parameters of the port may hold the same
    numbers, and another key must give others.

    Args:
      torch_init: makes a module with a fresh start.
      init: ``key -> params``.
      from_torch: ``{torch name: array} -> params``, as for `check_port`.
      to_torch: its inverse.
      seed: of both sides' draws.

    Returns:
      A `Report` with one tier, ``"draws"``; a divergence is in the phase ``start``.

    Raises:
      ValueError: the parameters do not correspond.

    Example:
      >>> import jax, jax.numpy as jnp, torch
      >>> from jaxdnn import models
      >>> check_initialisation(
      ...     lambda: torch.nn.Sequential(torch.nn.Linear(8, 4)),
      ...     lambda key: {"0": {
      ...         "kernel": jax.nn.initializers.lecun_normal()(key, (8, 4)),
      ...         "bias": jnp.zeros(4)}}).trap
      'init-lecun-normal'

    Reference:
      Massey, The Kolmogorov-Smirnov test for goodness of fit, Journal of the American Statistical
      Association, 1951.
    """
    from reference_torch import training_run

    torch_draws = training_run.starts(torch_init, seed=seed)
    first = next(torch_draws)
    shapes = {name: array.shape for name, array in first.items()}
    if to_torch is None:
        with jax.enable_x64(True):
            to_torch = layout.trace(from_torch or interop.from_torch, shapes).to_torch
    sizes = [array.size for array in first.values() if array.size]
    draws = int(np.clip(math.ceil(_VALUES / min(sizes)), 8, 4000))
    theirs = _pooled(itertools.islice(itertools.chain([first], torch_draws), draws))
    keys = jax.random.split(jax.random.key(seed), draws)
    compiled = jax.jit(init)
    starts = [to_torch(compiled(key)) for key in keys]
    _require_same(shapes, starts[0])
    ours = _pooled(iter(starts))

    statistics, divergence, trap = {}, None, None
    for name in shapes:
        statistic, alike = _distance(theirs[name], ours[name])
        statistics[f"start/{name}"] = statistic
        if divergence is None and not alike:
            deviations = float(np.std(theirs[name])), float(np.std(ours[name]))
            detail = (
                f"torch draws with mean {np.mean(theirs[name]):.3g} and standard deviation "
                f"{deviations[0]:.3g}, the port with {np.mean(ours[name]):.3g} and "
                f"{deviations[1]:.3g}; the distribution functions are {statistic:.2g} apart"
            )
            divergence = Divergence(0, "start", name, (), *deviations, statistic, detail)
            trap = _name(ours[name], shapes[name], seed)
    if divergence is None and (repeated := _repeated(starts[0], starts[1])):
        detail = f"holds the same numbers as {repeated[1]}"
        divergence = Divergence(0, "start", repeated[0], (), 0.0, 0.0, 0.0, detail)
        trap = "init-key-reuse"
    tier = Tier("draws", draws, statistics, 0.0, divergence)
    return Report(
        "fail" if divergence else "pass",
        (tier,),
        trap=trap,
        environment={"jax": environment.describe()},
    )


def _pooled(draws: Iterator[Arrays]) -> Arrays:
    """At most so many values of each parameter, evenly from all draws."""
    pooled: dict[str, list[np.ndarray]] = {}
    for draw in draws:
        for name, array in draw.items():
            pooled.setdefault(name, []).append(np.ravel(array)[:_VALUES])
    values = {name: np.concatenate(arrays) for name, arrays in pooled.items()}
    return {name: array[:: max(1, len(array) // _VALUES)] for name, array in values.items()}


def _require_same(shapes: dict[str, tuple[int, ...]], start: Arrays) -> None:
    ours = {name: array.shape for name, array in start.items()}
    if ours != shapes:
        differing = sorted(
            name for name in ours.keys() | shapes.keys() if ours.get(name) != shapes.get(name)
        )
        raise ValueError(
            f"The parameters do not correspond: {', '.join(differing)}; give a from_torch."
        )


def _distance(one: np.ndarray, other: np.ndarray) -> tuple[float, bool]:
    """The statistic, and whether the two may be of one distribution."""
    if np.all(one == one[0]) or np.all(other == other[0]):
        same = bool(np.all(one == other[0]) and np.all(other == one[0]))
        return float(not same), same
    statistic, probability = _kolmogorov_smirnov(one, other)
    return statistic, probability > _FALSE_ALARM


def _kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The statistic and its probability where both have one distribution."""
    from scipy import stats  # slow to import

    result: Any = stats.ks_2samp(one, other, method="asymp")
    return float(result.statistic), float(result.pvalue)


def _repeated(start: Arrays, another: Arrays) -> tuple[str, str] | None:
    names = [name for name, array in start.items() if np.ptp(array) > 0]
    for name in names:
        if np.array_equal(start[name], another[name]):
            return name, "with any other key"
    for one, other in itertools.combinations(names, 2):
        a, b = np.ravel(start[one]), np.ravel(start[other])
        if min(a.size, b.size) > 1 and np.array_equal(np.sort(a)[:99], np.sort(b)[:99]):
            return other, one
    return None


def _name(values: np.ndarray, shape: tuple[int, ...], seed: int) -> str | None:
    if not np.any(values):
        return "init-zero-bias" if len(shape) == 1 else None
    uniform = initializers.variance_scaling(1 / 3, "fan_out", "uniform")
    known = {
        "init-lecun-normal": initializers.lecun_normal(),
        "init-kaiming-uniform": initializers.kaiming_uniform(),
        "init-glorot": initializers.glorot_uniform(),
        "init-fan-out": uniform,
        "init-normal-std": initializers.normal(),
    }
    kernel = (*shape[2:], shape[1], shape[0]) if len(shape) > 1 else shape
    for name, initializer in known.items():
        if len(shape) < 2 and name != "init-normal-std":
            continue
        draws = max(1, _VALUES // math.prod(kernel))
        keys = jax.random.split(jax.random.key(seed + 1), draws)
        drawn = np.ravel(jax.vmap(lambda key: initializer(key, kernel))(keys))  # noqa: B023
        if _kolmogorov_smirnov(values, drawn)[1] > _ALIKE:
            return name
    return None
