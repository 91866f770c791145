"""The folder in which JAX keeps compiled programs from one start to the next."""

import os
from pathlib import Path
from typing import Any

from jaxdnn.errors import ConfigError

__all__ = ["mend", "settings"]

_MOST_BYTES = 2**30


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
        mend(folder)
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


def mend(folder: Path) -> None:
    """Remove programs that a killed process had not written to their end.

    JAX writes a program and then, beside it, when it was last used. Where the second file is
    missing JAX writes no more programs at all, and the first may be cut off.

    Args:
      folder: of a cache with a size limit; none else writes to it meanwhile.
    """
    import filelock

    try:
        with filelock.FileLock(folder / ".lockfile", timeout=10):  # JAX's own lock
            for program in folder.glob("*-cache"):
                used = program.with_name(f"{program.name.removesuffix('-cache')}-atime")
                if not used.exists():
                    program.unlink()
    except filelock.Timeout:
        return  # another process writes: it is not this one's turn to tidy up
