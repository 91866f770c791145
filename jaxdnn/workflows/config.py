"""What every workflow's configuration must hold to.

A configuration is also a pytree, so that a run can be vmapped over its numbers; then its fields are
tracers or placeholders, and there is nothing to check.
"""

import math
from typing import Any

from jaxtyping import Array, Float, Int

from jaxdnn.errors import ConfigError

__all__ = ["Integer", "Real", "require_count", "require_nonnegative", "require_seed"]

Real = float | Float[Array, "..."]
"""A hyperparameter that a sweep may vary: a number, or an array of them under vmap."""

Integer = int | Int[Array, "..."]
"""Likewise a whole number."""


def require_count(name: str, value: Any) -> None:
    """Raise ConfigError unless a plain number is an integer of at least 1."""
    if isinstance(value, int | float) and (value != int(value) or value < 1):
        raise ConfigError(f"{name} must be a whole number of at least 1; got {value}.")


def require_nonnegative(name: str, value: Any) -> None:
    """Raise ConfigError if a plain number is negative, infinite or NaN."""
    if isinstance(value, int | float) and not 0 <= value < math.inf:
        raise ConfigError(f"{name} must be finite and at least 0; got {value}.")


def require_seed(name: str, value: Any) -> None:
    """Raise ConfigError unless a plain number fits JAX's default integer, which wraps silently."""
    if isinstance(value, int | float) and not 0 <= value < 2**31:
        raise ConfigError(f"{name} must be between 0 and {2**31 - 1}; got {value}.")
