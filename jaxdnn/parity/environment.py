"""The environment of a comparison, and whether its compiler can be trusted."""

import functools
import importlib.metadata
import platform
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdnn.runtime.xla_flags import REDUCTION_FLAG

__all__ = ["compiler_checks", "describe"]


_PRECISION = "jax_default_matmul_precision"


def describe() -> dict[str, Any]:
    """Versions, device and arithmetic of the JAX side.

    Returns:
      ``jax``, ``jaxlib``, ``python``, ``machine``, ``device``, ``x64`` and ``matmul_precision``
      (the caller's, which a comparison replaces by its own), ``tf32`` (whether the comparison may
      use it) and ``flushes_denormals``.
    """
    device = jax.devices()[0]
    tiny = jnp.asarray(np.float32(1e-40))
    return {
        "jax": jax.__version__,
        "jaxlib": importlib.metadata.version("jaxlib"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": device.device_kind if device.platform != "cpu" else "cpu",
        "x64": jnp.result_type(float) == jnp.float64,
        "matmul_precision": getattr(jax.config, _PRECISION) or "default",
        "tf32": False,
        "flushes_denormals": bool(np.asarray(jax.jit(jnp.multiply)(tiny, np.float32(1))) == 0),
    }


def compiler_checks() -> tuple[str, ...]:
    """Compute expressions that compilers are known to have miscompiled.

    Returns:
      A sentence for each that this compiler gets wrong, with the fix; empty if there is none.

    Example:
      >>> compiler_checks()
      ()
    """
    return tuple(filter(None, (_reduction(jax.default_backend()),)))


@functools.cache
def _reduction(backend: str) -> str | None:
    """The reduction that jaxlib 0.10.2 vectorises wrongly on x86-64 CPUs."""
    with jax.enable_x64(False), jax.default_matmul_precision("highest"):
        rows = np.zeros((32_769, 3), np.float32)
        rows[:, 0] = np.arange(len(rows))
        identity = np.eye(3, dtype=np.float32)
        sums = jax.jit(jax.vmap(lambda row: jnp.sum((identity @ row) ** 2)))(rows)
    wrong = int(np.sum(np.asarray(sums) != rows[:, 0] ** 2))
    if not wrong:
        return None
    return (
        f"the compiler cannot be trusted: of 32,769 sums of three squares, jaxlib "
        f"{importlib.metadata.version('jaxlib')} on {backend} gets {wrong} wrong; set "
        f"XLA_FLAGS={REDUCTION_FLAG} before Python starts"
    )
