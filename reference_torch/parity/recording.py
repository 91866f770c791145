"""Torch runs in one file, to compare with in JAX where torch is not installed.

The file is a safetensors file. Its tensors are called ``run/000012/grad/net.0.weight``, by run,
step and name, and ``run/start/param/…`` before the first step; its metadata hold the runs' headers
as JSON under ``recording``.
"""

import json
import os
import struct
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from reference_torch.parity.description import describe
from reference_torch.parity.training_run import TorchRun, initial_arrays, steps

__all__ = ["Recorded", "record", "write"]

_TYPES = {
    "b1": "BOOL",
    "u1": "U8",
    "i1": "I8",
    "u2": "U16",
    "i2": "I16",
    "u4": "U32",
    "i4": "I32",
    "u8": "U64",
    "i8": "I64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
}
"""NumPy's types and safetensors' names for them."""


class Recorded(NamedTuple):
    """A run to be written.

    Attributes:
      header: as `reference_torch.parity.description.describe` makes it.
      initial: the arrays before the first step.
      steps: those of each step.
    """

    header: Mapping[str, Any]
    initial: Mapping[str, np.ndarray]
    steps: Iterable[Mapping[str, np.ndarray]]


def record(path: str | Path, run: TorchRun) -> None:
    """Train a copy of a network and save every step, for `jaxdnn.parity.replay`.

    A step takes the size of the gradients, the parameters and the optimiser's tensors in float64,
    14 MB for 575,000 parameters with momentum. Each of the ``run.samples`` float32 states takes as
    much again. The file appears only when it is complete; a recording that is interrupted leaves
    the old file in place.

    Args:
      path: the file to write; an existing one is replaced.
      run: what to record.

    Raises:
      OSError: it cannot be written.
      ValueError: the run cannot be observed; see `reference_torch.parity.training_run.steps`.

    Example:
      >>> import torch
      >>> model = torch.nn.Linear(2, 1)
      >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
      >>> batches = [(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))] * 3
      >>> file = Path(tempfile.mkdtemp()) / "run.safetensors"
      >>> record(file, TorchRun(model, torch.nn.MSELoss(), sgd, batches))
      >>> file.stat().st_size > 1000
      True
    """
    write(
        path,
        {"run": Recorded(describe(run), initial_arrays(run), steps(run, twins=True, model=True))},
    )


def write(path: str | Path, runs: Mapping[str, Recorded]) -> None:
    """Save runs in one file, with one step at a time in memory.

    Args:
      path: the file to write; an existing one is replaced.
      runs: by name.

    Raises:
      OSError: it cannot be written.
    """
    target = Path(path).resolve()
    entries: dict[str, Any] = {}
    headers = {}
    with tempfile.TemporaryFile(dir=target.parent) as body:
        for name, run in runs.items():
            _append(body, entries, f"{name}/start", run.initial)
            count = 0
            for count, step in enumerate(run.steps, start=1):
                _append(body, entries, f"{name}/{count - 1:06d}", step)
            headers[name] = {**run.header, "steps": count}
        contents = {"format": "jaxdnn recording 1", "runs": headers}
        entries["__metadata__"] = {"recording": json.dumps(contents)}
        body.seek(0)
        _replace(target, json.dumps(entries).encode(), body)


def _append(
    body: BinaryIO, entries: dict[str, Any], prefix: str, tensors: Mapping[str, np.ndarray]
) -> None:
    for name, array in tensors.items():
        begin = body.tell()
        body.write(np.ascontiguousarray(array).tobytes())
        entries[f"{prefix}/{name}"] = {
            "dtype": _TYPES[array.dtype.str.lstrip("<|=")],
            "shape": list(array.shape),
            "data_offsets": [begin, body.tell()],
        }


def _replace(target: Path, header: bytes, body: BinaryIO) -> None:
    """Write aside, flush to the disk, rename."""
    header += b" " * (-len(header) % 8)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".recording-", delete=False) as file:
        try:
            file.write(struct.pack("<Q", len(header)) + header)
            while chunk := body.read(1 << 20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            # A temporary file is readable by its owner alone; this one gets the usual mode.
            umask = os.umask(0)
            os.umask(umask)
            Path(file.name).chmod(0o666 & ~umask)
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
