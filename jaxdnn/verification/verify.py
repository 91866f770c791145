"""Every workflow against torch and against what the tutorials print."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdnn import torch_compat, workflows
from jaxdnn.data.batches import DataLoader, TensorDataset, random_split
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity import environment
from jaxdnn.parity.compare import Divergence, Errors
from jaxdnn.parity.port import Arrays
from jaxdnn.parity.report import Report, Tier, Verdict
from jaxdnn.parity.source import Recording, Source
from jaxdnn.parity.trajectory import TOLERANCE, Trajectory
from jaxdnn.runs import documented
from jaxdnn.verification import transforms as forms
from jaxdnn.verification.cases import CASES, Case, TorchSide
from jaxdnn.workflows import data_loading

__all__ = [
    "Figures",
    "Outcome",
    "TorchSource",
    "record",
    "verify_case",
    "verify_data_loading",
    "verify_figures",
]

_FORM_STEPS = 2


class Outcome(NamedTuple):
    """What came of a row of the tutorials.

    Attributes:
      workflow: its id.
      row: its name in `jaxdnn.verification.cases.CASES`.
      report: JAX beside torch.
      forms: how far its step, jitted, is from itself in other forms; see `forms.agreement`.
      seconds: it took.
    """

    workflow: str
    row: str
    report: Report
    forms: Mapping[str, float]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The report's, unless the forms disagree."""
        apart = max(self.forms.values(), default=0.0) > TOLERANCE
        return "fail" if apart and self.report.verdict == "pass" else self.report.verdict


class Figures(NamedTuple):
    """How many of the numbers that a workflow's document prints come out.

    Attributes:
      workflow: its id.
      printed: how many there are.
      reachable: how many of them the document's listing can print.
      reproduced: how many come out, digit for digit or within what is allowed for.
      seconds: it took.
    """

    workflow: str
    printed: int
    reachable: int
    reproduced: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Whether all come out that can."""
        return "pass" if self.reproduced == self.reachable else "fail"


class TorchSource:
    """A row's torch side; a `jaxdnn.parity.source.Source`.

    Args:
      side: the row in torch.
      samples: float32 states.
    """

    def __init__(self, side: TorchSide, samples: int) -> None:
        from reference_torch.parity import description

        self._side, self._samples = side, samples
        self.header: Mapping[str, Any] = {
            "steps": len(side.batches),
            "optimizer": {"name": side.optimizer, "settings": None},
            "frozen": [],
            "environment": description.environment(),
        }

    def start(self) -> Arrays:
        """The parameters before the first step."""
        return {f"param/{k}": np.asarray(v, np.float64) for k, v in self._side.start.items()}

    def steps(self, *, mistake: str | None = None, samples: bool = False) -> Iterator[Arrays]:
        """What each step computed, if wanted with float32 states."""
        from reference_torch.parity.trajectory import trajectory

        number = self._samples if samples else 0
        return trajectory(self._side.stepper(), self._side.batches, samples=number)

    def batches(self) -> Iterator[Sequence[np.ndarray]]:
        """What it trains on."""
        return iter(self._side.batches)

    def mistakes(self) -> Iterator[str]:
        """None: the workflows' layers are not searched."""
        return iter(())


def verify_case(
    row: str,
    *,
    data: MNIST | None = None,
    precisions: Sequence[str] = ("float64", "float32"),
    steps: int = 500,
    samples: int = 64,
    recording: Path | None = None,
    with_forms: bool = True,
) -> Outcome:
    """Compare a row of the tutorials with torch, and the forms of its step with each other.

    Args:
      row: a name in `jaxdnn.verification.cases.CASES`.
      data: MNIST, for the rows that need it.
      precisions: which of ``"float64"`` and ``"float32"``.
      steps: at most so many.
      samples: float32 states.
      recording: a file that `record` wrote, instead of torch.
      with_forms: whether the forms of the step are compared.

    Returns:
      An `Outcome`.
    """
    began = time.perf_counter()
    case = CASES[row]
    run = case.run()
    source = _source(case, row, data, steps, samples, recording)
    trajectory = Trajectory(source, run, precisions=precisions)
    trajectory.run()
    report = trajectory.report()
    batches = [list(batch) for _, batch in zip(range(_FORM_STEPS), source.batches(), strict=False)]
    apart = forms.agreement(run, source.start(), batches) if with_forms else {}
    return Outcome(case.workflow, row, report, apart, time.perf_counter() - began)


def _source(
    case: Case, row: str, data: MNIST | None, steps: int, samples: int, recording: Path | None
) -> Source:
    if recording is not None:
        return Recording(recording, name=row, steps=steps)
    return TorchSource(case.torch(data, steps), samples)


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
      path: where to.
      rows: names in `jaxdnn.verification.cases.CASES`.
      data: MNIST, for the rows that need it.
      steps: at most so many of each.
      samples: float32 states of each; of a large network, as many as take 100 MB.
      on_row: called with a row's name when its turn comes.
    """
    from reference_torch.parity import recording

    def steps_of(row: str, source: TorchSource) -> Iterator[Arrays]:
        on_row(row)
        return source.steps(samples=True)

    runs = {}
    for row in rows:
        side = CASES[row].torch(data, steps)
        size = sum(array.nbytes for array in side.start.values())
        # A state, and the step from it in two precisions, with gradients and moments.
        few = int(np.clip(1e8 / (11 * max(size, 1)), 4, samples))
        source = TorchSource(side, few)
        runs[row] = recording.Recorded(source.header, source.start(), _Later(steps_of, row, source))
    recording.write(path, runs)


class _Later:
    """An iterable that begins when it is asked."""

    def __init__(self, function: Callable[..., Iterator[Arrays]], *args: Any) -> None:
        self._function, self._args = function, args

    def __iter__(self) -> Iterator[Arrays]:
        return self._function(*self._args)


def verify_data_loading() -> Outcome:
    """Compare what is drawn, shuffled and split with torch, number for number."""
    from reference_torch.parity.workflow_steps import drawn

    began = time.perf_counter()
    generator = torch_compat.Generator(data_loading.SEED)
    normals = data_loading.normals(generator)
    numbers = TensorDataset(np.arange(500))
    [(order,)] = DataLoader(numbers, batch_size=500, shuffle=True, generator=generator)
    train, test = random_split(numbers, [0.7, 0.3], generator)
    ours = {**normals._asdict(), "order": order, "train": train.indices, "test": test.indices}
    errors = Errors()
    expected = drawn(data_loading.SEED)
    actual = {f"batch/{name}": np.asarray(values) for name, values in ours.items()}
    found: Divergence | None = errors.see(0, expected, actual, tolerance=_DRAWN)
    tier = Tier("exact", 1, errors.largest, _DRAWN, found)
    report = Report(
        "fail" if found else "pass", (tier,), environment={"jax": environment.describe()}
    )
    return Outcome("data-loading", "W21 W22", report, {}, time.perf_counter() - began)


_DRAWN = 1e-6
"""torch's normal numbers depend in their last bits on the vector instructions of the machine."""


def verify_figures(workflow_id: str, data: MNIST | None) -> Figures:
    """Run a workflow as its document does, and count which printed numbers come out.

    Args:
      workflow_id: one of `jaxdnn.workflows.WORKFLOWS`.
      data: MNIST, for the workflows that need it.

    Returns:
      The counts.
    """
    began = time.perf_counter()
    workflow, module = workflows.WORKFLOWS[workflow_id], workflows.load(workflow_id)
    if not hasattr(module, "Inputs"):
        result = module.run()
    else:
        given, source = (data, "MNIST") if data else module.Inputs().load(module.SEED)
        result = module.run(module.SEED, module.Config(), given, data_source=source)
    figures = documented.compare(result.figures)
    reachable, printed = documented.count(workflow.family)
    reproduced = int(sum(f.reproduced + f.within_rounding for f in figures if f.reachable))
    return Figures(workflow_id, printed, reachable, reproduced, time.perf_counter() - began)
