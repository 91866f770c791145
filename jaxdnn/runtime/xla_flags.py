"""Flags of XLA that have to be set before JAX starts, and why.

``import jaxdnn`` calls `set_flags`, so that every way into the package is protected alike.
"""

import functools
import os
import platform
import sys
import warnings

__all__ = ["REDUCTION_FLAG", "set_flags"]

REDUCTION_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-reduce"
"""Keeps reductions out of a fusion that computes some of them wrongly on x86-64 CPUs.

Wrong are for instance some elements of ``jit(vmap(lambda r: sum((eye(3) @ r) ** 2)))`` over tens of
thousands of rows; see jax-ml/jax issues 39103, 39257 and 40412.
"""

_MISCOMPILING = ("0.10.2", "0.11.0")
"""Releases of jaxlib that have the fault. Others may not know the flag, and XLA ends a process
that sets a flag it does not know."""


@functools.cache
def set_flags() -> str | None:
    """Put what this machine's jaxlib needs into XLA_FLAGS; ``import jaxdnn`` calls it.

    Flags that the user has set stay, and win. Later calls repeat the first one's answer. A
    RuntimeWarning is issued if JAX has started without the flag, which then has no effect.

    Returns:
      A sentence that says which flag was set and why; None if none was.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    version = _jaxlib_version()
    flags = _users_flags()
    if version not in _MISCOMPILING or flags is None or _sets(flags, REDUCTION_FLAG):
        return None
    if _jax_has_started():
        # The variable stays as it is: XLA has read it, and JAX's compilation cache, whose keys
        # contain it, would take the wrong programs of this process for right ones.
        warnings.warn(
            f"JAX has started before jaxdnn was imported, and on this CPU jaxlib {version} "
            "computes some sums wrongly. Start Python again, and import jaxdnn before the first "
            f"JAX computation, or set XLA_FLAGS={REDUCTION_FLAG} before Python starts.",
            RuntimeWarning,
            stacklevel=3,  # this function, jaxdnn/__init__.py, whoever imports it
        )
        return None
    # In front, since XLA takes a value for the name of a file unless it starts with a dash.
    os.environ["XLA_FLAGS"] = f"{REDUCTION_FLAG} {flags.strip()}".rstrip()
    return f"XLA_FLAGS={REDUCTION_FLAG} set, since jaxlib {version} computes some sums wrongly"


def _jaxlib_version() -> str | None:
    """The version of jaxlib, without loading its libraries; None if it is not installed."""
    try:
        from jaxlib.version import __version__
    except ImportError:
        return None
    return __version__


def _users_flags() -> str | None:
    """The flags in XLA_FLAGS, or in the file that it names; None if that file cannot be read."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flags.lstrip()[:1] in ("", "-"):
        return flags
    try:
        with open(flags, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return None  # XLA ends the process and names the file


def _sets(flags: str, flag: str) -> bool:
    """Whether the flags contain this one, with whatever value."""
    name = flag.partition("=")[0]
    return any(each.partition("=")[0] == name for each in flags.split())


def _jax_has_started() -> bool:
    """Whether JAX has initialised its devices, which is when XLA reads its flags.

    An import of JAX does not do that. There is no public function for it (jax-ml/jax issue 23320).
    """
    bridge = sys.modules.get("jax._src.xla_bridge")
    if bridge is None:
        return False
    try:
        return bridge.backends_are_initialized()
    except AttributeError:
        # In a JAX without that function the table behind it may remain. If neither can be asked, a
        # needless warning is better than wrong sums.
        return bool(getattr(bridge, "_backends", True))
