"""Configurations of the workflows: frozen dataclasses that are validated and are pytrees.

The numeric hyperparameters are leaves. One compiled program therefore serves all their values, and
can be vmapped over them; arrays are not validated. The other fields are static.
"""

import dataclasses
from collections.abc import Iterable
from numbers import Integral
from numbers import Real as RealNumber
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxdnn.errors import ConfigError

__all__ = [
    "Real",
    "hyperparameters",
    "require_count",
    "require_nonnegative",
    "require_positive",
    "require_seed",
]

T = TypeVar("T")

Real = float | Float[Array, "..."]
"""A numeric hyperparameter: a number, or an array, which a sweep varies under vmap."""


@dataclass_transform(frozen_default=True)
def hyperparameters(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass that checks its fields and is a pytree.

    What a field is follows from its type:

    - `Real`: a leaf of the pytree; it must satisfy `require_nonnegative`.
    - ``int`` or ``int | None``: static; a number must satisfy `require_count`.
    - ``bool``: static; it must be one.
    - any other type: static, and not checked.

    A ``__post_init__`` of the class may check more.

    Args:
      cls: a class with annotated fields.

    Returns:
      The class as a dataclass.

    Example:
      >>> @hyperparameters
      ... class Config:
      ...     epochs: int = 5
      ...     lr: Real = 0.1
      >>> jax.tree.map(lambda number: 2 * number, Config())
      Config(epochs=5, lr=0.2)
      >>> Config(lr=-0.1)
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: lr must be finite and at least 0; got -0.1.
    """
    own_checks = getattr(cls, "__post_init__", None)

    def check(config: Any) -> None:
        for field in dataclasses.fields(config):
            value = getattr(config, field.name)
            if field.type == Real:
                require_nonnegative(field.name, value)
            elif field.type is bool and not isinstance(value, bool | np.bool_):
                raise ConfigError(f"{field.name} must be True or False; got {value!r}.")
            elif field.type is int or (field.type == int | None and value is not None):
                require_count(field.name, value)
        if own_checks is not None:
            own_checks(config)

    cls.__post_init__ = check  # type: ignore[attr-defined]
    cls = dataclasses.dataclass(frozen=True)(cls)
    _register(cls)
    return cls


def _register(cls: type) -> None:
    """Register a dataclass as a pytree whose leaves are the fields of type `Real`.

    Unlike `jax.tree_util.register_dataclass`, unflattening does not call the class. JAX also
    unflattens with placeholders as leaves, which the checks of the class would reject.
    """
    fields = dataclasses.fields(cls)
    numbers = [field.name for field in fields if field.type == Real]
    static = [field.name for field in fields if field.type != Real]

    def flatten(config: Any) -> tuple[list[tuple[Any, Any]], tuple]:
        leaves = [(jax.tree_util.GetAttrKey(name), getattr(config, name)) for name in numbers]
        return leaves, tuple(getattr(config, name) for name in static)

    def unflatten(values: tuple, leaves: Iterable[Any]) -> Any:
        config = object.__new__(cls)
        # The class is frozen, so plain assignment would raise.
        for name, value in zip([*static, *numbers], [*values, *leaves], strict=True):
            object.__setattr__(config, name, value)
        return config

    jax.tree_util.register_pytree_with_keys(cls, flatten, unflatten)


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
