"""The result of a comparison, as text, JSON and HTML."""

import dataclasses
import html
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from jaxdnn.parity.compare import PHASES, Divergence, phase_of, tensor_of
from jaxdnn.parity.traps import TRAPS

__all__ = ["Report", "Tier", "Verdict"]

Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class Tier:
    """The result in one precision.

    Attributes:
      precision: ``"float64"`` or ``"float32"``; for initial parameters, ``"draws"``.
      steps: in float64, how many were compared; in float32, how many states.
      errors: for each tensor, in float64 the largest error relative to its largest magnitude so
        far, in float32 how many times torch's own error the port's is.
      allowed: the largest error that passes.
      differing: the tensors that exceed it, in the first step in which any does.
      movement: in float64, for each parameter its last error relative to how far it has moved.
      resynchronised: in float64, the steps after which the port was set to torch's state, because
        twins of torch's run had parted by rounding alone.
      horizon: in float32, the step at which two right runs part whose initial parameters differ by
        one unit in the last place; None if they do not.
    """

    precision: str
    steps: int
    errors: Mapping[str, float]
    allowed: float
    differing: tuple[Divergence, ...] = ()
    movement: Mapping[str, float] = field(default_factory=dict)
    resynchronised: tuple[int, ...] = ()
    horizon: int | None = None

    @property
    def first_divergence(self) -> Divergence | None:
        """None, or the first of those that differ."""
        return self.differing[0] if self.differing else None

    def largest(self, phase: str) -> tuple[str, float] | None:
        """The tensor of a phase with the largest error, and the error."""
        errors = {key: error for key, error in self.errors.items() if phase_of(key) == phase}
        if not errors:
            return None
        worst = max(errors, key=lambda key: errors[key])
        return tensor_of(worst), errors[worst]


@dataclass(frozen=True)
class Report:
    """The verdict on a port, and the evidence for it.

    Attributes:
      verdict: ``"pass"``, ``"fail"`` or ``"inconclusive"``.
      tiers: the result in each precision.
      traps: the names of the mistakes in `jaxdnn.parity.TRAPS`, in the order in which they show.
      mended: with ``traps``, the result of the comparison without them.
      reasons: why it is inconclusive.
      notes: remarks that change no verdict.
      environment: versions, devices and arithmetic of both sides.
    """

    verdict: Verdict
    tiers: tuple[Tier, ...]
    traps: tuple[str, ...] = ()
    mended: str | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the verdict is ``"pass"``."""
        return self.verdict == "pass"

    @property
    def trap(self) -> str | None:
        """The first of the mistakes; None if none is known."""
        return self.traps[0] if self.traps else None

    @property
    def first_divergence(self) -> Divergence | None:
        """Where the port parts from torch, in the first precision in which it does."""
        return next((t.first_divergence for t in self.tiers if t.first_divergence), None)

    def explanation(self) -> list[tuple[str, str]]:
        """The text below the table, as pairs of a heading and a sentence."""
        said = []
        for tier in self.tiers:
            if tier.first_divergence:
                said.append((f"parts in {tier.precision}", _sentence(tier)))
                if len(tier.differing) > 1:
                    others = [_place(found) for found in tier.differing[1:]]
                    said.append(("in the same step", _listed(others)))
        if self.first_divergence is not None:
            if not self.traps:
                said.append(("cause", "unknown: no mistake in the catalogue explains it"))
            for name in self.traps:
                trap = TRAPS[name]
                said += [
                    ("cause", f"{name}: {trap.explanation}"),
                    ("torch computes", trap.torch),
                    ("the port computes", trap.port),
                    ("fix", trap.mend),
                ]
            if self.mended:
                several = len(self.traps) > 1
                said.append((f"without the mistake{'s' * several}", self.mended))
        said += [("inconclusive", reason) for reason in self.reasons]
        for tier in self.tiers:
            said.append((tier.precision, _summary(tier)))
        said += [("note", note) for note in self.notes]
        sides = (
            f"{side}: " + ", ".join(f"{k} {v}" for k, v in values.items())
            for side, values in self.environment.items()
        )
        return said + [("environment", side) for side in sides]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table: precision, phase, the worst tensor, its error."""
        rows = []
        for tier in self.tiers:
            for phase in _phases(tier):
                if (worst := tier.largest(phase)) is not None:
                    rows.append((tier.precision, phase, worst[0], _error(tier, worst[1])))
        return rows

    def __str__(self) -> str:
        """The table and the explanation, at most 100 columns wide."""
        from rich.console import Console
        from rich.table import Table

        console = Console(file=io.StringIO(), width=100, color_system=None, force_terminal=False)
        table = Table("precision", "phase", "worst tensor", "error", box=None, pad_edge=False)
        table.columns[3].justify = "right"
        for row in self.rows():
            table.add_row(*row)
        said = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        for heading, text in self.explanation():
            said.add_row(heading, text)
        console.print(self.verdict.upper(), table, "", said, sep="\n", markup=False)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in lines)

    def to_dict(self) -> dict[str, Any]:
        """The whole report in JSON's types; a number that is not finite becomes a string."""
        contents = dataclasses.asdict(self)
        contents |= {"ok": self.ok, "first_divergence": _plain(self.first_divergence)}
        for tier, written in zip(self.tiers, contents["tiers"], strict=True):
            written["first_divergence"] = _plain(tier.first_divergence)
        contents["trap"] = self.trap
        if self.trap is not None:
            contents["explanation"] = TRAPS[self.trap]._asdict()
        return _plain(contents)

    def to_json(self) -> str:
        """The whole report as one JSON object."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def to_html(self, *, title: str = "Port from torch to JAX") -> str:
        """The report as a self-contained page.

        Args:
          title: its heading.
        """
        return page(title, [(None, self)])


def page(title: str, reports: list[tuple[str | None, Report]]) -> str:
    """Several reports on one self-contained page, each under its heading."""
    sections = []
    for heading, report in reports:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in report.rows()
        )
        said = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"
            for name, text in report.explanation()
        )
        sections.append(
            "<section>"
            + (f"<h2>{html.escape(heading)}</h2>" if heading else "")
            + f'<p class="verdict {report.verdict}">{report.verdict}</p>'
            + "<table><thead><tr><th>precision</th><th>phase</th><th>worst tensor</th>"
            + f"<th>error</th></tr></thead><tbody>{rows}</tbody></table><dl>{said}</dl></section>"
        )
    return _PAGE.format(title=html.escape(title), sections="\n".join(sections))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #ddd }}
th:last-child, td:last-child {{ text-align: right; font-variant-numeric: tabular-nums }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem }}
dt {{ color: #555 }} dd {{ margin: 0; overflow-wrap: anywhere }}
section {{ margin-bottom: 3rem }}
.verdict {{ display: inline-block; padding: .1rem .75rem; border-radius: .25rem; color: #fff;
           font-weight: 600 }}
.pass {{ background: #1a7f37 }} .fail {{ background: #b42318 }}
.inconclusive {{ background: #8a5a00 }}
</style></head><body><h1>{title}</h1>
{sections}
</body></html>
"""


def _phases(tier: Tier) -> tuple[str, ...]:
    """Those up to the divergence; later differences follow from it."""
    if tier.first_divergence is None:
        return PHASES
    return PHASES[: PHASES.index(tier.first_divergence.phase) + 1]


def _error(tier: Tier, error: float) -> str:
    return f"{error:.2f} x torch's" if tier.precision == "float32" else f"{error:.1e}"


def _sentence(tier: Tier) -> str:
    found = tier.first_divergence
    assert found is not None
    if tier.precision != "float32" or found.detail:
        return str(found)
    place = f"{found.tensor}{list(found.index) if found.index else ''}"
    return (
        f"{found.phase} {place}: {found.error:.1f} times as far from float64 as torch, by root "
        f"mean square over {tier.steps} states; furthest at step {found.step}, where float64 gives "
        f"{found.expected!r} and the port {found.actual!r}"
    )


def _place(found: Divergence) -> str:
    tensor = "" if found.tensor == found.phase else f" {found.tensor}"
    return f"{found.phase}{tensor} ({found.error:.1e})"


def _listed(places: list[str], most: int = 12) -> str:
    rest = len(places) - most
    return ", ".join(places[:most]) + (f" and {rest} more" if rest > 0 else "")


def _summary(tier: Tier) -> str:
    if tier.precision == "draws":
        return f"{tier.steps} draws on each side; the error is the Kolmogorov-Smirnov statistic"
    if tier.precision == "float32":
        text = f"one step from each of {tier.steps} states of torch's run; "
        if tier.horizon is None:
            return text + "two right runs that begin one ulp apart stay together"
        return text + f"two right runs that begin one ulp apart part at step {tier.horizon}"
    text = f"{tier.steps} step{'s' * (tier.steps != 1)} compared"
    if tier.first_divergence is None:
        text += f", at most {tier.allowed:.0e} apart"
    if tier.movement and tier.first_divergence is None:
        worst = max(tier.movement, key=lambda name: tier.movement[name])
        text += f"; the parameters' errors are up to {tier.movement[worst]:.1e} of their movement"
        text += f" ({worst})"
    if tier.resynchronised:
        count = len(tier.resynchronised)
        text += (
            f"; torch's own twins parted by rounding {count} time{'s' * (count > 1)} (first at "
            f"step {tier.resynchronised[0]}), and the port went on from torch's state"
        )
    return text


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
