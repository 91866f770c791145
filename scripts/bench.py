"""Benchmark of jaxdnn beside torch, flax, equinox and keras: python scripts/bench.py.

Every system runs in its own process, so that the systems' threads do not compete. The processes
take turns, and a process that waits for its turn uses no processor. Figures are medians over the
turns, with their range; ratios are medians of the ratios within a turn. Accuracies are those of the
timed runs, whose seed is the number of the turn. Systems that are not installed are skipped and
listed.

All systems train in float32 from torch's default initialisation, with the same optimiser and batch
size. They draw a new permutation in every epoch, keep the smaller last batch, and evaluate after
every epoch.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # jaxdnn need not be installed

from bench_systems import report
from bench_systems.parts import PARTS
from bench_systems.settings import Settings, cores
from bench_systems.workers import WorkerError, serve, take_turns

LEAST_REPETITIONS = 7
"""The least number of timed turns: fewer give no reliable median and range."""

PACKAGES = ("jaxdnn", "jax", "jaxlib", "flax", "optax", "equinox", "keras", "torch", "numpy")


def main() -> int:
    """Run the parts, print a table, and write JSON and a plot; returns the exit code."""
    options = _options()
    _pin(options.threads)
    if options.worker:
        import jaxdnn  # noqa: F401 (sets XLA's flags, for the other systems too)

        serve(options.worker, Settings.from_json(options.settings))
        return 0

    settings = Settings(
        options.device,
        options.threads,
        str(options.data_dir) if options.data_dir else None,
        options.samples,
        options.epochs,
        options.networks,
        options.tf32,
    )
    machine = _machine(settings)
    remark = _remark(options)
    heading = ", ".join(f"{key} {value}" for key, value in machine.items())
    sections: dict[str, report.Section] = {}
    results: dict[str, Any] = {"machine": machine, "remark": remark, "parts": {}}
    results["settings"] = json.loads(settings.to_json()) | {"repetitions": options.repetitions}
    for name in options.only:
        part = PARTS[name]
        chosen = [s for s in part.systems if _is_wanted(s.name, options.systems)]
        try:
            with _Progress(name, (options.repetitions + 1) * len(chosen)) as progress:
                measured, skipped = take_turns(
                    chosen, settings, repetitions=options.repetitions, on_turn=progress.advance
                )
        except WorkerError as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            return 1
        rows = part.rows(measured, settings) if measured else []
        sections[name] = report.Section(part.title(settings), rows, skipped)
        results["parts"][name] = {
            "title": sections[name].title,
            "rows": [row.to_dict() for row in rows],
            "skipped": skipped,
            "measured": measured,
        }
        if options.json:  # after every part, so that an interruption loses none
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    report.show(list(sections.values()), heading=heading, remark=remark)
    if options.plot:
        report.draw(options.plot, list(sections.values()), remark=remark)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Speed, limits and accuracy of jaxdnn beside torch, flax, equinox and keras."
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART",
        help=f"parts to run, of {', '.join(PARTS)}; by default all")  # fmt: skip
    add("--systems", nargs="+", metavar="TEXT", help="run only systems whose name contains TEXT")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="device of all systems")
    add("--data-dir", type=Path, help="folder with MNIST; by default the cache or a download")
    add("--repetitions", type=int, help=f"turns that are timed, at least {LEAST_REPETITIONS}")
    add("--quick", action="store_true", help="2 turns, 1 epoch, 2 networks, as a trial")
    add("--epochs", type=int, help="epochs of the MNIST DNN (5)")
    add("--samples", type=int, default=60_000, help="training images (60,000)")
    add("--networks", type=int, help="networks that are trained at once (8; on a GPU 256)")
    add("--threads", type=int, default=cores(), help="threads of each system; default: all cores")
    add("--tf32", action="store_true", help="allow TF32 in matrix products on a GPU")
    add("--json", type=Path, help="file for the measurements")
    add("--plot", type=Path, help="file for a plot of the ratios")
    add("--worker", help=argparse.SUPPRESS)
    add("--settings", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repetitions is None:
        options.repetitions = 2 if options.quick else LEAST_REPETITIONS
    if options.epochs is None:
        options.epochs = 1 if options.quick else 5
    if options.networks is None:
        options.networks = 2 if options.quick else 256 if options.device == "gpu" else 8
    if options.repetitions < LEAST_REPETITIONS and not options.quick:
        parser.error(f"--repetitions must be at least {LEAST_REPETITIONS}, unless --quick is given")
    counts = ("repetitions", "epochs", "networks", "threads")
    if any(getattr(options, name) < 1 for name in counts) or not 64 <= options.samples <= 60_000:
        parser.error(f"{', '.join(counts)} must be positive, and samples from 64 to 60,000")
    return options


def _remark(options: argparse.Namespace) -> str:
    turns = f"{options.repetitions} turns, systems interleaved"
    if options.quick or options.samples != 60_000:
        return f"A QUICK RUN, NO EVIDENCE: {turns}."
    return f"{turns[0].upper()}{turns[1:]}."


def _is_wanted(system: str, wanted: list[str] | None) -> bool:
    return wanted is None or any(text in system for text in wanted)


def _pin(threads: int) -> None:
    """Pin this process and its children to as many cores as each system has threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _machine(settings: Settings) -> dict[str, Any]:
    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": settings.threads,
        "device": settings.device,
        "python": platform.python_version(),
    }
    if settings.device == "gpu":
        machine["matrix products"] = "tf32" if settings.tf32 else "float32"
    for package in PACKAGES:
        try:
            machine[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            machine[package] = "from here" if package == "jaxdnn" else "not installed"
    return machine


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class _Progress:
    """A progress bar with the name of the part, shown on a terminal only."""

    def __init__(self, part: str, turns: int) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(transient=True, console=Console(stderr=True))
        self._task = self._bar.add_task(part, total=turns)

    def __enter__(self) -> "_Progress":
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, system: str) -> None:
        """Count a finished turn."""
        self._bar.advance(self._task)


if __name__ == "__main__":
    sys.exit(main())
