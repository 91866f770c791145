"""Right ports, which all have to pass: python scripts/clean_runs.py.

They are those of ``tests/parity/right_ports``: by default the whole table, and with --seed and
--count any others, since a number makes a port. Repeat one that does not pass with --seed N
--count 1. Printed are how many got which verdict, and the report of each that did not pass.
"""

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what is shared with the tests is not installed

from tests.parity.mutations.evaluation import one_line
from tests.parity.right_ports import table


class Alarm(NamedTuple):
    """A right port that did not pass.

    Attributes:
      seed: its number.
      verdict: what was said of it, or ``"error"``.
      why: the place, or the reasons.
      description: what it consists of.
      report: in full.
    """

    seed: int
    verdict: str
    why: str
    description: str
    report: str


def run(seed: int) -> Alarm | None:
    """Compare a right port; None if it passes."""
    port = table.numbered(seed)
    try:
        report = table.check(port)
    except Exception as error:
        return Alarm(seed, "error", one_line(error), port.id, traceback.format_exc(limit=-5))
    if report.ok:
        return None
    why = str(report.first_divergence or "; ".join(report.reasons))
    description = f"{port.id}: {table.compose(port)[1]}"
    return Alarm(seed, report.verdict, why, description, str(report))


def progress(description: str, items: Sequence[Any]) -> Iterable[Any]:
    """The items, with a bar on a terminal."""
    from rich.progress import track

    return track(items, description=description, transient=True)


def summary(alarms: Sequence[Alarm], count: int, seconds: float) -> str:
    """The number of each verdict, and what did not pass."""
    verdicts = Counter({"pass": count - len(alarms)}) + Counter(a.verdict for a in alarms)
    counts = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    lines = [f"{count} right ports: {counts}; {seconds:.0f} s"]
    for alarm in alarms:
        lines += [f"\nseed {alarm.seed}, {alarm.description}", alarm.report]
    return "\n".join(lines)


def main() -> None:
    """Compare them, print the result, and exit with 1 if one does not pass."""
    parser = argparse.ArgumentParser(description="Right ports, which have to pass.")
    parser.add_argument("--count", type=int, default=len(table.PORTS))
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--json", type=Path, help="where to write the alarms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    seeds = range(options.seed, options.seed + options.count)
    alarms = [alarm for seed in progress("right ports", seeds) if (alarm := run(seed))]
    print(summary(alarms, options.count, time.perf_counter() - start))
    if options.json:
        options.json.write_text(json.dumps([a._asdict() for a in alarms], indent=1) + "\n")
    raise SystemExit(1 if alarms else 0)


if __name__ == "__main__":
    main()
