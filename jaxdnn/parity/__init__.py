"""Is a port from torch to JAX right, and if not, where does it part, and why?

`check_port` trains both sides and reports, `assert_port` is the same for a test, `replay` compares
with a recording where torch is not installed, and `check_initialisation` compares how the two draw
their start. `TRAPS` is the catalogue of mistakes that are known by name.

Below them, an observation is an ordered mapping from ``phase/tensor`` to a NumPy array, in the
order in which a step computes them: ``batch/…``, ``loss``, ``grad/…``, ``optimizer/…``,
``param/…``. Tensors have torch's names and layout. Each framework yields its observations step by
step (`observe`, `reference_torch.parity.observe.observe`), and `compare` takes two such streams.
"""

from jaxdnn.parity.check import assert_port, check_port, replay
from jaxdnn.parity.compare import (
    Comparison,
    Divergence,
    Observation,
    compare,
    rounding_excess,
)
from jaxdnn.parity.initialisation import check_initialisation
from jaxdnn.parity.observe import observe
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.traps import TRAPS, Trap

__all__ = [
    "TRAPS",
    "Comparison",
    "Divergence",
    "Observation",
    "Report",
    "Tier",
    "Trap",
    "assert_port",
    "check_initialisation",
    "check_port",
    "compare",
    "observe",
    "replay",
    "rounding_excess",
]
