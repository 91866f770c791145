"""Conversions to fewer bits inside a program."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["narrows"]


def narrows(function: Callable[..., Any], *args: Any) -> bool:
    """Whether a function that is given float64 converts it to fewer bits anywhere.

    Example:
      >>> with jax.enable_x64(True):
      ...     x = jnp.ones(2)
      ...     narrows(lambda x: x.astype(jnp.float16).astype(x.dtype), x), narrows(jnp.sin, x)
      (True, False)
    """
    program = jax.make_jaxpr(function)(*args)
    return any(_is_narrowing(equation) for equation in _equations(program.jaxpr))


def _equations(program: Any) -> Iterator[Any]:
    for equation in program.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _is_narrowing(equation: Any) -> bool:
    def widest(variables: Any) -> int:
        dtypes = (getattr(variable.aval, "dtype", None) for variable in variables)
        floats = [d for d in dtypes if d is not None and jnp.issubdtype(d, jnp.floating)]
        return max((jnp.finfo(d).bits for d in floats), default=0)

    return widest(equation.invars) == 64 and 0 < widest(equation.outvars) < 64
