"""Output files: checked before a run, written after it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdnn.data.files import check_writable, refuse_to_replace
from jaxdnn.errors import ConfigError

__all__ = ["Writer", "check", "save_network", "write"]

Writer = tuple[str, Callable[[Path], object]]
"""A description of a file, and the function that writes it."""


def check(paths: Mapping[str, Path], read: Sequence[Path]) -> None:
    """Raise if an output file cannot be written, or would replace another output or an input.

    Args:
      paths: output files, by the name of the flag without its dashes.
      read: input files.

    Raises:
      ConfigError: the message names the flag.

    Example:
      >>> check({"json": Path("run"), "plot": Path("run")}, [])
      Traceback (most recent call last):
      jaxdnn.errors.ConfigError: --json and --plot both name run; give each its own file.
    """
    from jaxdnn.runs import plots

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
    """Write every file, even if writing another one fails.

    Args:
      paths: output files, by name.
      writers: by name, in the order of writing; the trained network first.

    Returns:
      Descriptions and paths of the files written; a message for each that failed.
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
    """Write a checkpoint that `jaxdnn.runs.prediction` can load.

    Args:
      path: the file.
      params: a flax parameter tree.
      workflow: id of the workflow that trained it.
      config: its configuration.
      preprocessing: how its data were prepared; JSON types.

    Raises:
      OSError: the file cannot be written.
    """
    from jaxdnn.runs import checkpoint

    about = {"workflow": workflow, "config": dict(config), "preprocessing": dict(preprocessing)}
    checkpoint.save(path, params, metadata=about)
