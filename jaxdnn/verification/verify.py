"""Every workflow against torch and against the figures that the documents print."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdnn import torch_compat
from jaxdnn.data.batches import DataLoader, TensorDataset, random_split
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity import environment, source, trajectory, verdict
from jaxdnn.parity.compare import Errors, compare_step
from jaxdnn.parity.port import Arrays
from jaxdnn.parity.report import Report, Tier, Verdict
from jaxdnn.parity.source import Source
from jaxdnn.parity.stepwise import TOLERANCE
from jaxdnn.runs import catalogue, documented
from jaxdnn.runs.execute import run_as_documented
from jaxdnn.runs.reports.data_loading import SEED
from jaxdnn.verification import transforms
from jaxdnn.verification.cases import CASES, TITLES
from jaxdnn.verification.sides import TorchSide
from jaxdnn.workflows import data_loading

__all__ = [
    "Figures",
    "Outcome",
    "record",
    "torch_source",
    "verify_case",
    "verify_data_loading",
    "verify_figures",
]

_STEPS = 200
_STEPS_OF_DIGITS = 100  # which take ten times as long

_TRANSFORMED_STEPS = 2
"""Two, since the second step uses what the first one left in the optimiser."""

_DRAWN = 1e-6
"""torch's normal numbers depend in their last bits on the vector instructions of the machine."""

_RECORDED_BYTES = 1e8
"""How much the float32 states of a recorded row may take."""


class Outcome(NamedTuple):
    """The result for one row of the table of workflows.

    Attributes:
      workflow: its id.
      row: its name in `jaxdnn.verification.cases.CASES`.
      report: JAX beside torch.
      forms: how far its jitted step is from the same step under other transforms; see
        `transforms.agreement`.
      seconds: how long it took.
    """

    workflow: str
    row: str
    report: Report
    forms: Mapping[str, float]
    seconds: float

    @property
    def title(self) -> str:
        """What the row compares, in a few words."""
        return TITLES[self.row]

    @property
    def name(self) -> str:
        """The workflow and the row's title."""
        return f"{self.workflow}, {self.title}"

    @property
    def verdict(self) -> Verdict:
        """The report's, or ``"fail"`` where the transforms disagree."""
        apart = max(self.forms.values(), default=0.0) > TOLERANCE
        return "fail" if apart and self.report.verdict == "pass" else self.report.verdict


class Figures(NamedTuple):
    """How many of the numbers that a workflow's document prints are reproduced.

    Attributes:
      workflow: its id.
      printed: how many there are.
      reachable: how many of them the document's listing can print.
      reproduced: how many are, digit for digit or within the stated rounding.
      seconds: how long it took.
    """

    workflow: str
    printed: int
    reachable: int
    reproduced: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """``"pass"`` if all that are reachable are reproduced."""
        return "pass" if self.reproduced == self.reachable else "fail"


def torch_source(side: TorchSide, samples: int) -> Source:
    """The torch side of a row.

    Args:
      side: the row in torch.
      samples: how many float32 states to compare.
    """
    from reference_torch.parity import description
    from reference_torch.parity.trajectory import trajectory as observed

    def steps(*, samples: bool = False, **asked: Any) -> Iterator[Arrays]:
        return observed(side.stepper(), side.batches, samples=number if samples else 0, **asked)

    number = samples
    header = {
        "steps": len(side.batches),
        "optimizer": {"name": side.optimizer, "settings": None},
        "frozen": [],
        "environment": description.environment(),
    }
    initial = {f"param/{k}": np.asarray(v, np.float64) for k, v in side.initial.items()}
    return Source(header, initial, steps, lambda: iter(side.batches))


def verify_case(
    row: str,
    *,
    data: MNIST | None = None,
    precisions: Sequence[str] = ("float64", "float32"),
    steps: int | None = None,
    samples: int = 32,
    recording: Path | None = None,
    with_forms: bool = True,
) -> Outcome:
    """Compare a row with torch, and its step with the same step under other transforms.

    Args:
      row: a name in `jaxdnn.verification.cases.CASES`.
      data: MNIST, for the rows that need it.
      precisions: which of ``"float64"`` and ``"float32"`` decide.
      steps: at most this many; by default 200, and 100 of those on MNIST.
      samples: how many float32 states to compare.
      recording: a file that `record` wrote, to be used instead of torch.
      with_forms: whether the transforms of the step are compared.

    Returns:
      An `Outcome`.
    """
    began = time.perf_counter()
    case = CASES[row]
    if steps is None:
        steps = _STEPS_OF_DIGITS if case.needs_mnist else _STEPS
    port = case.port()
    if recording is not None:
        torch_run = source.recording(recording, name=row, steps=steps)
    else:
        torch_run = torch_source(case.torch(data, steps), samples)
    report = verdict.report(trajectory.follow(torch_run, port, precisions=precisions))
    batches = list(itertools.islice(torch_run.batches(), _TRANSFORMED_STEPS))
    apart = transforms.agreement(port, torch_run.initial, batches) if with_forms else {}
    return Outcome(case.workflow, row, report, apart, time.perf_counter() - began)


def record(
    path: Path,
    rows: Sequence[str],
    *,
    data: MNIST | None,
    steps: int,
    samples: int,
    on_row: Callable[[str], object],
) -> None:
    """Save torch's side of some rows in one file.

    Args:
      path: the file to write.
      rows: names in `jaxdnn.verification.cases.CASES`.
      data: MNIST, for the rows that need it.
      steps: at most this many of each.
      samples: float32 states of each; fewer of a large network, as many as take 100 MB.
      on_row: called with a row's name before it is trained.
    """
    from reference_torch.parity import recording

    def steps_of(row: str, run: Source) -> Iterator[Arrays]:
        on_row(row)
        yield from run.steps(samples=True, twins=True, model=True)

    runs = {}
    for row in rows:
        side = CASES[row].torch(data, steps)
        size = sum(array.nbytes for array in side.initial.values())
        # A sample is about eleven times the float32 parameters: the state, and the step from it
        # in two precisions, each with gradients and moments.
        few = int(np.clip(_RECORDED_BYTES / (11 * max(size, 1)), 4, samples))
        run = torch_source(side, few)
        runs[row] = recording.Recorded(run.header, run.initial, steps_of(row, run))
    recording.write(path, runs)


def verify_data_loading() -> Outcome:
    """Compare the numbers that are drawn, shuffled and split with torch's, one for one."""
    from reference_torch.parity.workflow_steps import drawn

    began = time.perf_counter()
    generator = torch_compat.Generator(SEED)
    normals = data_loading.normals(generator)
    numbers = TensorDataset(np.arange(500))
    [(order,)] = DataLoader(numbers, batch_size=500, shuffle=True, generator=generator)
    train, test = random_split(numbers, [0.7, 0.3], generator)
    ours = {**normals._asdict(), "order": order, "train": train.indices, "test": test.indices}
    expected = drawn(SEED)
    actual = {f"batch/{name}": np.asarray(values) for name, values in ours.items()}
    errors, found = compare_step(Errors({}, {}), 0, expected, actual, tolerance=_DRAWN)
    tier = Tier("exact", 1, errors.largest, _DRAWN, found)
    report = Report(
        "fail" if found else "pass", (tier,), environment={"jax": environment.describe()}
    )
    return Outcome("data-loading", "W21 W22", report, {}, time.perf_counter() - began)


def verify_figures(workflow_id: str, data: MNIST | None) -> Figures:
    """Run a workflow as its document does, and count the printed numbers that it reproduces.

    Args:
      workflow_id: one of `jaxdnn.runs.catalogue.WORKFLOWS`.
      data: MNIST, for the workflows that need it.

    Returns:
      The counts.
    """
    began = time.perf_counter()
    result = run_as_documented(workflow_id, data)
    figures = documented.compare(result.figures)
    reachable, printed = documented.count(catalogue.WORKFLOWS[workflow_id].family)
    reproduced = int(sum(f.reproduced + f.within_rounding for f in figures if f.reachable))
    return Figures(workflow_id, printed, reachable, reproduced, time.perf_counter() - began)
