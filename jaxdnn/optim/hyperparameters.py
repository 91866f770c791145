"""Types of hyperparameters and schedules, and range checks for Python numbers."""

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
"""A function from the number of previous updates, 0 at first, to a hyperparameter's value."""

Count = int | Integer[Array, "..."]
"""A count, or an array of counts, which the schedules of this package also accept."""

Values = Float[Array, "..."]
"""The value of a schedule at each count."""


def value_at(hyperparameter: Number | Schedule, count: Integer[Array, ""]) -> Number:
    """The value of a hyperparameter or schedule at an update."""
    return hyperparameter(count) if callable(hyperparameter) else hyperparameter


def as_float(count: Count) -> Values:
    """A count in the default floating-point type; under x64 JAX divides int32 in float32."""
    return jnp.asarray(count, jnp.result_type(float))


def is_zero(hyperparameter: Number | Schedule) -> bool:
    """Whether a hyperparameter is the Python number 0, so that its term can be left out."""
    return isinstance(hyperparameter, int | float) and hyperparameter == 0


def require_non_negative(**hyperparameters: Any) -> None:
    """Raise ValueError for a Python number that is negative or NaN."""
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"{name} must be 0 or more; got {value}.")


def require_fraction(**hyperparameters: Any) -> None:
    """Raise ValueError for a Python number outside [0, 1)."""
    for name, value in hyperparameters.items():
        if isinstance(value, int | float) and not 0 <= value < 1:
            raise ValueError(f"{name} must be at least 0 and less than 1; got {value}.")


def require_at_least(least: int, **counts: int) -> None:
    """Raise ValueError for a count below the least one."""
    for name, count in counts.items():
        if count < least:
            raise ValueError(f"{name} must be {least} or more; got {count}.")
