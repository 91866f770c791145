"""Whether a port draws its initial parameters from the distributions that torch draws from."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.nn import initializers
from jaxtyping import Array, Key, PyTree

from jaxdnn import torch_compat
from jaxdnn.parity import environment, layout
from jaxdnn.parity.compare import Divergence
from jaxdnn.parity.port import Arrays
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.runner import quickly_compiled

if TYPE_CHECKING:
    import torch

__all__ = ["check_initialisation"]

_VALUES = 20_000
"""Numbers of each parameter on each side: enough to see that the scale of a uniform distribution is
3% off."""

_FALSE_ALARM = 1e-9
"""The probability with which one test calls two equal distributions different. With three tests for
each of some tens of parameters, a false alarm stays below one in ten million."""

_DEVIATIONS = 6.1
"""How many standard errors a normal variable exceeds with that probability."""

_FEWEST_DRAWS = 32
"""Of independent draws, 32 pairs correlate by 0.95 with a probability below 1e-15."""

_ALIKE = 1e-4
"""A distribution is not named below this probability: a name needs more than no alarm."""


def check_initialisation(
    torch_init: "Callable[[], torch.nn.Module]",
    init: Callable[[Key[Array, ""]], PyTree],
    *,
    from_torch: Callable[[Arrays], PyTree] | None = None,
    to_torch: Callable[[PyTree], Arrays] | None = None,
    seed: int = 0,
) -> Report:
    r"""Draw many initial parameters on both sides and compare the distribution of each parameter.

    Two samples are called different by the two-sided test of Kolmogorov and Smirnov, whose
    statistic is the largest distance of the empirical distribution functions,
    :math:`D = \sup_x |F_n(x) - G_m(x)|`, or by their means or standard deviations, each at a level
    of :math:`10^{-9}`. In addition, no two parameters of the port may be drawn from one key, and
    another key must give other numbers.

    Args:
      torch_init: makes a module with newly drawn parameters.
      init: ``key -> params``; it is jitted and vmapped.
      from_torch: ``{torch name: array} -> params``, as for `check_port`.
      to_torch: its inverse.
      seed: for the draws of both sides.

    Returns:
      A `Report` with one tier, ``"draws"``; a divergence has the phase ``start``.

    Raises:
      ValueError: the parameters do not correspond.

    Example:
      >>> import jax, jax.numpy as jnp, torch
      >>> from jaxdnn import models
      >>> check_initialisation(
      ...     lambda: torch.nn.Sequential(torch.nn.Linear(30, 200)),
      ...     lambda key: {"0": {
      ...         "kernel": jax.nn.initializers.lecun_normal()(key, (30, 200)),
      ...         "bias": jnp.zeros(200)}}).trap
      'init-lecun-normal'

    Reference:
      Massey, The Kolmogorov-Smirnov test for goodness of fit, Journal of the American Statistical
      Association, 1951.
    """
    from reference_torch.parity import description, training_run

    torch_draws = training_run.initial_draws(torch_init, seed=seed)
    first = next(torch_draws)
    shapes = {name: array.shape for name, array in first.items()}
    if to_torch is None:
        with jax.enable_x64(True):
            to_torch = layout.trace(from_torch or torch_compat.from_torch, shapes).to_torch
    sizes = [array.size for array in first.values() if array.size]
    draws = int(np.clip(math.ceil(_VALUES / min(sizes)), _FEWEST_DRAWS, 4000))
    theirs = _pooled(itertools.islice(itertools.chain([first], torch_draws), draws))
    keys = jax.random.split(jax.random.key(seed), draws)
    drawn = jax.tree.map(np.asarray, quickly_compiled(jax.vmap(init))(keys))
    ported = [to_torch(jax.tree.map(lambda leaf: leaf[i], drawn)) for i in range(draws)]  # noqa: B023
    _require_same(shapes, ported[0])
    ours = _pooled(iter(ported))

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
    if repeated := _repeated(drawn, to_torch):
        detail = f"holds the same numbers as {repeated[1]}"
        divergence = Divergence(0, "start", repeated[0], (), 0.0, 0.0, 0.0, detail)
        trap = "init-key-reuse"
    tier = Tier("draws", draws, statistics, 0.0, () if divergence is None else (divergence,))
    return Report(
        "fail" if divergence else "pass",
        (tier,),
        traps=() if trap is None else (trap,),
        environment={
            "torch": description.environment(),
            "jax": environment.describe(),
        },
    )


def _pooled(draws: Iterator[Arrays]) -> Arrays:
    """At most so many values of each parameter, evenly from all draws."""
    pooled: dict[str, list[np.ndarray]] = {}
    for draw in draws:
        for name, array in draw.items():
            pooled.setdefault(name, []).append(np.ravel(array)[:_VALUES])
    values = {name: np.concatenate(arrays) for name, arrays in pooled.items()}
    return {name: array[:: max(1, len(array) // _VALUES)] for name, array in values.items()}


def _require_same(shapes: dict[str, tuple[int, ...]], initial: Arrays) -> None:
    ours = {name: array.shape for name, array in initial.items()}
    if ours != shapes:
        differing = sorted(
            name for name in ours.keys() | shapes.keys() if ours.get(name) != shapes.get(name)
        )
        raise ValueError(
            f"The parameters do not correspond: {', '.join(differing)}; give a from_torch."
        )


def _distance(one: np.ndarray, other: np.ndarray) -> tuple[float, bool]:
    """The statistic, and whether both may have one distribution."""
    if np.all(one == one[0]) or np.all(other == other[0]):
        same = bool(np.all(one == other[0]) and np.all(other == one[0]))
        return float(not same), same
    statistic, probability = _kolmogorov_smirnov(one, other)
    alike = abs(_deviations(one, other)) < _DEVIATIONS and probability > _FALSE_ALARM
    centred = one - np.mean(one), other - np.mean(other)
    alike = alike and abs(_deviations(*(np.square(side) for side in centred))) < _DEVIATIONS
    return statistic, bool(alike)


def _is_alike(values: np.ndarray, drawn: np.ndarray) -> bool:
    """Whether values may have a known distribution, with a stricter test than `_distance`."""
    spreads = abs(_deviations(np.square(values), np.square(drawn)))
    return _kolmogorov_smirnov(values, drawn)[1] > _ALIKE and spreads < 4


def _deviations(one: np.ndarray, other: np.ndarray) -> float:
    """By how many standard errors two means differ."""
    error = math.sqrt(np.var(one) / len(one) + np.var(other) / len(other))
    return float(np.mean(one) - np.mean(other)) / error


def _kolmogorov_smirnov(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The statistic and its probability where both have one distribution."""
    from scipy import stats  # slow to import

    result: Any = stats.ks_2samp(one, other, method="asymp")
    return float(result.statistic), float(result.pvalue)


def _repeated(drawn: PyTree, to_torch: Callable[[PyTree], Arrays]) -> tuple[str, str] | None:
    """A parameter whose numbers follow those of another over many draws, or stay the same."""
    paths = jax.tree_util.tree_leaves_with_path(drawn)
    names = _torch_names(drawn, to_torch)
    # The first numbers of each leaf: drawn from one key, they are equal or in proportion.
    firsts = [leaf.reshape(len(leaf), -1)[:, :4] for _, leaf in paths]
    for name, values in zip(names, firsts, strict=True):
        if np.ptp(values) and not np.any(np.ptp(values, axis=0)):
            return name, "with any other key"
    random = [(n, v) for n, v in zip(names, firsts, strict=True) if np.all(np.ptp(v, axis=0))]
    for (one, a), (other, b) in itertools.combinations(random, 2):
        correlations = np.corrcoef(a, b, rowvar=False)[: a.shape[1], a.shape[1] :]
        if len(a) >= _FEWEST_DRAWS and np.max(np.abs(correlations)) > 0.95:
            return other, one
    return None


def _torch_names(drawn: PyTree, to_torch: Callable[[PyTree], Arrays]) -> list[str]:
    """Torch's name for each leaf, or else its path."""
    paths, structure = jax.tree_util.tree_flatten_with_path(drawn)
    numbered = [np.full(leaf.shape[1:], i, np.float64) for i, (_, leaf) in enumerate(paths)]
    found = to_torch(jax.tree.unflatten(structure, numbered))
    known = {int(array.flat[0]): name for name, array in found.items() if array.size}
    spelled = [jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths]
    return [known.get(i, name) for i, name in enumerate(spelled)]


_KNOWN = {
    "init-lecun-normal": initializers.lecun_normal(),
    "init-kaiming-uniform": initializers.kaiming_uniform(),
    "init-glorot": initializers.glorot_uniform(),
    "init-fan-out": initializers.variance_scaling(1 / 3, "fan_out", "uniform"),
    "init-normal-std": initializers.normal(),
}
"""What ports draw from instead of torch's distribution, as the catalogue names it."""


def _name(values: np.ndarray, shape: tuple[int, ...], seed: int) -> str | None:
    if not np.any(values):
        return "init-zero-bias" if len(shape) == 1 else None
    kernel = (*shape[2:], shape[1], shape[0]) if len(shape) > 1 else shape
    # The others need the fans of a kernel.
    names = _KNOWN if len(shape) > 1 else ["init-normal-std"]
    return next((n for n in names if _is_alike(values, _drawn(n, kernel, seed + 1))), None)


@functools.lru_cache(maxsize=16)
def _drawn(name: str, kernel: tuple[int, ...], seed: int) -> np.ndarray:
    draws = max(1, _VALUES // math.prod(kernel))
    keys = jax.random.split(jax.random.key(seed), draws)
    return np.ravel(quickly_compiled(jax.vmap(lambda key: _KNOWN[name](key, kernel)))(keys))
