"""What a picture of a run shows: panels of curves, and scatter plots."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

__all__ = ["Panel", "Scatter"]


@dataclass(frozen=True)
class Scatter:
    """Points of a scatter plot."""

    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class Panel:
    """Curves of losses that share their axes.

    Attributes:
      title: of the panel; empty if the picture's title says it.
      curves: their names among the curves of the result.
      steps_per_epoch: by curve; the horizontal axis then counts epochs, otherwise steps.
      steps_before: by curve, the steps that were taken before its first, if any.
    """

    title: str
    curves: tuple[str, ...]
    steps_per_epoch: Mapping[str, int] = field(default_factory=dict)
    steps_before: Mapping[str, int] = field(default_factory=dict)
