"""Free memory, of a device and of the host."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["free_bytes", "host_free_bytes"]

_UNKNOWN = 2**30
"""Assumed where the system does not say: a small machine."""


def free_bytes(device: Any) -> int:
    """Bytes that a program can still allocate on a device.

    Args:
      device: of JAX. If it has no memory statistics, the host's free memory is returned, which
        several CPU devices have to divide.

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
    """Bytes that this process can still allocate without swapping or being killed.

    The least of what the system has available and what the control groups of the process (a
    container's, a batch job's) leave it.

    Args:
      root: where ``proc`` and ``sys`` are.

    Returns:
      A number of bytes; 1 GiB where the system does not say.
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
        # The total, of which half is assumed to be free.
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
    """Page cache, which counts as used but is reclaimed when needed."""
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
