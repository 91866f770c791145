"""JAX's persistent compilation cache, in the user's cache folder."""

import os
from pathlib import Path
from typing import Any

from jaxdnn.errors import ConfigError

__all__ = ["repair", "settings"]

_MOST_BYTES = 2**30
"""A run takes a few megabytes; without a limit, JAX would never delete a program."""


def settings() -> dict[str, Any]:
    """JAX's settings for a cache of at most 1 GiB in the user's cache folder.

    Returns:
      Values by the names of `jax.config`; none if the user has set ``JAX_COMPILATION_CACHE_DIR``.

    Raises:
      ConfigError: the folder cannot be written.

    Reference:
      `Persistent compilation cache
      <https://docs.jax.dev/en/latest/persistent_compilation_cache.html>`_
    """
    import platformdirs

    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return {}
    folder = platformdirs.user_cache_path("jaxdnn") / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("Permission denied")
        repair(folder)
    except OSError as error:
        raise ConfigError(
            f"The compilation cache {folder} cannot be written ({error.strerror or error}); "
            "set JAX_COMPILATION_CACHE_DIR to another folder, or give --no-compile-cache."
        ) from error
    return {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": _MOST_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }


def repair(folder: Path) -> None:
    """Remove programs that a killed process left incomplete.

    JAX writes a program, then a second file with the time of its last use. If the second is
    missing, the first may be truncated, and JAX stops writing to the cache.

    Args:
      folder: of a cache with a size limit.
    """
    import filelock

    try:
        with filelock.FileLock(folder / ".lockfile", timeout=10):  # JAX's own lock
            for program in folder.glob("*-cache"):
                used = program.with_name(f"{program.name.removesuffix('-cache')}-atime")
                if not used.exists():
                    program.unlink()
    except filelock.Timeout:
        return  # another process is writing; it has repaired the folder itself
