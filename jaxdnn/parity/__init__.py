"""Is a port from torch to JAX right? If not, where do the two part, and why?

- `check_port` trains both sides and reports; `assert_port` does the same in a test.
- `replay` compares with a recorded torch run, where torch need not be installed.
- `check_initialisation` compares the distributions of the initial parameters.
- `TRAPS` is the catalogue of mistakes that are named.

The main types are `Port`, a network, a loss and an optimiser in JAX, and `Source`, a torch run,
live or from a file. Both are compared as observations: mappings from ``phase/tensor`` to NumPy
arrays, in the order in which a step computes them (``batch/…``, ``activation/…``, ``output``,
``loss``, ``grad/…``, ``optimizer/…``, ``param/…``), under torch's names and in torch's layout.

Start reading at `check.evaluate`. `runner` evaluates the port in one precision, `widening` in
float64 throughout; `trajectory` folds `stepwise.advance` over the steps, `float32` compares
rounding, `vacuity` asks whether agreement means anything, `verdict` makes the report, and `naming`
looks for the mistake in the catalogue.

Nothing here knows this package's workflows, and torch is imported only inside the functions that
run it.
"""

from jaxdnn.parity.check import assert_port, check_port, replay
from jaxdnn.parity.compare import Divergence, Observation
from jaxdnn.parity.initialisation import check_initialisation
from jaxdnn.parity.port import Port
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.source import Source
from jaxdnn.parity.traps import TRAPS, Trap

__all__ = [
    "TRAPS",
    "Divergence",
    "Observation",
    "Port",
    "Report",
    "Source",
    "Tier",
    "Trap",
    "assert_port",
    "check_initialisation",
    "check_port",
    "replay",
]
