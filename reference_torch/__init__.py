"""The tutorials' workflows in idiomatic PyTorch: the mirror of `jaxdnn`, and its reference.

The lessons are in `workflows`, with the same names as in `jaxdnn`, and train with the loop in
`training`. Where JAX functions take and return state, torch changes it in place: a module, an
optimiser, the global random generator. `parity` is the torch half of the verifier; its public names
are `TorchRun` and `record`. Nothing here imports JAX. Start with `workflows.mnist_dnn`.
"""

from reference_torch.parity.recording import record
from reference_torch.parity.training_run import TorchRun

__all__ = ["TorchRun", "record"]
