"""Mistakes in a port's own batches: another order, or another last batch."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from jaxdnn.parity.compare import Divergence
from jaxdnn.parity.port import Batch

__all__ = ["mistake_in"]


def mistake_in(
    ours: Sequence[Batch], theirs: Sequence[Batch], divergence: Divergence
) -> str | None:
    """The mistake that explains other batches.

    Args:
      ours: torch's.
      theirs: the port's.
      divergence: where the two differ first.

    Returns:
      A name in `jaxdnn.parity.TRAPS`, or None.
    """
    if divergence.tensor == "number of batches" or divergence.step == len(ours) - 1:
        sizes = [len(batch[0]) for batch in ours], [len(batch[0]) for batch in theirs]
        if sizes[0][-1:] != sizes[1][-1:] or len(ours) != len(theirs):
            return "last-batch" if _rows(ours[:-1]) == _rows(theirs[: len(ours) - 1]) else None
    return "batch-order" if _rows(ours) == _rows(theirs) else None


def _rows(batches: Iterable[Sequence[np.ndarray]]) -> Counter[bytes]:
    """Every example with its target, whatever batch it is in."""
    counts: Counter[bytes] = Counter()
    for batch in batches:
        for row in zip(*map(np.asarray, batch), strict=False):
            together = b"".join(np.asarray(array, float).tobytes() for array in row)
            counts[hashlib.sha256(together).digest()] += 1
    return counts
