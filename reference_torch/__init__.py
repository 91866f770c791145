"""The tutorials' workflows in idiomatic PyTorch: the mirror of `jaxdnn`, and its oracle.

Modules and public functions have the names they have in `jaxdnn`. Where JAX passes state in and
returns it, torch changes it in place: a module, an optimiser. Nothing here imports JAX.
"""

from reference_torch.parity.recording import record
from reference_torch.parity.training_run import TorchRun

__all__ = ["TorchRun", "record"]
