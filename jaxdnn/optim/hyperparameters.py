"""Hyperparameters: numbers, which are checked, and arrays and schedules, which are not."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

__all__ = [
    "Count",
    "Number",
    "Schedule",
    "Values",
    "as_float",
    "is_zero",
    "require_at_least",
    "require_fraction",
    "require_non_negative",
    "value_at",
]

Number = int | float | Float[Array, ""]
"""A Python number, or a scalar array, traced or not."""

Schedule = Callable[[Integer[Array, ""]], Number]
"""From the number of updates before this one, 0 at first, to a hyperparameter's value."""

Count = int | Integer[Array, "..."]
"""One count, or many at once, which our own schedules take too."""

Values = Float[Array, "..."]
"""A schedule's value for each."""


def value_at(hyperparameter: Number | Schedule, count: Integer[Array, ""]) -> Number:
    """What a hyperparameter is at an update."""
    return hyperparameter(count) if callable(hyperparameter) else hyperparameter


def as_float(count: Count) -> Values:
    """A count in the default floating-point type; JAX would divide 32-bit integers in float32."""
    return jnp.asarray(count, jnp.result_type(float))


def is_zero(hyperparameter: Number | Schedule) -> bool:
    """Whether it is the Python number 0, so that a program can leave out what it would scale."""
    return isinstance(hyperparameter, int | float) and hyperparameter == 0


def require_non_negative(**hyperparameters: Any) -> None:
    """Refuse a Python number below 0, or NaN, by its name."""
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"{name} must be 0 or more; got {value}.")


def require_fraction(**hyperparameters: Any) -> None:
    """Refuse a Python number outside [0, 1) by its name."""
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and less than 1; got {value}.")


def require_at_least(least: int, **counts: int) -> None:
    """Refuse a smaller number of counts by its name."""
    for name, count in counts.items():
        if count < least:
            raise ValueError(f"{name} must be {least} or more; got {count}.")
