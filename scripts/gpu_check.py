"""Checks and benchmarks on a GPU: python3 scripts/gpu_check.py --data-dir MNIST.

The script checks the devices and the compiler, compares training steps with torch's, with matrix
products in full float32, and times the systems of `scripts/bench.py`. It is made for a GPU that is
available for minutes only: the most important tasks come first, every result is printed and written
to the ``--json`` file at once, and tasks beyond the limit of ``--seconds`` are left out and listed.
The exit code is 1 if a check fails, and 2 if there is no GPU or a package is missing.

It requires jax, torch, flax, optax, jaxtyping and safetensors. It does not require an installed
jaxdnn or a network.
"""

import argparse
import importlib.util
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # jaxdnn need not be installed

NEEDED = {
    "jax": "jax[cuda13]",
    "torch": "torch",
    "flax": "flax",
    "optax": "optax",
    "jaxtyping": "jaxtyping",
    "safetensors": "safetensors",
}
"""The required modules, and the packages that provide them."""

FIRST_ROWS = ("W29", "W25", "W27")
"""The rows of the parity table to check first: a deep network, convolutions, Adam."""

FIRST_SYSTEMS = {
    "mnist": (
        "jaxdnn",
        "jaxdnn, one call an epoch",
        "torch eager, preloaded",
        "torch, CUDA graph of the whole step",
    ),
    "sweep": ("jaxdnn, at once", "torch eager, alone"),
}
"""The systems of the bench to time first, by part; the other systems and parts follow."""


class Check(NamedTuple):
    """The result of a check, one line of the output.

    Attributes:
      name: the name of the check.
      passed: whether it passed; None for a figure without a target.
      detail: the observed values.
    """

    name: str
    passed: bool | None
    detail: str


class Task(NamedTuple):
    """A group of checks.

    Attributes:
      name: its name in the list of tasks that are left out.
      checks: ``checks(deadline)`` runs them; the deadline is a time of `time.monotonic`.
    """

    name: str
    checks: Callable[[float], Iterator[Check]]


def main() -> int:
    """Run all tasks that fit into the time limit; returns the exit code."""
    options = _options()
    missing = _missing()
    if missing:
        print(f"gpu_check: not installed here; install {' '.join(missing)}.", file=sys.stderr)
        return 2
    _set_environment(options.device)
    device = _device(options.device)
    if device is None:
        print(
            "gpu_check: JAX finds no GPU here; run this where there is one, with JAX built for it "
            "(jax[cuda13] for instance), or try it out with --device cpu.",
            file=sys.stderr,
        )
        return 2
    known = _known_rows()
    unknown = sorted(set(options.rows or ()) - set(known))
    if unknown:
        print(f"gpu_check: no rows {unknown}; there are {list(known)}.", file=sys.stderr)
        return 2
    results = Results(options, device)
    return results.collect(_tasks(options, device, known, results.bench))


class Results:
    """The results so far; each is printed and written to the JSON file at once.

    Args:
      options: the command-line options.
      device: a description of the device.
    """

    def __init__(self, options: argparse.Namespace, device: str) -> None:
        self._options, self._device = options, device
        self._checks: list[Check] = []
        self._left_out: list[str] = []
        self._lock = threading.Lock()
        self.bench: dict[str, Any] = {}
        """The measurements of the bench, by part."""

    def collect(self, tasks: Sequence[Task]) -> int:
        """Run the tasks one after the other within the time limit.

        Args:
          tasks: the tasks, the most important first.

        Returns:
          The exit code.
        """
        print(f"On {self._device}", flush=True)
        deadline = START + self._options.seconds
        waiting = [task.name for task in tasks]

        def give_up() -> None:
            # A running compiled program cannot be interrupted, so the process exits under it. All
            # results are written already.
            with self._lock:
                code = self._finish(waiting)
            sys.stdout.flush()
            os._exit(code)

        watchdog = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
        watchdog.daemon = True
        watchdog.start()
        for task in tasks:
            if time.monotonic() > deadline - 5:  # too short for any task
                break
            # The bench gets an earlier deadline, so that it can stop its worker processes.
            for check in task.checks(deadline - 3):
                self._add(check)
            waiting.remove(task.name)
        watchdog.cancel()
        with self._lock:
            return self._finish(waiting)

    def _add(self, check: Check) -> None:
        with self._lock:
            self._checks.append(check)
            word = {True: "pass", False: "FAIL", None: "    "}[check.passed]
            seconds = time.monotonic() - START
            print(f"{seconds:5.0f} s  {word}  {check.name}: {check.detail}", flush=True)
            self._write()

    def _finish(self, left_out: Sequence[str]) -> int:
        self._left_out = list(left_out)
        self._write()
        counts = [sum(check.passed is passed for check in self._checks) for passed in (True, False)]
        print(f"{counts[0]} passed, {counts[1]} failed")
        if left_out:
            print(f"left out after {self._options.seconds} s: {'; '.join(left_out)}")
        return 1 if counts[1] else 0

    def _write(self) -> None:
        path = self._options.json
        if path is None:
            return
        content = {
            "device": self._device,
            "quick": self._options.quick,
            "seconds": time.monotonic() - START,
            "checks": [check._asdict() for check in self._checks],
            "left_out": self._left_out,
            "bench": self.bench,
        }
        # By a rename, since the process may be killed at any time.
        aside = path.with_name(f"{path.name}.part")
        aside.write_text(json.dumps(content, indent=1) + "\n")
        aside.replace(path)


START = time.monotonic()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parity, precision and speed on a GPU.")
    add = parser.add_argument
    add("--device", choices=("gpu", "cpu"), default="gpu", help="cpu is for a trial of the script")
    add("--data-dir", type=Path, help="folder with the four MNIST files, plain or .gz")
    add("--seconds", type=int, default=480, help="time limit; tasks beyond it are left out (480)")
    add("--rows", nargs="*", metavar="ROW", help="rows of the parity table; by default all")
    add("--steps", type=int, default=100, help="largest number of steps per row")
    add("--parts", nargs="*", metavar="PART", help="parts of the bench; by default all")
    add("--quick", action="store_true", help="few repetitions and no targets, as a trial")
    add("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    if options.steps < 2:
        parser.error(f"--steps must be at least 2; got {options.steps}")
    if options.seconds < 1:
        parser.error(f"--seconds must be at least 1; got {options.seconds}")
    from bench_systems.parts import PARTS

    if unknown := sorted(set(options.parts or ()) - set(PARTS)):
        parser.error(f"--parts: no {unknown}; there are {list(PARTS)}")
    return options


def _missing() -> list[str]:
    """The packages that are missing."""
    return [package for module, package in NEEDED.items() if not importlib.util.find_spec(module)]


def _set_environment(device: str) -> None:
    os.environ["JAX_PLATFORMS"] = "cuda,cpu" if device == "gpu" else "cpu"
    # By default JAX allocates most of the memory, which torch and the bench also need.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jaxdnn  # noqa: F401 (sets XLA's flags)


def _device(wanted: str) -> str | None:
    """A description of the device; None if JAX does not find it."""
    import jax

    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError):
        return None
    if wanted == "gpu" and device.platform != "gpu":
        return None
    return f"{device.platform} ({device.device_kind})"


def _known_rows() -> list[str]:
    from jaxdnn.verification.cases import CASES

    return list(CASES)


def _tasks(
    options: argparse.Namespace, device: str, known: Sequence[str], bench: dict[str, Any]
) -> list[Task]:
    """The selected tasks, the most important first."""
    from bench_systems.parts import PARTS

    rows = known if options.rows is None else options.rows
    parts = list(PARTS) if options.parts is None else options.parts

    def parity(row: str, *, with_forms: bool = True) -> Task:
        checks = partial(_parity_checks, row, options, with_forms)
        return Task(f"parity of {row}", checks)

    def timed(part: str, systems: Sequence[str], *, repetitions: int, tf32: bool = False) -> Task:
        name = f"bench {part}: {', '.join(systems)}" + " in TF32" * tf32
        run = partial(_bench_checks, part, systems, repetitions, tf32)
        return Task(name, lambda deadline: run(options, bench, deadline))

    tasks = [Task("the devices", lambda _: _environment_checks(options.device, device))]
    tasks += [parity(row, with_forms=False) for row in FIRST_ROWS if row in rows]
    tasks += [
        timed(part, FIRST_SYSTEMS[part], repetitions=7 if part == "mnist" else 3)
        for part in FIRST_SYSTEMS
        if part in parts
    ]
    if options.device == "gpu" and "mnist" in parts:
        tasks.append(timed("mnist", FIRST_SYSTEMS["mnist"], repetitions=7, tf32=True))
    rest = [row for row in rows if row not in FIRST_ROWS]
    tasks += [parity(row) for row in rest[:4]]
    for part in parts:
        found = [s for s in PARTS[part].systems if options.device in s.devices]
        systems = [s.name for s in found if s.name not in FIRST_SYSTEMS.get(part, ())]
        if part in FIRST_SYSTEMS:
            systems.insert(0, FIRST_SYSTEMS[part][0])  # the base of the ratios
        if systems:
            tasks.append(timed(part, systems, repetitions=3))
    return tasks + [parity(row) for row in rest[4:]]


# The environment.


def _environment_checks(wanted: str, device: str) -> Iterator[Check]:
    import jax
    import torch

    from jaxdnn.parity import environment

    yield Check("JAX's device", True, f"{device}, jax {jax.__version__}")
    if wanted == "gpu":
        found = torch.cuda.is_available()
        detail = torch.cuda.get_device_name() if found else "this torch finds no GPU"
        yield Check("torch's device", found, f"{detail}, torch {torch.__version__}")
    wrong = environment.compiler_checks()
    yield Check("the compiler gets known sums right", not wrong, "; ".join(wrong) or "yes")
    for setting in ("highest", "tensorfloat32", None):
        yield _tf32_check(setting)


def _tf32_check(setting: str | None) -> Check:
    """Whether runs report TF32 if matrix products use it, under a precision setting."""
    import jax

    from jaxdnn.runtime.device import device_and_precision

    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", setting)
    try:
        measured = _rounds_factors()
        said = device_and_precision()[1]
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    reported = any(name in said.lower() for name in ("tf32", "tensorfloat32"))
    right = (reported or not measured) and not (setting == "highest" and (measured or reported))
    seen = "rounded to TF32" if measured else "in full float32"
    name = f"TF32 is reported, matmul precision {setting or 'not set'}"
    return Check(name, right, f"factors {seen}; a run says {said!r}")


def _rounds_factors() -> bool:
    """Whether a product with the identity changes 1 + 2⁻¹², which TF32's 10 bits cannot hold."""
    import jax
    import numpy as np

    values = np.full((256, 256), 1 + 2.0**-12, np.float32)
    product = jax.jit(lambda a, b: a @ b)(values, np.eye(256, dtype=np.float32))
    return bool(np.any(np.asarray(product) != values))


# Parity.


def _parity_checks(
    row: str, options: argparse.Namespace, with_forms: bool, deadline: float
) -> Iterator[Check]:
    import jax

    from jaxdnn.errors import JaxdnnError
    from jaxdnn.verification.cases import CASES

    name = f"parity of {CASES[row].workflow} {row}"
    data = None
    if CASES[row].needs_mnist:
        try:
            data = _mnist(options.data_dir)
        except (JaxdnnError, ImportError) as error:
            detail = f"needs MNIST: {error}; give --data-dir".partition("\n")[0]
            yield Check(name, False, detail)
            return
    try:
        with jax.default_matmul_precision("highest"):
            yield _parity_check(name, row, data, options.steps, with_forms=with_forms)
    except Exception as error:
        traceback.print_exc()
        yield Check(name, False, f"{type(error).__name__}: {error}".partition("\n")[0])


@cache
def _mnist(data_dir: Path | None) -> Any:
    """Read and checked once for all rows."""
    from jaxdnn.data import mnist

    return mnist.load(data_dir)[0]


def _parity_check(name: str, row: str, data: Any, steps: int, *, with_forms: bool) -> Check:
    from jaxdnn.verification import verify

    outcome = verify.verify_case(row, data=data, steps=steps, samples=32, with_forms=with_forms)
    said = [outcome.verdict]
    for tier in outcome.report.tiers:
        worst = max(tier.errors.values(), default=0.0)
        said.append(
            f"{tier.precision}: {tier.steps} steps, error {worst:.1e} of {tier.allowed:.0e}"
        )
        if tier.first_divergence is not None:
            said.append(f"first divergence {tier.first_divergence}")
    said += outcome.report.reasons
    if outcome.forms:
        said.append(f"transforms of a step differ by {max(outcome.forms.values()):.1e}")
    return Check(name, outcome.verdict == "pass", "; ".join(said))


# Speed.


def _bench_checks(
    part_name: str,
    systems: Sequence[str],
    repetitions: int,
    tf32: bool,
    options: argparse.Namespace,
    bench: dict[str, Any],
    deadline: float,
) -> Iterator[Check]:
    """Run systems of a part of the bench in turn; a check for every figure."""
    from bench_systems.parts import PARTS
    from bench_systems.settings import Settings, cores
    from bench_systems.workers import WorkerError, take_turns

    part, gpu = PARTS[part_name], options.device == "gpu"
    small = options.quick or not gpu  # on a CPU the script is only tried out
    settings = Settings(
        options.device,
        cores(),
        str(options.data_dir) if options.data_dir else None,
        epochs=1 if small else 5,
        networks=2 if small else 256,
        tf32=tf32,
    )
    title = part.title(settings) + ", TF32" * tf32
    try:
        measured, skipped = take_turns(
            [system for system in part.systems if system.name in systems],
            settings,
            repetitions=2 if small else repetitions,
            on_turn=lambda system: None,
            deadline=deadline,
        )
    except WorkerError as error:
        yield Check(title, False, str(error))
        return
    rows = part.rows(measured, settings) if any(measured.values()) else []
    bench.setdefault(part_name, []).append(
        {
            "title": title,
            "rows": [row.to_dict() for row in rows],
            "skipped": skipped,
            "measured": measured,
        }
    )
    for row in rows:
        yield _figure(title, row.to_dict(), judge=gpu and not (options.quick or tf32))
    for system, reason in skipped.items():
        yield Check(f"{title}: {system}", None, f"skipped, {reason}")


def _figure(title: str, row: dict[str, Any], *, judge: bool) -> Check:
    said = []
    for name, unit in (("value", row["unit"]), ("ratio", "x"), ("accuracy", "accuracy")):
        if name in row:
            median, low, high = (f"{row[name][key]:.4g}" for key in ("median", "low", "high"))
            said.append(f"{median} {unit} ({low} - {high})")
    if "target" in row:
        said.append(f"target {'≥' if row['at_least'] else '≤'} {row['target']:g}")
    return Check(f"{title}: {row['label']}", row.get("reached") if judge else None, ", ".join(said))


if __name__ == "__main__":
    sys.exit(main())
