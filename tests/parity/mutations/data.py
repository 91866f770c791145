"""Mistakes in the data: another order, other rows, other scales.

The two part in the first batch that differs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import classification, pairs, regression


def _at(case: Case, step: int, change: Callable[[np.ndarray, np.ndarray], Any]) -> Case:
    """The port's own batches, one of them changed."""
    batches = list(case.batches)
    batches[step] = change(*(array.copy() for array in batches[step]))
    return case.but(port_batches=batches)


def _inputs(case: Case, change: Callable[[np.ndarray], np.ndarray]) -> Case:
    return case.but(port_batches=[(change(x), y) for x, y in case.batches])


def _relabelled(x: np.ndarray, y: np.ndarray) -> Any:
    y[2] = (y[2] + 1) % 4
    return x, y


def _padded(x: np.ndarray, y: np.ndarray) -> Any:
    return np.concatenate([x, 0 * x]), np.concatenate([y, 0 * y])


def _ragged(case: Case) -> Case:
    x, y = case.batches[-1]
    return case.but(batches=[*case.batches[:-1], (x[:4], y[:4])])


def _shuffled(case: Case, start: int = 0) -> Case:
    """The rows of all batches from one on, dealt anew."""
    x, y = (np.concatenate(arrays) for arrays in zip(*case.batches[start:], strict=True))
    order = np.random.default_rng(5).permutation(len(x))
    rest = pairs(x[order].reshape(-1, 8, 5), y[order].reshape(-1, 8, *y.shape[1:]))
    return case.but(port_batches=[*case.batches[:start], *rest])


# fmt: off

DATA = of_kind("data", (
    row("order-of-all", "0 batch x", "batch-order", regression, _shuffled),
    row("order-of-second-epoch", "4 batch x", "batch-order", regression,
        partial(_shuffled, start=4)),
    row("last-batch-dropped", "7 batch number of batches", "last-batch",
        lambda: _ragged(regression()), lambda case: case.but(port_batches=case.batches[:-1])),
    row("last-batch-padded", "7 batch x", "last-batch", lambda: _ragged(regression()),
        lambda case: _at(case, 7, _padded)),
    row("one-wrong-label", "5 batch y", None, classification,
        lambda case: _at(case, 5, _relabelled)),
    row("targets-shifted", "3 batch y", None, regression,
        lambda case: _at(case, 3, lambda x, y: (x, np.roll(y, 1, axis=0)))),
    row("scaled-by-256", "0 batch x", None, regression,
        lambda case: _inputs(case, lambda x: x * np.float32(255 / 256))),
    row("normalised-in-half", "0 batch x", (None, "reduced-precision"), regression,
        lambda case: _inputs(case, lambda x: x.astype(np.float16).astype(np.float32))),
    row("batch-repeated", "6 batch x", None, regression,
        lambda case: case.but(
            port_batches=[*case.batches[:6], case.batches[5], *case.batches[7:]])),
    row("nan-in-one-row", "2 batch x", None, regression,
        lambda case: _at(case, 2, lambda x, y: (np.where(x == x[0, 0], np.nan, x), y))),
))
