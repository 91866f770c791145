"""Trained parameters on disk: the safetensors of `jaxdnn.runs.checkpoint`, from torch's side."""

import json
import os
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

__all__ = ["load", "read_metadata", "save"]


def save(path: str | os.PathLike[str], model: nn.Module, *, metadata: dict[str, Any]) -> None:
    """Write a module's ``state_dict``.

    Args:
      path: the file to write.
      model: what is saved.
      metadata: what a reader needs to use it, anything that JSON holds.
    """
    header = {"format": "pt", "jaxdnn": json.dumps(metadata)}
    safetensors.torch.save_file(model.state_dict(), path, header)


def load(path: str | os.PathLike[str], model: nn.Module) -> dict[str, Any]:
    """Read what `save` or `jaxdnn.runs.checkpoint.save` wrote into a module, which is changed.

    Args:
      path: the file to read.
      model: of the same names and shapes.

    Returns:
      The metadata.

    Raises:
      RuntimeError: the tensors are not those of the module.
    """
    model.load_state_dict(safetensors.torch.load_file(path), strict=True)
    return read_metadata(path)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What was written beside the parameters."""
    with safetensors.safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("jaxdnn", "{}"))
