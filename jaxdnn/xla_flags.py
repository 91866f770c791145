"""Flags of XLA that have to be set before JAX starts, each with its reason."""

import importlib.metadata
import importlib.util
import os
import platform

__all__ = ["REDUCTION_FLAG", "WHILE_FLAG", "set_flags"]

REDUCTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
"""Keeps reductions out of a fusion that computes some of them wrongly on x86-64 CPUs.

Wrong are for instance some elements of ``jit(vmap(lambda r: sum((eye(3) @ r) ** 2)))`` over tens of
thousands of rows; see jax-ml/jax issues 39103, 39257 and 40412.
"""

_MISCOMPILING = ("0.10.2", "0.11.0")
"""Releases of jaxlib that have the fault. Others may not know the flag, and XLA ends a process
that sets a flag it does not know."""

WHILE_FLAG = "--xla_gpu_enable_command_buffer=+WHILE"
"""Lets an NVIDIA GPU run a whole loop of steps as one CUDA graph.

The steps of small networks are kernels of microseconds, which take longer to launch one by one than
to run.
"""

_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def set_flags() -> str | None:
    """Set what this machine's jaxlib needs; to be called before JAX touches a device.

    Flags that the user has set stay, and win.

    Returns:
      What was set to mend results and why, one sentence; None if nothing was.
    """
    if any(importlib.util.find_spec(plugin) for plugin in _PLUGINS):
        _set(WHILE_FLAG)
    version = importlib.metadata.version("jaxlib")
    affected = version in _MISCOMPILING and platform.machine().lower() in ("x86_64", "amd64")
    if not affected or not _set(REDUCTION_FLAG):
        return None
    return f"XLA_FLAGS={REDUCTION_FLAG} set, since jaxlib {version} computes some sums wrongly"


def _set(flag: str) -> bool:
    """Whether the user left it to us."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.partition("=")[0] in flags:
        return False
    os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()
    return True
