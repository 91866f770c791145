"""Settings that all processes of a bench run share."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Run", "Settings", "SkippedError", "child_environment", "cores"]

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository, from which jaxdnn is imported if it is not installed."""

Run = Callable[[int], dict[str, float]]
"""A prepared system: ``run(turn)`` returns figures by name; the number of the turn is the seed."""


class SkippedError(Exception):
    """A system cannot be measured here; the message gives the reason."""


@dataclass(frozen=True)
class Settings:
    """The settings of a bench run, the same for all systems.

    Attributes:
      device: ``"cpu"`` or ``"gpu"``.
      threads: the number of cores, and of threads of each system.
      data_dir: a folder with MNIST; None for the user's cache.
      samples: the number of training images, at most 60,000.
      epochs: the number of epochs of the MNIST DNN.
      networks: the number of networks in the sweep.
      tf32: whether a GPU may use TF32, with 10 bits of precision, in float32 matrix products.
    """

    device: str
    threads: int
    data_dir: str | None = None
    samples: int = 60_000
    epochs: int = 5
    networks: int = 8
    tf32: bool = False

    def to_json(self) -> str:
        """The settings as JSON, for a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The settings from the result of `to_json`."""
        return cls(**json.loads(text))


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a worker: the same for all systems, without a compilation cache."""
    environment: dict[str, Any] = dict(os.environ)
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    paths = [str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment["KERAS_BACKEND"] = "jax"
    environment["JAX_PLATFORMS"] = "cpu"
    if settings.device == "gpu":
        environment["JAX_PLATFORMS"] = "cuda"
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several processes share the GPU
        products = "tensorfloat32" if settings.tf32 else "highest"
        environment["JAX_DEFAULT_MATMUL_PRECISION"] = products
    else:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment
