"""A torch run and its port, and a row of the table of mistakes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdnn import parity
from jaxdnn.parity import Port
from jaxdnn.parity.check import evaluate
from jaxdnn.parity.source import live
from reference_torch import TorchRun

__all__ = ["Batches", "Case", "Mutation", "Tensors", "of_kind", "row"]

Batches = list[tuple[np.ndarray, np.ndarray]]
Tensors = dict[str, np.ndarray]


class Case(NamedTuple):
    """A torch run and its port.

    Attributes:
      run: torch's.
      port: the port.
      port_batches: the port's own batches, or None for torch's.
    """

    run: TorchRun
    port: Port
    port_batches: Batches | None = None

    @property
    def batches(self) -> Batches:
        """What torch trains on."""
        return list(self.run.batches)

    def but(self, **changes: Any) -> "Case":
        """The same with other fields of the port, or else of the run."""
        batches = changes.pop("port_batches", self.port_batches)
        ported = {name: changes.pop(name) for name in Port._fields if name in changes}
        run = dataclasses.replace(self.run, **changes)
        return Case(run, self.port._replace(**ported), batches)

    def check(
        self, *, precisions: Sequence[str] = ("float64", "float32"), samples: int = 64
    ) -> parity.Report:
        """Compare the two, as `parity.check_port` does."""
        run = dataclasses.replace(self.run, samples=samples)
        with jax.numpy_rank_promotion("allow"):
            source = live(run, self.port)
            return evaluate(
                source, self.port, precisions=precisions, port_batches=self.port_batches
            )


class Mutation(NamedTuple):
    """A mistake, and where it shows first.

    Attributes:
      id: its name here.
      kind: what it is a mistake in.
      step: at which the two part first; None if only the rounding shows it, which is compared over
        all states together.
      phase: of the step.
      tensor: torch's name.
      traps: what it may rightly be called; None is for a mistake that is in no catalogue.
      right: the port without it.
      wrong: makes it.
      precisions: in which it is looked for.
    """

    id: str
    kind: str
    step: int | None
    phase: str
    tensor: str
    traps: tuple[str | None, ...]
    right: Callable[[], Any]
    wrong: Callable[[Any], Any]
    precisions: tuple[str, ...] = ("float64",)


def row(
    id: str,  # noqa: A002 (what it is)
    place: str,
    trap: str | tuple[str | None, ...] | None,
    right: Callable[[], Any],
    *functions: Callable[[Any], Any],
    **wrong: Any,
) -> Mutation:
    """A row of the table.

    Args:
      id: the name of the row.
      place: ``"step phase tensor"``, where the first weight's name may be left out; the step is
        ``*`` where float32 has to be looked at, which is compared as a whole.
      trap: the name in the catalogue, or several, or None.
      right: makes the right port.
      *functions: change it into the wrong one.
      **wrong: fields of the case, changed.
    """
    step, phase, tensor = (*place.split(" ", 2), "")[:3]
    if phase in ("loss", "output"):
        tensor = phase
    elif phase == "optimizer":
        tensor = f"0.weight/{tensor}"

    def change(case: Any) -> Any:
        for function in functions:
            case = function(case)
        return case.but(**wrong)

    return Mutation(
        id,
        "",
        None if step == "*" else int(step),
        phase,
        tensor or "0.weight",
        trap if isinstance(trap, tuple) else (trap,),
        right,
        change,
        ("float64", "float32") if step == "*" else ("float64",),
    )


def of_kind(kind: str, rows: Sequence[Mutation]) -> tuple[Mutation, ...]:
    """The rows with their kind."""
    return tuple(row._replace(kind=kind) for row in rows)
