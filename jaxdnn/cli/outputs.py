"""What the commands write: checked before a run, and written after it, whatever fails."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdnn.data.files import check_writable, refuse_to_replace
from jaxdnn.errors import ConfigError

__all__ = ["Writer", "check", "save_network", "write"]

Writer = tuple[str, Callable[[Path], object]]
"""What a file is called, and what writes it."""


def check(paths: Mapping[str, Path], read: Sequence[Path]) -> None:
    """Raise if a result could not be written, or would replace another or what is read.

    Args:
      paths: where to, by the name of the flag without its dashes.
      read: the files that are read.

    Raises:
      ConfigError: the sentence names the flags.

    Example:
      >>> check({"json": Path("run"), "plot": Path("run")}, [])
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: --json and --plot both name run; give each its own file.
    """
    from jaxdnn.cli import plots

    options: dict[Path, str] = {}
    for name, path in paths.items():
        option = f"--{name}"
        check_writable(path, option=option)
        refuse_to_replace(path, read, option=option)
        if (other := options.setdefault(path.resolve(), option)) != option:
            raise ConfigError(f"{other} and {option} both name {path}; give each its own file.")
    if "plot" in paths:
        plots.check_format(paths["plot"], option="--plot")


def write(
    paths: Mapping[str, Path], writers: Mapping[str, Writer]
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Write every file that was asked for, whatever happens to the others.

    Args:
      paths: where to, by name.
      writers: by name, in the order of writing: first what cannot be made again.

    Returns:
      What was written and where; and a sentence for each file that could not be.
    """
    written, failures = [], []
    for name, (description, writer) in writers.items():
        if name in paths:
            try:
                writer(paths[name])
                written.append((description, paths[name]))
            except OSError as error:
                failures.append(f"the {description} could not be written to {paths[name]}: {error}")
    return written, failures


def save_network(
    path: Path,
    params: Any,
    *,
    workflow: str,
    config: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
) -> None:
    """Write a checkpoint from which `jaxdnn.runs.prediction` knows the network and its data.

    Args:
      path: where to.
      params: a Flax parameter tree.
      workflow: the id of what trained it.
      config: with which settings.
      preprocessing: what was done to its data, as JSON holds it.

    Raises:
      OSError: it cannot be written.
    """
    from jaxdnn.runs import checkpoint

    about = {"workflow": workflow, "config": dict(config), "preprocessing": dict(preprocessing)}
    checkpoint.save(path, params, metadata=about)
