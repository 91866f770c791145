"""One entry of the catalogue."""

from typing import Literal, NamedTuple

__all__ = ["Kind", "Trap"]

Kind = Literal["loss", "layer", "optimizer", "schedule", "initialisation", "data", "precision"]


class Trap(NamedTuple):
    """A mistake that ports of training code make.

    Attributes:
      kind: what it is a mistake in.
      explanation: one sentence.
      torch: the formula on torch's side.
      port: the formula of a port that makes the mistake.
      mend: the fix.
    """

    kind: Kind
    explanation: str
    torch: str
    port: str
    mend: str
