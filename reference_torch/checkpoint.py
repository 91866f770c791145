"""Checkpoints in torch: the safetensors files of `jaxdnn.runs.checkpoint`."""

import json
import os
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

__all__ = ["load", "read_metadata", "save"]


def save(path: str | os.PathLike[str], model: nn.Module, *, metadata: dict[str, Any]) -> None:
    """Write a module's ``state_dict`` to a safetensors file.

    Args:
      path: the file to write.
      model: the module to save.
      metadata: a JSON object with what a reader needs to use the parameters.
    """
    header = {"format": "pt", "jaxdnn": json.dumps(metadata)}
    safetensors.torch.save_file(model.state_dict(), path, header)


def load(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """Load the parameters that `save` or `jaxdnn.runs.checkpoint.save` wrote into a module.

    Args:
      path: the file to read.
      model: a module with the same parameter names and shapes; changed in place.

    Returns:
      The metadata.

    Raises:
      RuntimeError: the tensors are not those of the module.
    """
    model.load_state_dict(safetensors.torch.load_file(path), strict=True)
    return read_metadata(path)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a checkpoint; empty for a file without jaxdnn's."""
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("jaxdnn", "{}"))
