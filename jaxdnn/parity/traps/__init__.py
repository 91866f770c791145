"""The catalogue of mistakes: what torch computes, what a port computes instead, and the fix.

`TRAPS` has every mistake that `jaxdnn.parity` can name, in one module for each kind. Entries are
text alone; `jaxdnn.parity.mistakes` and `reference_torch.parity.mistakes` make them.
"""

from jaxdnn.parity.traps import data, initialisation, layers, losses, optimizers, schedules
from jaxdnn.parity.traps.trap import Kind, Trap

__all__ = ["TRAPS", "Kind", "Trap"]

TRAPS: dict[str, Trap] = {
    **losses.TRAPS,
    **layers.TRAPS,
    **optimizers.TRAPS,
    **schedules.TRAPS,
    **initialisation.TRAPS,
    **data.TRAPS,
}
"""The mistakes by name."""
