"""Checkpoints: trained parameters as a safetensors file with torch's names.

The file holds tensors and JSON metadata, and loading it runs no code. Both frameworks can load it:

    torch_module.load_state_dict(safetensors.torch.load_file(path), strict=True)
    params, metadata = jaxdnn.runs.checkpoint.load(path, like=jax.eval_shape(model.init, key))
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import PyTree

from jaxdnn import torch_compat
from jaxdnn.data.files import write_atomically
from jaxdnn.errors import CheckpointError

__all__ = ["load", "read", "read_metadata", "save"]


def save(path: str | os.PathLike[str], params: PyTree, *, metadata: dict[str, Any]) -> None:
    """Write parameters with torch's names to a file, atomically.

    Args:
      path: the file to write.
      params: a parameter tree.
      metadata: a JSON object with what a reader needs to use the parameters.

    Raises:
      OSError: the folder is missing or not writable.

    Example:
      See `load`, which reads what this writes.
    """
    # "pt" marks torch's names and layouts; transformers refuses a file without a format.
    header = {"format": "pt", "jaxdnn": json.dumps(metadata)}
    with write_atomically(Path(path)) as file:
        file.write(safetensors.numpy.save(torch_compat.to_torch(params), header))


def load(path: str | os.PathLike[str], like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    """Read parameters that `save` wrote, or a torch ``state_dict`` in a safetensors file.

    Args:
      path: the file to read.
      like: a tree of the expected structure, shapes and dtypes; see `torch_compat.from_torch`.

    Returns:
      The parameters, and the metadata (empty for a file that torch wrote).

    Raises:
      CheckpointError: the file is missing or damaged, or its tensors are not those of ``like``.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> file = Path(tempfile.mkdtemp()) / "line.safetensors"
      >>> params = {"line": {"kernel": jnp.ones((1, 2)), "bias": jnp.zeros(2)}}
      >>> save(file, params, metadata={"workflow": "a line"})
      >>> load(file, like=params)[1]
      {'workflow': 'a line'}
    """
    tensors, metadata = read(path)
    try:
        params = torch_compat.from_torch(tensors, like)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not fit the model: {error}") from error
    return params, metadata


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the metadata of a checkpoint without its parameters.

    Args:
      path: the file to read.

    Returns:
      The metadata; empty for a file that torch wrote.

    Raises:
      CheckpointError: the file is missing or damaged, or its metadata are not a JSON object.
    """
    return read(path, tensors=False)[1]


def read(
    path: str | os.PathLike[str], *, tensors: bool = True
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read the tensors and the metadata of a checkpoint.

    Args:
      path: the file to read.
      tensors: whether to read the tensors.

    Returns:
      The tensors by name, none without ``tensors``; and the metadata, empty for a file that torch
      wrote.

    Raises:
      CheckpointError: the file is missing or damaged, or its metadata are not a JSON object.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = list(file.keys()) if tensors else []
            arrays = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist.") from error
    except (OSError, AttributeError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file: {error}.") from error
    try:
        metadata = json.loads(header.get("jaxdnn", "{}"))
    except (ValueError, RecursionError) as error:  # ValueError also for too long a number
        raise CheckpointError(f"{path} has metadata that is not JSON: {error}.") from error
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} has metadata that is not a JSON object.")
    return arrays, metadata
