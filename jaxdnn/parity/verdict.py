"""The verdict on a comparison: what both precisions showed, and whether that proves anything."""

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from jaxdnn.parity import environment, float32, vacuity
from jaxdnn.parity import runner as running
from jaxdnn.parity.compare import largest_magnitude, phase_of, under
from jaxdnn.parity.report import Report, Tier
from jaxdnn.parity.stepwise import Carry, Sides
from jaxdnn.parity.trajectory import Result
from jaxdnn.parity.widening import Narrowing

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
    diverged = any(tier.differing for tier in tiers)
    compiler = environment.compiler_checks()
    # A compiler that adds up wrongly in float32 may be the cause of a difference there, and of an
    # agreement anywhere; it is not that of a difference in float64.
    wrong = diverged and (not compiler or bool(result.differing))
    reasons = () if wrong else compiler
    if wrong and _may_be_rounding(result):
        wrong = False
        reasons = (
            "the recording, of an earlier version, does not hold how far right runs are apart, and "
            "a difference so small may be rounding; record the run again",
        )
    if not diverged:
        reasons = (*reasons, *_reasons(result))
    notes = [] if diverged else list(_notes(result))
    return Report(
        "fail" if wrong else "inconclusive" if reasons else "pass",
        tiers,
        reasons=reasons,
        notes=tuple(notes if not wrong else compiler),
        environment={
            "torch": result.sides.source.header["environment"],
            "jax": environment.describe(),
        },
    )


_SMALL = 1e-6
"""A float64 difference beyond this, relatively, is hardly rounding, however a run amplifies it."""


def _may_be_rounding(result: Result) -> bool:
    """Whether a difference is small, and rounding was not measured."""
    found = result.divergence
    if found is None or found.phase in ("start", "batch") or result.carry.measured:
        return False
    return found.error < _SMALL


def _tiers(result: Result) -> tuple[Tier, ...]:
    sides, carry, tiers = result.sides, result.carry, []
    if sides.exact or result.differing:
        tiers.append(
            Tier(
                "float64",
                carry.steps,
                dict(carry.errors.largest),
                sides.tolerance,
                result.differing,
                movement=_errors_by_movement(sides, carry),
                resynchronised=carry.resynchronised,
            )
        )
    # What is wrong in float64 is wrong in float32 too, and says nothing about rounding.
    if sides.single is not None and not result.differing:
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
    reasons = vacuity.reasons(
        carry.evidence, sides.double, sides.initial, carry.state, carry.vanishing
    )
    if sides.single is not None and not carry.roundings.steps:
        reasons.append("no float32 state was far enough from every kink to be compared")
    if carry.vanishing and _noise_matters(result):
        reasons.append(
            f"the gradient of {_names(carry.vanishing)} is 0 but for rounding, and yet the loss "
            "depends on it"
        )
    narrow = _narrower_than_float32(result)
    if narrow and not sides.source.header.get("narrow", False):
        reasons.append(
            f"the port computes in {narrow[0].dtype} ({narrow[0].line}) and torch does not; a "
            "comparison in float64 takes that out, and in float32 it may be too small to show"
        )
    if sides.single is None and sides.constants:
        reasons.append(
            f"{', '.join(sides.constants)} is rounded to float32, so float64 alone does not "
            "decide; compare in float32, too"
        )
    if carry.pending and carry.pending[0].step == carry.steps - 1 and _agreed_before(carry):
        reasons.append(
            f"{carry.pending[0].tensor} of the optimiser differs in the last step, and not before; "
            "give another batch, whose step depends on it"
        )
    if carry.undetermined is not None:
        reasons.append(
            f"only the first {carry.undetermined} steps were compared: after them two right runs "
            "part, and the port's optimiser state cannot be set to torch's; use the transformation "
            "of jaxdnn.optim, or a smaller learning rate"
        )
    if carry.unproved:
        reasons.append(
            f"{', '.join(sorted(carry.unproved))} differs from torch's in elements that the loss "
            "does not read; set them to 0 on both sides if they do not matter"
        )
    return tuple(reasons)


def _agreed_before(carry: Carry) -> bool:
    """Whether the tensors that were set apart last were compared before, and not 0."""
    magnitudes = carry.errors.magnitudes
    return any(magnitudes.get(f"optimizer/{found.tensor}", 0.0) > 0 for found in carry.pending)


def _noise_matters(result: Result) -> bool:
    carry = result.carry
    batch = list(under("batch/", carry.actual).values())
    return vacuity.noise_matters(result.sides.double, carry.state, batch, carry.vanishing)


def _narrower_than_float32(result: Result) -> list[Narrowing]:
    sides, carry = result.sides, result.carry
    double = sides.double
    single = sides.single or running.make_runner(
        double.port, "float32", double.layout, double.optimizer
    )
    state = running.initial_state(single, sides.initial)
    batch = list(under("batch/", carry.actual).values())
    return running.narrowings(single, state, batch, below=32)


def _names(noise: Mapping[str, np.ndarray]) -> str:
    """The parameters, with the number of elements where it is not all."""
    return ", ".join(
        name if mask.all() else f"{int(mask.sum())} elements of {name}"
        for name, mask in sorted(noise.items())
    )


def _notes(result: Result) -> Iterator[str]:
    sides, carry = result.sides, result.carry
    fields = {key.rpartition("/")[2] for key in carry.only_torch if phase_of(key) == "optimizer"}
    if fields:
        yield (
            f"torch's {' and '.join(sorted(fields))} and the port's optimiser state do not "
            "correspond one to one; they were compared through the parameters of later steps, and "
            "so not after the last one"
        )
    if carry.vanishing:
        yield (
            f"the gradient of {_names(carry.vanishing)} is 0 but for rounding, which no two "
            "programs share, and the loss does not depend on it; the update was compared with "
            "torch's gradient"
        )
    if sides.constants:
        yield (
            f"{', '.join(sides.constants)} is rounded to float32, which the other side need not "
            f"share: in float64 each step was compared on its own, to {sides.tolerance:.0e}, and "
            "float32 decides about the rest"
        )
    if carry.unread:
        yield (
            f"{', '.join(sorted(carry.unread))} differs from torch's at padded positions, which "
            "the loss ignores"
        )
    if not sides.source.header.get("training", True):
        yield (
            "torch's module is in evaluation mode, so that neither dropout nor the statistics of "
            "batches were compared"
        )
    if sides.single is None or not sides.exact:
        yield (
            "float32 was not compared; code that depends on its input's type may compute something "
            "else there than in float64"
            if sides.single is None
            else "float64 was not compared; a mistake that float32's rounding hides would pass"
        )
    if "before_step" in carry.idle:
        yield (
            "torch_before_step changed no gradient and no parameter in these steps, so a port "
            "without it would pass, too; give batches that it acts on"
        )
    if "scheduler" in carry.idle:
        yield (
            f"the scheduler changed nothing within these {carry.steps} steps, so a port with a "
            "constant learning rate would pass, too; give more steps"
        )
    yield from vacuity.remarks(carry.evidence)
    yield from float32.notes(carry.roundings)
