"""Deliberate mistakes in ports, and right ports: python scripts/mutation_report.py.

Runs the whole table of `tests.parity.mutations`: every mistake has to be caught, at the step, phase
and tensor that are stated beforehand, and named as the catalogue names it. Four checks that are
common in ports are run beside it. Then come ports with several mistakes, all of which have to be
named, and the right ports of `clean_runs`, which have to pass.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the table is not installed

import clean_runs

from jaxdnn import parity
from tests.parity.mutations.common_checks import COMMON, UNSEEN
from tests.parity.mutations.evaluation import Finding, evaluate
from tests.parity.mutations.pairs import PAIRS, named
from tests.parity.mutations.table import MUTATIONS, NO_RIGHT_PASS


def main() -> None:
    """Run the table and the clean runs, print both, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Seeded mistakes in ports, and right ports.")
    parser.add_argument("--only", action="append", metavar="ID", help="these mutations alone")
    parser.add_argument("--no-right", action="store_true", help="not the mutations' right ports")
    parser.add_argument("--clean", type=int, default=200, help="how many clean runs")
    parser.add_argument("--json", type=Path, help="where to write everything")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {mutated.id: mutated for mutated in MUTATIONS}
    if unknown := set(options.only or ()) - known.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [known[name] for name in options.only or known]
    count = 0 if options.only else options.clean

    start = time.perf_counter()
    mutations = clean_runs.progress("mutations", chosen)
    findings = [evaluate(each, right=not options.no_right) for each in mutations]
    _print(findings, time.perf_counter() - start)
    pairs = () if options.only else PAIRS
    names = {pair: named(pair) for pair in clean_runs.progress("pairs", pairs)}
    unnamed = {pair.id: sorted(found) for pair, found in names.items() if found != pair.traps}
    if pairs:
        complete = len(pairs) - len(unnamed)
        print(f"{len(pairs)} ports with several mistakes, all named in {complete}")
        for name, found in unnamed.items():
            print(f"Not in full, {name}: {', '.join(found) or 'none'}")
    start = time.perf_counter()
    seeds = clean_runs.progress("clean runs", range(count))
    alarms = [alarm for seed in seeds if (alarm := clean_runs.run(seed))]
    if count:
        print("\n" + clean_runs.summary(alarms, count, time.perf_counter() - start))
    if options.json:
        results = {
            "mutations": [finding._asdict() for finding in findings],
            "pairs": {pair.id: sorted(found) for pair, found in names.items()},
            "clean": count,
            "alarms": [alarm._asdict() for alarm in alarms],
        }
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    raise SystemExit(0 if _met(findings) and not unnamed and not alarms else 1)


def _met(findings: Sequence[Finding]) -> bool:
    """What is required: all caught, 19 of 20 in the right place, all named; right ports pass."""
    return (
        all(f.caught and f.name and f.right_passes is not False for f in findings)
        and sum(f.place for f in findings) >= 0.95 * len(findings)
        and (len(findings) >= 60 or len(findings) < len(MUTATIONS))
    )


def _print(findings: Sequence[Finding], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100, highlight=False)
    letters = dict(zip(COMMON, "abcd", strict=True))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("mistake", "at step, phase, tensor", "named", *letters.values()):
        table.add_column(column, no_wrap=column != "at step, phase, tensor", overflow="fold")
    for kind, group in itertools.groupby(findings, key=lambda finding: finding.kind):
        table.add_row(f"[bold]{kind}[/bold]")
        for f in group:
            place = f.found if f.place else f"! {f.found}, not {f.expected}"
            name = f"{'' if f.name else '! '}{f.trap or '-'}"
            table.add_row(f.id, place, name, *("x" if f.through[c] else "" for c in COMMON))
    console.print(table)
    total = len(findings)
    print(
        "\n!: not as stated. x: a common check lets the mistake through. All four are made in\n"
        "float32, of torch's first batch, from the same parameters, on both sides:"
    )
    for check, meaning in COMMON.items():
        through = sum(f.through[check] for f in findings)
        visible = sum(f.through[check] for f in findings if f.kind not in UNSEEN)
        rejected = sum(not f.right_through[check] for f in findings)
        print(f"  {letters[check]}  {meaning}:")
        print(
            f"     {through} of {total} mistakes pass it, {visible} of them not in "
            f"{' or '.join(UNSEEN)}; {rejected} right ports fail"
        )
    print(
        f"No such check looks at {' or '.join(UNSEEN)}, where both sides begin and train alike: "
        f"{sum(f.kind in UNSEEN for f in findings)} mistakes."
    )
    tried = [f for f in findings if f.right_passes is not None]
    failed = [f.id for f in tried if not f.right_passes]
    missing = set(parity.TRAPS).difference(*(mutated.traps for mutated in MUTATIONS))
    print(
        f"\n{total} mistakes: {sum(f.caught for f in findings)} caught, "
        f"{sum(f.place for f in findings)} at the right step, phase and tensor "
        f"({sum(f.expected.startswith('*') for f in findings)} by rounding alone, at no "
        "stated step);\n"
        f"{sum(f.in_catalogue for f in findings)} in the catalogue, of which "
        f"{sum(f.in_catalogue and f.name for f in findings)} rightly named; of the others "
        f"{sum(not f.in_catalogue and not f.name for f in findings)} wrongly named; "
        f"{seconds:.0f} s\n"
        f"In the catalogue and not made here: {', '.join(sorted(missing)) or 'none'}\n"
        f"Their right ports: {len(tried)} compared, not passed: {', '.join(failed) or 'none'}"
    )
    for name, reason in NO_RIGHT_PASS.items():
        print(f"Not compared, {name}: {reason}")


if __name__ == "__main__":
    main()
