"""Configurations of the workflows: frozen dataclasses that are validated and are pytrees.

The numeric hyperparameters are leaves. One compiled program therefore serves all their values, and
can be vmapped over them; arrays are not validated. The other fields are static.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from numbers import Real as RealNumber
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxdnn.errors import ConfigError

__all__ = [
    "Real",
    "check",
    "register",
    "require_count",
    "require_nonnegative",
    "require_positive",
    "require_seed",
]

T = TypeVar("T")

Real = float | Float[Array, "..."]
"""A numeric hyperparameter: a number, or an array, which a sweep varies under vmap."""


def register(*, numbers: Sequence[str]) -> Callable[[type[T]], type[T]]:
    """Register a dataclass as a pytree whose leaves are the named fields.

    Unlike `jax.tree_util.register_dataclass`, unflattening does not call the class. JAX also
    unflattens with placeholders as leaves, which the checks of the class would reject.

    Args:
      numbers: the names of the fields that are leaves; the other fields are static.

    Returns:
      A class decorator.

    Example:
      >>> @register(numbers=["lr"])
      ... @dataclasses.dataclass(frozen=True)
      ... class Config:
      ...     epochs: int = 5
      ...     lr: Real = 0.1
      >>> jax.tree.map(lambda number: 2 * number, Config())
      Config(epochs=5, lr=0.2)
    """

    def decorate(cls: type[T]) -> type[T]:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        static = [name for name in names if name not in numbers]

        def flatten(config: T) -> tuple[list[tuple[Any, Any]], tuple]:
            leaves = [(jax.tree_util.GetAttrKey(name), getattr(config, name)) for name in numbers]
            return leaves, tuple(getattr(config, name) for name in static)

        def unflatten(values: tuple, leaves: Iterable[Any]) -> T:
            config = object.__new__(cls)
            # The class is frozen, so plain assignment would raise.
            for name, value in zip([*static, *numbers], [*values, *leaves], strict=True):
                object.__setattr__(config, name, value)
            return config

        jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)
        return cls

    return decorate


def check(
    config: Any,
    *,
    counts: Sequence[str] = (),
    nonnegative: Sequence[str] = (),
    positive: Sequence[str] = (),
) -> None:
    """Raise ConfigError unless the named fields satisfy `require_count` and its siblings."""
    for name in counts:
        require_count(name, getattr(config, name))
    for name in nonnegative:
        require_nonnegative(name, getattr(config, name))
    for name in positive:
        require_positive(name, getattr(config, name))


def require_count(name: str, value: Any, *, at_least: int = 1) -> None:
    """Raise ConfigError unless a value is an integer from ``at_least`` to ``2**31 - 1``."""
    if not _is_whole(value) or not at_least <= value < 2**31:
        raise ConfigError(
            f"{name} must be a whole number of at least {at_least}, and less than 2**31; "
            f"got {value!r}."
        )


def require_nonnegative(name: str, value: Any) -> None:
    """Raise ConfigError unless a value is a number from 0 to float32's largest, or an array."""
    if isinstance(value, jax.Array | np.ndarray):
        return
    if not _is_real(value) or not 0 <= float(value) <= float(np.finfo(np.float32).max):
        raise ConfigError(f"{name} must be finite and at least 0; got {value!r}.")


def require_positive(name: str, value: Any) -> None:
    """Raise ConfigError unless a value is a positive number within float32, or an array."""
    require_nonnegative(name, value)
    if not isinstance(value, jax.Array | np.ndarray) and value == 0:
        raise ConfigError(f"{name} must be above 0; got {value!r}.")


def require_seed(value: Any) -> None:
    """Raise ConfigError unless a seed is a nonnegative int32; JAX would wrap a larger one."""
    if not _is_whole(value) or not 0 <= value < 2**31:
        raise ConfigError(f"seed must be a whole number from 0 to {2**31 - 1}; got {value!r}.")


def _is_real(value: Any) -> bool:
    return isinstance(value, RealNumber) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
