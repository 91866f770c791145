"""The hyperparameters of a sweep: parsing of values, and all their combinations."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jaxdnn.errors import ConfigError

__all__ = ["Grid", "grid", "parse_numbers", "parse_seeds"]

_MOST = 10_000_000
"""Limit on the networks of a sweep: the arrays that describe more would not fit into memory."""

_FORMS = "give a number, several (0.1,0.2), or a range: FROM:TO:COUNT or FROM:TO:COUNTlog"


def parse_numbers(text: str, *, option: str) -> list[float]:
    """Parse a number, a list, or a range.

    Args:
      text: ``0.1``; or ``0.003,0.01,0.1``; or ``0:0.9:10`` for ten evenly spaced numbers, both ends
        included; or ``0.003:0.3:8log`` for eight evenly spaced on a logarithmic scale.
      option: the option that named it, for the message.

    Returns:
      The numbers, in the order given.

    Raises:
      ConfigError: it is none of these, or a number is repeated.

    Example:
      >>> parse_numbers("0:0.9:4", option="--momentum")
      [0.0, 0.3, 0.6, 0.9]
      >>> parse_numbers("0.001:0.1:3log", option="--lr")
      [0.001, 0.01, 0.1]
    """
    if ":" in text:
        values = _range(text, option)
    else:
        values = [_number(part, text, option) for part in text.split(",")]
    _refuse_twice(values, text, option)
    return values


def parse_seeds(text: str, *, option: str = "--seeds") -> list[int]:
    """Parse a number of seeds, or a list.

    Args:
      text: ``32`` for 0 to 31, ``3,5,8`` for these, ``5:9`` for 5 to 9 with both ends.
      option: the option that named it, for the message.

    Returns:
      The seeds, in the order given.

    Raises:
      ConfigError: it is none of these, is empty, or a seed does not fit 31 bits or is repeated.

    Example:
      >>> parse_seeds("3"), parse_seeds("3,5,8"), parse_seeds("5:7")
      ([0, 1, 2], [3, 5, 8], [5, 6, 7])
    """
    parts = text.split(":") if ":" in text else text.split(",")
    if not all(re.fullmatch(r"\s*\d{1,18}\s*", part) for part in parts) or (
        ":" in text and len(parts) != 2
    ):
        raise ConfigError(
            f"{option} {text}: give how many (32), which (3,5,8), or from which to which (5:9)."
        )
    numbers = [int(part) for part in parts]
    if len(parts) == 1:
        if not numbers[0]:
            raise ConfigError(f"{option} 0: that leaves no network; ask for at least one seed.")
        numbers = [0, numbers[0] - 1]
    elif "," in text:
        if max(numbers) >= 2**31:
            raise ConfigError(f"{option} {text}: a seed is at most {2**31 - 1}.")
        _refuse_twice(numbers, text, option)
        return numbers
    first, last = numbers
    if last < first:
        raise ConfigError(f"{option} {text}: that leaves no network; the second is the last seed.")
    if last >= 2**31:
        raise ConfigError(f"{option} {text}: a seed is at most {2**31 - 1}.")
    if last - first >= _MOST:
        raise ConfigError(f"{option} {text}: a sweep has at most {_MOST:,} networks.")
    return list(range(first, last + 1))


@dataclass(frozen=True)
class Grid:
    """All combinations of hyperparameters, each with all seeds.

    Attributes:
      config: the configuration of the first combination.
      varied: the values of each hyperparameter that has several.
      seeds: with which every combination is trained.
    """

    config: Any
    varied: Mapping[str, list[float]]
    seeds: list[int]

    @property
    def settings(self) -> int:
        """Number of combinations."""
        return math.prod(map(len, self.varied.values()))

    @property
    def networks(self) -> int:
        """Number of combinations times number of seeds."""
        return self.settings * len(self.seeds)

    def values(self, setting: int) -> dict[str, float]:
        """The varied hyperparameters of one combination; the last of them varies fastest."""
        shape = [len(values) for values in self.varied.values()]
        indices = np.unravel_index(setting, shape) if shape else ()
        return {
            name: values[i] for (name, values), i in zip(self.varied.items(), indices, strict=True)
        }

    def config_of(self, network: int) -> Any:
        """The configuration of one network."""
        return dataclasses.replace(self.config, **self.values(network // len(self.seeds)))

    def seed_of(self, network: int) -> int:
        """The seed of one network."""
        return self.seeds[network % len(self.seeds)]

    def arrays(self) -> tuple[Int[np.ndarray, " networks"], Any]:
        """The seeds of all networks, and a configuration whose numbers are arrays over them.

        Networks of one combination are adjacent, in the order of the seeds.
        """
        seeds = np.tile(np.array(self.seeds, np.int32), self.settings)
        shape = tuple(len(values) for values in self.varied.values())
        columns: dict[str, Any] = {}
        for axis, (name, values) in enumerate(self.varied.items()):
            along = np.array(values).reshape([-1 if i == axis else 1 for i in range(len(shape))])
            column = np.broadcast_to(along, shape).ravel()
            columns[name] = np.repeat(column, len(self.seeds))
        configs = jax.tree_util.tree_map_with_path(
            lambda path, leaf: np.broadcast_to(columns.get(path[0].name, leaf), seeds.shape),
            self.config,
        )
        return seeds, configs


def grid(config: Any, texts: Mapping[str, str], seeds: str) -> Grid:
    """Make all combinations of the values on a command line.

    Args:
      config: the other settings.
      texts: for some of its numbers, a text for `parse_numbers`.
      seeds: a text for `parse_seeds`.

    Returns:
      The grid; every value has passed the checks of ``config``.

    Raises:
      ConfigError: a text cannot be parsed, a value is out of range, or there are too many networks.

    Example:
      >>> from jaxdnn.workflows import mnist_dnn
      >>> found = grid(mnist_dnn.Config(), {"lr": "0.1,0.2", "momentum": "0.9"}, "3")
      >>> found.networks, found.values(1), found.config.momentum
      (6, {'lr': 0.2}, 0.9)
    """
    varied: dict[str, list[float]] = {}
    for name, text in texts.items():
        option = f"--{name.replace('_', '-')}"
        values = parse_numbers(text, option=option)
        for value in values:
            dataclasses.replace(config, **{name: value})  # raises if it is out of range
        config = dataclasses.replace(config, **{name: values[0]})
        if len(values) > 1:
            varied[name] = values
    found = Grid(config, varied, parse_seeds(seeds))
    if found.networks > _MOST:
        raise ConfigError(
            f"These are {found.networks:,} networks; a sweep has at most {_MOST:,}. Give fewer "
            "values or seeds."
        )
    return found


def _range(text: str, option: str) -> list[float]:
    parts = text.split(":")
    match = re.fullmatch(r"\s*(\d{1,18})\s*(log)?\s*", parts[-1])
    if len(parts) != 3 or match is None:
        raise ConfigError(f"{option} {text}: {_FORMS}.")
    start, stop = (_number(part, text, option) for part in parts[:2])
    count = int(match[1])
    if count < 2:
        raise ConfigError(f"{option} {text}: a range has both its ends, so at least 2 numbers.")
    if count > _MOST:
        raise ConfigError(f"{option} {text}: a sweep has at most {_MOST:,} networks.")
    if not (math.isfinite(start) and math.isfinite(stop)):
        raise ConfigError(f"{option} {text}: a range needs finite ends.")
    if match[2] is None:
        # Rounded, so that 0:0.9:4 contains 0.3 and not 0.30000000000000004.
        return [float(f"{value:.15g}") for value in np.linspace(start, stop, count)]
    if start <= 0 or stop <= 0:
        raise ConfigError(
            f"{option} {text}: a range of equal ratios stays above 0; start above 0, or leave out "
            "'log'."
        )
    inner = np.geomspace(start, stop, count)[1:-1]
    return [start, *(float(f"{value:.15g}") for value in inner), stop]


def _number(part: str, text: str, option: str) -> float:
    try:
        return float(part)
    except ValueError:
        raise ConfigError(f"{option} {text}: {_FORMS}.") from None


def _refuse_twice(values: list[Any], text: str, option: str) -> None:
    if len(set(values)) < len(values):
        twice = next(a for a, b in itertools.pairwise(sorted(values)) if a == b)
        raise ConfigError(f"{option} {text}: {twice:g} comes twice; give it once.")
