"""A torch run in one file, for a comparison in JAX where torch is not installed."""

import json
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reference_torch.description import describe
from reference_torch.training_run import TorchRun, start, steps

__all__ = ["record"]


def record(path: str | Path, run: TorchRun) -> None:
    """Save a run in one file, for `jaxdnn.parity.replay`.

    The file is a safetensors file: its tensors are called ``000012/grad/net.0.weight`` by step and
    name, ``start/param/…`` before the first, and its metadata has the header as JSON under
    ``recording``. A step takes about three times the parameters and two optimiser tensors each in
    float64, so 14 MB for 575,000 parameters with momentum. The file appears when it is complete; a
    recording that is killed leaves the file that was there before.

    Args:
      path: where to; a file there is replaced.
      run: what to record.

    Raises:
      OSError: it cannot be written.
      ValueError: the run cannot be observed; see `steps`.

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
    target = Path(path).resolve()
    entries: dict[str, Any] = {}
    with tempfile.TemporaryFile(dir=target.parent) as body:
        size = 0

        def append(prefix: str, tensors: Mapping[str, np.ndarray]) -> None:
            nonlocal size
            for name, array in tensors.items():
                data = np.ascontiguousarray(array).tobytes()
                body.write(data)
                entries[f"{prefix}/{name}"] = {
                    "dtype": _SAFETENSORS_TYPES[array.dtype.str.lstrip("<|=")],
                    "shape": list(array.shape),
                    "data_offsets": [size, size + len(data)],
                }
                size += len(data)

        append("start", start(run))
        count = 0
        for count, step in enumerate(steps(run), start=1):
            append(f"{count - 1:06d}", step)
        header = describe(run) | {"steps": count}
        entries["__metadata__"] = {"recording": json.dumps(header)}
        body.seek(0)
        _write(target, json.dumps(entries).encode(), body)


def _write(target: Path, header: bytes, body: Any) -> None:
    """Aside, flushed to the disk, then renamed."""
    header += b" " * (-len(header) % 8)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".recording-", delete=False) as file:
        try:
            file.write(struct.pack("<Q", len(header)) + header)
            while chunk := body.read(1 << 20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(file.fileno(), 0o666 & ~umask)
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


_SAFETENSORS_TYPES = {
    "b1": "BOOL",
    "u1": "U8",
    "i1": "I8",
    "i2": "I16",
    "u2": "U16",
    "i4": "I32",
    "u4": "U32",
    "i8": "I64",
    "u8": "U64",
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
}
