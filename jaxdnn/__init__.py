"""Small deep networks as pure, jit-compiled JAX functions, each proved equal to its PyTorch mirror.

The submodules are the public interface; each is imported when first used, so that
``import jaxdnn`` loads neither JAX nor a device:

- `jaxdnn.models`, `jaxdnn.losses`: networks as ``init``/``apply`` pairs, and what they minimise.
- `jaxdnn.training`: one step, an epoch as one scan, evaluation.
- `jaxdnn.ensemble`, `jaxdnn.sharding`: many networks as one program; batches over many devices.
- `jaxdnn.optim`: torch's optimisers and schedules as optax transformations; Newton's step.
- `jaxdnn.workflows`: the tutorials, one module each.
- `jaxdnn.data`, `jaxdnn.torch_rng`: data sets, loaders, splits; torch's random numbers.
- `jaxdnn.interop`, `jaxdnn.checkpoint`: parameters under torch's names, in memory and on disk.
- `jaxdnn.parity`: is a port from PyTorch right, and if not, where and why.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdnn import (
        checkpoint,
        data,
        ensemble,
        interop,
        losses,
        models,
        optim,
        parity,
        sharding,
        torch_rng,
        training,
        workflows,
    )

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "checkpoint",
    "data",
    "ensemble",
    "interop",
    "losses",
    "models",
    "optim",
    "parity",
    "sharding",
    "torch_rng",
    "training",
    "workflows",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
