"""What every process of a bench run has to know."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Run", "Settings", "SkippedError", "child_environment"]

ROOT = Path(__file__).resolve().parents[2]
"""Of the repository: jaxdnn need not be installed."""

Run = Callable[[int], dict[str, float]]
"""What a system's preparation returns: takes the number of a turn, which is its seed, and gives
named figures."""


class SkippedError(Exception):
    """A system that cannot be measured here; the message says why."""


@dataclass(frozen=True)
class Settings:
    """Of a bench run, the same for every system.

    Attributes:
      device: ``"cpu"`` or ``"gpu"``.
      threads: cores, which are also the threads of each system.
      data_dir: a folder with MNIST, or None for the user's cache.
      samples: how many of the 60,000 training images are used.
      epochs: of the MNIST DNN.
      networks: trained at once in the sweep.
      tf32: whether a GPU may round the factors of float32 matrix products to 10 bits.
    """

    device: str
    threads: int
    data_dir: str | None = None
    samples: int = 60_000
    epochs: int = 5
    networks: int = 8
    tf32: bool = False

    def to_json(self) -> str:
        """For a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def child_environment(settings: Settings) -> dict[str, str]:
    """The environment of a process that measures: the same for all, and no cache of programs."""
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
