"""The verdict on a comparison: what both precisions showed, and whether that proves anything."""

import itertools
from collections.abc import Iterator

from jaxdnn.parity import environment, float32, vacuity
from jaxdnn.parity.compare import largest_magnitude, phase_of, under
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.stepwise import TOLERANCE, Carry, Sides
from jaxdnn.parity.trajectory import Result

__all__ = ["report"]


def report(result: Result) -> Report:
    """The verdict, without the name of the mistake.

    Args:
      result: of `jaxdnn.parity.trajectory.follow`.

    Returns:
      A `Report`: ``"inconclusive"`` where the compiler cannot be trusted, or where the two agree
      and a vacuity check fails; otherwise ``"fail"`` if they part in any precision that decides.
    """
    tiers = _tiers(result)
    diverged = any(tier.first_divergence for tier in tiers)
    reasons = environment.compiler_checks()
    if not diverged:
        reasons = (*reasons, *_reasons(result))
    return Report(
        "inconclusive" if reasons else "fail" if diverged else "pass",
        tiers,
        reasons=reasons,
        notes=() if diverged else tuple(_notes(result.carry)),
        environment={
            "torch": result.sides.source.header["environment"],
            "jax": environment.describe(),
        },
    )


def _tiers(result: Result) -> tuple[Tier, ...]:
    sides, carry, tiers = result.sides, result.carry, []
    if sides.exact:
        tiers.append(
            Tier(
                "float64",
                carry.steps,
                dict(carry.errors.largest),
                TOLERANCE,
                result.divergence,
                movement=_errors_by_movement(sides, carry),
                resynchronised=carry.resynchronised,
            )
        )
    # What is wrong in float64 is wrong in float32 too, and says nothing about rounding.
    if sides.single is not None and result.divergence is None:
        tiers.append(float32.tier(carry.roundings, _horizon(sides, carry)))
    return tuple(tiers)


def _errors_by_movement(sides: Sides, carry: Carry) -> dict[str, float]:
    """Of each parameter: its last error relative to how far it has moved."""
    errors = {}
    for name in under("param/", carry.errors.largest):
        key = f"param/{name}"
        moved = largest_magnitude(carry.expected[key] - sides.initial[key])
        if moved > 0:
            errors[name] = largest_magnitude(carry.expected[key] - carry.actual[key]) / moved
    return errors


def _horizon(sides: Sides, carry: Carry) -> int | None:
    assert sides.single is not None
    batches = sides.port_batches
    if batches is None:
        batches = sides.source.batches()
    return float32.horizon(sides.single, sides.initial, itertools.islice(batches, carry.steps))


def _reasons(result: Result) -> tuple[str, ...]:
    sides, carry = result.sides, result.carry
    reasons = vacuity.reasons(carry.evidence, sides.double, sides.initial)
    if sides.single is not None and not carry.roundings.steps:
        reasons.append("no float32 state was far enough from every kink to be compared")
    return tuple(reasons)


def _notes(carry: Carry) -> Iterator[str]:
    fields = {key.rpartition("/")[2] for key in carry.only_torch if phase_of(key) == "optimizer"}
    if fields:
        yield (
            f"torch's {' and '.join(sorted(fields))} and the port's optimiser state do not "
            "correspond one to one; they were compared through the parameters"
        )
    yield from float32.notes(carry.roundings)
