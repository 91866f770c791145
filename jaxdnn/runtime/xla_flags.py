"""Flags of XLA that have to be set before JAX starts, and why."""

import importlib.metadata
import os
import platform

__all__ = ["REDUCTION_FLAG", "set_flags"]

REDUCTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
"""Keeps reductions out of a fusion that computes some of them wrongly on x86-64 CPUs.

Wrong are for instance some elements of ``jit(vmap(lambda r: sum((eye(3) @ r) ** 2)))`` over tens of
thousands of rows; see jax-ml/jax issues 39103, 39257 and 40412.
"""

_MISCOMPILING = ("0.10.2", "0.11.0")
"""Releases of jaxlib that have the fault. Others may not know the flag, and XLA ends a process
that sets a flag it does not know."""


def set_flags() -> str | None:
    """Set what this machine's jaxlib needs; to be called before JAX touches a device.

    Flags that the user has set stay, and win.

    Returns:
      A sentence that says which flag was set and why; None if none was.
    """
    version = importlib.metadata.version("jaxlib")
    affected = version in _MISCOMPILING and platform.machine().lower() in ("x86_64", "amd64")
    if not affected or not _set(REDUCTION_FLAG):
        return None
    return f"XLA_FLAGS={REDUCTION_FLAG} set, since jaxlib {version} computes some sums wrongly"


def _set(flag: str) -> bool:
    """Append a flag, unless the user has set it; whether it was appended."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] in flags:
        return False
    os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
    return True
