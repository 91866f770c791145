"""Atomic writes, and checks of output paths before any work is done."""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from jaxdnn.errors import ConfigError

__all__ = ["check_writable", "refuse_to_replace", "write_atomically"]


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces ``path`` only when it is complete.

    The bytes are written to a temporary file in the same folder, flushed to disk (fsync), and the
    temporary file is renamed to ``path``. A process that is killed leaves the old file or the new
    one, never a part. If two processes write at once, both succeed and the later file remains. A
    symbolic link is followed. A stream (``/dev/stdout``, a pipe) is written directly.

    Args:
      path: the file to write; its folder must exist.

    Yields:
      A binary file, open for writing.

    Raises:
      OSError: the folder is missing or not writable, or the disk is full; ``path`` is unchanged.

    Example:
      >>> import tempfile
      >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
      >>> with write_atomically(target) as file:
      ...     _ = file.write(b"1 2 3")
      >>> target.read_text()
      '1 2 3'
    """
    if _is_stream(path):
        with path.open("ab") as file:
            yield file
        return
    path = path.resolve()
    aside = _aside(path)
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():  # the rename would replace its permissions too
            shutil.copymode(path, aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def check_writable(path: Path, *, option: str) -> None:
    """Raise before any work is done if a result cannot be written.

    Args:
      path: the path of the result.
      option: the command-line option that gave it, for the message.

    Raises:
      ConfigError: ``path`` is a folder, or its folder is missing or not writable.

    Example:
      >>> check_writable(Path("no such folder") / "run.json", option="--json")
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: --json no such folder/run.json: the folder ... does not exist; \
create it first.
    """
    try:
        # `stat` raises for a loop of links or too long a name, which `is_dir` hides since 3.13.
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()
        if _is_stream(path):
            return
        folder = path.resolve().parent
        if path.is_dir():
            raise ConfigError(f"{option} {path} is a folder; name a file in it.")
        if not folder.is_dir():
            raise ConfigError(
                f"{option} {path}: the folder {folder} does not exist; create it first."
            )
        probe = _aside(path.resolve())
        probe.touch(exist_ok=False)
        probe.unlink()
    except (OSError, RuntimeError) as error:  # the latter for a loop of links
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{option} {path} cannot be written ({reason}); choose another place."
        ) from error


def refuse_to_replace(path: Path, inputs: Iterable[Path], *, option: str) -> None:
    """Raise before a result overwrites one of its own inputs.

    Args:
      path: the path of the result.
      inputs: the files that are read.
      option: the command-line option that gave ``path``, for the message.

    Raises:
      ConfigError: ``path`` is the same file as one of the inputs, perhaps under another name.

    Example:
      >>> refuse_to_replace(Path("a.json"), [Path("./a.json")], option="--json")
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: --json a.json is also an input; name another file.
    """
    for source in inputs:
        same = path.exists() and source.exists() and path.samefile(source)
        if same or path.resolve() == source.resolve():
            raise ConfigError(f"{option} {path} is also an input; name another file.")


def _is_stream(path: Path) -> bool:
    """Whether a path is a device, a pipe or an open descriptor, which a rename cannot replace."""
    system = str(path.absolute()).startswith(("/dev/", "/proc/"))
    return path.exists() and not path.is_dir() and (system or not path.is_file())


def _aside(path: Path) -> Path:
    """A temporary name in the same folder: a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
