"""One command for a GPU machine: python3 scripts/gpu_check.py --data-dir MNIST.

It runs the parity table on the GPU with matrix products in full float32, checks that TF32 is
reported where it is in effect, runs `scripts/bench.py`, prints one table and exits with 1 if
anything fails; with 2 if there is no GPU or a package is missing. Needed are jax, torch, flax and
optax, and two small packages, jaxtyping and safetensors; jaxdnn itself need not be installed, nor
is there need of a network.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
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
"""Modules, and what brings them."""


class Check(NamedTuple):
    """A line of the table.

    Attributes:
      name: what was checked.
      passed: whether it holds; None for a figure without a target.
      detail: what was seen.
    """

    name: str
    passed: bool | None
    detail: str


def main() -> int:
    """Check everything, print one table, write JSON; the exit code."""
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

    checks = list(_environment_checks(options.device, device))
    rows = known if options.rows is None else options.rows
    checks += _parity_checks(rows, options)
    bench: dict[str, Any] = {}
    if options.parts is None or options.parts:
        bench, found = _bench(options)
        checks += found
    _show(checks, device)
    if options.json:
        content = {
            "device": device,
            "quick": options.quick,
            "checks": [check._asdict() for check in checks],
            "bench": bench,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if any(check.passed is False for check in checks) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Parity, precision and speed on a GPU.")
    add = parser.add_argument
    add("--device", choices=("gpu", "cpu"), default="gpu", help="cpu is for trying this out")
    add("--data-dir", type=Path, help="folder with the four MNIST files, plain or .gz")
    add("--rows", nargs="*", metavar="ROW", help="of the parity table; by default all")
    add("--steps", type=int, default=200, help="of each row, at most")
    add("--parts", nargs="*", metavar="PART", help="of the bench; by default all")
    add("--quick", action="store_true", help="few repetitions: to try it out; targets not judged")
    add("--json", type=Path, help="where everything is written")
    options = parser.parse_args()
    if options.steps < 2:
        parser.error(f"--steps must be at least 2; got {options.steps}")
    return options


def _missing() -> list[str]:
    """What to install."""
    return [package for module, package in NEEDED.items() if not importlib.util.find_spec(module)]


def _set_environment(device: str) -> None:
    os.environ["JAX_PLATFORMS"] = "cuda,cpu" if device == "gpu" else "cpu"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch and the bench need some
    from jaxdnn import xla_flags

    xla_flags.set_flags()


def _device(wanted: str) -> str | None:
    """The device in words; None if there is none."""
    import jax

    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError):
        return None
    if wanted == "gpu" and device.platform != "gpu":
        return None
    return f"{device.platform} ({device.device_kind})"


def _known_rows() -> list[str]:
    from jaxdnn.parity.cases import CASES

    return list(CASES)


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
    wrong = environment.canaries()
    yield Check("the compiler gets known sums right", not wrong, "; ".join(wrong) or "yes")
    for setting in ("highest", "tensorfloat32", None):
        yield _tf32_check(setting)


def _tf32_check(setting: str | None) -> Check:
    """Whether a run says that its products may be made in TF32, where they are."""
    import jax

    from jaxdnn.device import device_and_precision

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
    """Multiply by the identity what float32 can hold and TF32, with its 10 bits, cannot."""
    import jax
    import numpy as np

    values = np.full((256, 256), 1 + 2.0**-12, np.float32)
    product = jax.jit(lambda a, b: a @ b)(values, np.eye(256, dtype=np.float32))
    return bool(np.any(np.asarray(product) != values))


# Parity.


def _parity_checks(rows: Sequence[str], options: argparse.Namespace) -> Iterator[Check]:
    import jax

    from jaxdnn.data import mnist
    from jaxdnn.errors import JaxdnnError
    from jaxdnn.parity.cases import CASES

    data = None
    if any(CASES[row].needs_mnist for row in rows):
        try:
            data, source = mnist.load(options.data_dir)
        except (JaxdnnError, ImportError) as error:
            detail = f"{error}; give --data-dir".partition("\n")[0]
            yield Check("MNIST", False, detail)
        else:
            yield Check("MNIST", True, source)
    for row in rows:
        name = f"parity of {CASES[row].workflow} {row}"
        if CASES[row].needs_mnist and data is None:
            yield Check(name, False, "needs MNIST")
            continue
        try:
            with jax.default_matmul_precision("highest"):
                yield _parity_check(name, row, data, options.steps)
        except Exception as error:
            traceback.print_exc()
            yield Check(name, False, f"{type(error).__name__}: {error}".partition("\n")[0])


def _parity_check(name: str, row: str, data: Any, steps: int) -> Check:
    from jaxdnn.parity import verify

    outcome = verify.verify_case(row, data=data, steps=steps, samples=32)
    said = [outcome.verdict]
    for tier in outcome.report.tiers:
        worst = max(tier.errors.values(), default=0.0)
        said.append(f"{tier.precision}: {tier.steps} compared, {worst:.1e} of {tier.allowed:.0e}")
        if tier.first_divergence is not None:
            said.append(f"first divergence {tier.first_divergence}")
    said += outcome.report.reasons
    if outcome.forms:
        said.append(f"forms of a step apart by {max(outcome.forms.values()):.1e}")
    return Check(name, outcome.verdict == "pass", "; ".join(said))


# Speed.


def _bench(options: argparse.Namespace) -> tuple[dict[str, Any], list[Check]]:
    """Run the bench; its measurements, and a check for every figure."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "bench.json")
        command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "--json", str(results)]
        command += ["--device", options.device]
        command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        command += ["--only", *options.parts] if options.parts else []
        command += ["--quick"] if options.quick else []
        finished = subprocess.run(command, stdout=subprocess.DEVNULL)
        bench = json.loads(results.read_text()) if results.exists() else {}
    ran = Check("scripts/bench.py", not finished.returncode, f"exit code {finished.returncode}")
    checks = [ran]
    for part in bench.get("parts", {}).values():
        checks += [_figure(part["title"], row, judge=not options.quick) for row in part["rows"]]
        checks += [
            Check(f"{part['title']}: {system}", None, f"skipped, {reason}")
            for system, reason in part["skipped"].items()
        ]
    return bench, checks


def _figure(title: str, row: Mapping[str, Any], *, judge: bool) -> Check:
    said = []
    for name, unit in (("value", row["unit"]), ("ratio", "x"), ("accuracy", "accuracy")):
        if name in row:
            median, low, high = (f"{row[name][key]:.4g}" for key in ("median", "low", "high"))
            said.append(f"{median} {unit} ({low} - {high})")
    if "target" in row:
        said.append(f"target {'≥' if row['at_least'] else '≤'} {row['target']:g}")
    return Check(f"{title}: {row['label']}", row.get("reached") if judge else None, ", ".join(said))


def _show(checks: Sequence[Check], device: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "result", "seen", box=None, pad_edge=False)
    words = {True: "[green]pass", False: "[red]FAIL", None: ""}
    for check in checks:
        table.add_row(escape(check.name), words[check.passed], escape(check.detail))
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"On {device}", table, sep="\n")
    counts = [sum(check.passed is passed for check in checks) for passed in (True, False)]
    console.print(f"{counts[0]} passed, {counts[1]} failed")


if __name__ == "__main__":
    sys.exit(main())
