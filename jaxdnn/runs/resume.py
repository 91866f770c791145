"""The state of an unfinished run on disk, from which it can be resumed.

The file is safetensors: tensors named by their path in the state, and one line of JSON that
identifies the run. It is replaced atomically after every epoch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import safetensors.numpy
from jaxtyping import PyTree

from jaxdnn.data.files import write_atomically
from jaxdnn.errors import CheckpointError
from jaxdnn.runs.checkpoint import read

__all__ = ["load", "save"]

T = TypeVar("T")


def save(path: Path, tree: PyTree, *, run: Mapping[str, Any]) -> None:
    """Write a state; the file appears whole or not at all.

    Args:
      path: the file.
      tree: arrays.
      run: what tells this run from others, as JSON holds it.

    Raises:
      OSError: the file cannot be written.

    Example:
      See `load`.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    tensors = {jax.tree_util.keystr(at): np.array(leaf, order="C") for at, leaf in leaves}
    header = {"jaxdnn": json.dumps({"run": dict(run)})}
    with write_atomically(path) as file:
        file.write(safetensors.numpy.save(tensors, header))


def load(path: Path, like: T, *, run: Mapping[str, Any]) -> T:
    """Read what `save` wrote.

    Args:
      path: the file.
      like: a tree of the same structure, types and shapes; an axis of length 0 goes with any.
      run: as it was given to `save`.

    Returns:
      The tree, of NumPy arrays.

    Raises:
      CheckpointError: the file is damaged, no such file, or that of another run.

    Example:
      >>> import tempfile
      >>> file = Path(tempfile.mkdtemp()) / "run"
      >>> save(file, {"weight": np.ones(2)}, run={"seed": 0})
      >>> load(file, {"weight": np.zeros(2)}, run={"seed": 0})
      {'weight': array([1., 1.])}
      >>> load(file, {"weight": np.zeros(2)}, run={"seed": 1})
      Traceback (most recent call last):
      jaxdnn.errors.CheckpointError: ...: it has seed 0, this run 1. Name another file.
    """
    tensors, metadata = read(path)
    saved = metadata.get("run")
    if not isinstance(saved, dict):
        raise CheckpointError(f"{path} does not hold an unfinished run. Name another file.")
    for name in [*run, *saved]:
        theirs, ours = saved.get(name), json.loads(json.dumps(run.get(name)))
        if theirs != ours:
            raise CheckpointError(
                f"{path} is of another run: it has {name} {theirs}, this run {ours}. "
                "Name another file."
            )
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(at): leaf for at, leaf in leaves}
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))
        raise CheckpointError(f"{path} does not fit this run: {odd[0]} is on one side only.")
    for name, leaf in wanted.items():
        shape = tensors[name].shape
        same_rank = len(shape) == len(leaf.shape)
        fits = same_rank and all(n in (0, m) for n, m in zip(leaf.shape, shape, strict=True))
        if not fits or tensors[name].dtype != leaf.dtype:
            raise CheckpointError(
                f"{path} does not fit this run: {name} is {tensors[name].dtype}"
                f"{list(shape)}, not {leaf.dtype}{list(leaf.shape)}."
            )
    return jax.tree.unflatten(structure, [tensors[name] for name in wanted])
