"""The comparison with PyTorch: observations of every step on both sides, and where they part.

An observation is an ordered mapping from ``phase/tensor`` to a NumPy array, in the order in which a
step computes them: ``batch/…``, ``loss``, ``grad/…``, ``optimizer/…``, ``param/…``. Tensors have
torch's names and layout. Each framework yields its observations step by step
(`jaxdnn.parity.observe.observe`, `reference_torch.observe.observe`), and
`jaxdnn.parity.compare` takes two such streams.
"""

from jaxdnn.parity.compare import (
    Comparison,
    Divergence,
    Observation,
    compare,
    rounding_excess,
)
from jaxdnn.parity.observe import observe

__all__ = [
    "Comparison",
    "Divergence",
    "Observation",
    "compare",
    "observe",
    "rounding_excess",
]
