"""Small deep networks as pure, jit-compiled JAX functions, each proved equal to its PyTorch mirror.

The submodules are the public interface; each is imported when first used, so that
``import jaxdnn`` loads neither JAX nor a device:

- `jaxdnn.models`, `jaxdnn.losses`, `jaxdnn.optim`: networks as ``init``/``apply`` pairs; torch's
  losses and optimisers.
- `jaxdnn.training`: one step, an epoch, a whole run; the one training loop.
- `jaxdnn.workflows`: the tutorials, one module each.
- `jaxdnn.data`: data sets, loaders, splits.
- `jaxdnn.torch_compat`: torch's random numbers in NumPy; parameters under torch's names.
- `jaxdnn.runs`, `jaxdnn.runtime`: sweeps, checkpoints, resuming; devices, sharding, start-up.
- `jaxdnn.run`: a workflow with plain arguments, in a notebook for instance.
- `jaxdnn.parity`: is a port from PyTorch right, and if not, where and why.

The import sets the XLA flag without which some releases of jaxlib compute sums wrongly
(`jaxdnn.runtime.xla_flags`). XLA reads it once, so import jaxdnn before the first JAX computation.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxdnn.runtime import xla_flags as _xla_flags

if TYPE_CHECKING:
    from jaxdnn import (
        data,
        losses,
        models,
        optim,
        parity,
        runs,
        runtime,
        torch_compat,
        training,
        workflows,
    )
    from jaxdnn.runs.execute import run

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "data",
    "losses",
    "models",
    "optim",
    "parity",
    "run",
    "runs",
    "runtime",
    "torch_compat",
    "training",
    "workflows",
]

_xla_flags.set_flags()


def __getattr__(name: str) -> Any:
    if name == "run":
        return importlib.import_module(f"{__name__}.runs.execute").run
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
