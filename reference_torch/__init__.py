"""The tutorials' workflows in idiomatic PyTorch: the mirror of `jaxdnn`, and its oracle.

Lessons are in `workflows`, with the names they have in `jaxdnn`, and share the loop of `training`.
Where JAX passes state in and returns it, torch changes it in place: a module, an optimiser, the
global random generator. `parity` is the torch half of the verifier, of which `TorchRun` and
`record` are for users. Nothing here imports JAX.
"""

from reference_torch.parity.recording import record
from reference_torch.parity.training_run import TorchRun

__all__ = ["TorchRun", "record"]
