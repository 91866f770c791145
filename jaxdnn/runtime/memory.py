"""How much memory is left for arrays."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["free_bytes", "host_free_bytes"]

_UNKNOWN = 2**30
"""What is assumed of a system that does not say."""


def free_bytes(device: Any) -> int:
    """Bytes that a program may still take on a device.

    Args:
      device: of JAX. One that keeps no account is taken to use the host's memory, all of it: CPU
        devices that share it have to divide the number.

    Returns:
      A number of bytes.

    Example:
      >>> import jax
      >>> free_bytes(jax.devices()[0]) > 0
      True
    """
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return max(stats["bytes_limit"] - stats.get("bytes_in_use", 0), 0)
    return host_free_bytes()


def host_free_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process may still take without swapping or being ended.

    The least of what the system has available and what the control groups of the process (a
    container's, a batch job's) leave it.

    Args:
      root: where ``proc`` and ``sys`` are.

    Returns:
      A number of bytes; a cautious one where the system does not say.
    """
    found = [*_available(root), *_groups(root)]
    return max(min(found), 0) if found else _UNKNOWN


def _available(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield 1024 * int(value.split()[0])
            return
    names = getattr(os, "sysconf_names", {})
    if root == Path("/") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        # Not how much is free, so a half of it.
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _groups(root: Path) -> Iterator[int]:
    """What every control group that the process is in leaves it, its parents' too (version 2)."""
    for line in _lines(root / "proc/self/cgroup"):
        if not line.startswith("0::"):
            continue
        # In a container the path is often the host's, and the group is mounted at the top.
        parts = Path(line[3:].strip("/")).parts
        for length in range(len(parts) + 1):
            folder = (root / "sys/fs/cgroup").joinpath(*parts[:length])
            limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
            if limit is not None:
                yield limit - (used or 0) + _cache(folder / "memory.stat")


def _cache(path: Path) -> int:
    """What counts as used and is given back when it is needed."""
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
