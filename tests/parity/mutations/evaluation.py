"""Run a row of the table: is the mistake caught, located and named?"""

import time
import traceback
import warnings
from typing import Any, NamedTuple

from tests.parity.mutations.case import Case, Mutation
from tests.parity.mutations.common_checks import common_checks
from tests.parity.mutations.initialisation import Draw
from tests.parity.mutations.table import NO_RIGHT_PASS

__all__ = ["Finding", "evaluate", "one_line"]


class Finding(NamedTuple):
    """The result for a mutation.

    Attributes:
      id: of the mutation.
      kind: of the mistake.
      caught: whether the verdict was ``"fail"``.
      found: step, phase and tensor, or what else happened.
      expected: step, phase and tensor.
      place: whether the two agree.
      trap: the name given.
      name: whether it is right.
      in_catalogue: whether there is a name to give.
      right_passes: whether the port without the mistake passes; None if that was not tried.
      through: which common checks let the mistake through, if they were made.
      right_through: which let the right port through.
      seconds: how long the comparison took.
    """

    id: str
    kind: str
    caught: bool
    found: str
    expected: str
    place: bool
    trap: str | None
    name: bool
    in_catalogue: bool
    right_passes: bool | None
    through: dict[str, bool]
    right_through: dict[str, bool]
    seconds: float


def evaluate(mutated: Mutation, *, right: bool = True, common: bool = True) -> Finding:
    """Verify a mutation, and the right port beside it.

    Args:
      mutated: what to verify.
      right: whether to verify the right port too.
      common: whether to make the common checks too.

    Returns:
      A `Finding`.
    """
    start = time.perf_counter()
    settings = {"precisions": mutated.precisions, "samples": 16}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdict, trap, place = _checked(mutated.wrong(mutated.right()), settings)
        seconds = time.perf_counter() - start
        passes = None
        if right and mutated.id not in NO_RIGHT_PASS:
            passes = _checked(mutated.right(), settings)[0] == "pass"
        through = common_checks(mutated.wrong(mutated.right())) if common else {}
        right_through = common_checks(mutated.right()) if common else {}
    step, phase, tensor = place or (None, "", "")
    return Finding(
        mutated.id,
        mutated.kind,
        verdict == "fail",
        f"{step} {phase} {tensor}" if place else verdict,
        f"{'*' if mutated.step is None else mutated.step} {mutated.phase} {mutated.tensor}",
        (phase, tensor) == (mutated.phase, mutated.tensor) and mutated.step in (None, step),
        trap,
        trap in mutated.traps,
        None not in mutated.traps,
        passes,
        through,
        right_through,
        seconds,
    )


def _checked(
    case: Case | Draw, settings: dict[str, Any]
) -> tuple[str, str | None, tuple[int, str, str] | None]:
    """The verdict or the error, the name, and step, phase and tensor."""
    try:
        report = case.check(**settings)
    except Exception as error:
        traceback.print_exc(limit=-3)
        return one_line(error), None, None
    where = report.first_divergence
    place = None if where is None else (where.step, where.phase, where.tensor)
    return report.verdict, report.trap, place


def one_line(error: Exception) -> str:
    """The type of an error, and the beginning of its message."""
    return f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
