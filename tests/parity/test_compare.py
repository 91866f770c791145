"""The comparison itself: it finds what differs, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdnn.parity import Divergence, Observation, float32
from jaxdnn.parity.compare import Errors, compare_step


def run(steps: int = 4) -> list[Observation]:
    generator = np.random.default_rng(0)
    return [
        {
            "batch/x": generator.integers(0, 256, (2, 3), dtype=np.uint8),
            "loss": np.array(generator.normal()),
            "grad/a.weight": generator.normal(size=(3, 2)),
            "optimizer/a.weight/momentum_buffer": generator.normal(size=(3, 2)),
            "param/a.weight": generator.normal(size=(3, 2)),
        }
        for _ in range(steps)
    ]


def compare(
    expected: list[Observation], actual: list[Observation], tolerance: float = 1e-12
) -> tuple[Errors, Divergence | None]:
    """Both runs, up to the first divergence."""
    errors, found = Errors({}, {}), ()
    for step, sides in enumerate(zip(expected, actual, strict=True)):
        errors, found = compare_step(errors, step, *sides, tolerance=tolerance)
        if found:
            break
    return errors, found[0] if found else None


def first(expected: list[Observation], actual: list[Observation]) -> Divergence | None:
    return compare(expected, actual)[1]


def altered(step: int, key: str, index: tuple[int, ...], value: float) -> list[Observation]:
    steps = run()
    steps[step][key] = steps[step][key].copy()
    steps[step][key][index] = value
    return steps


def test_equal_runs_do_not_diverge() -> None:
    errors, found = compare(run(), run(), tolerance=0.0)
    assert found is None
    assert errors.largest.keys() == run()[0].keys()
    assert set(errors.largest.values()) == {0.0}


def test_a_step_leaves_the_errors_before_it_as_they_were() -> None:
    before, _ = compare_step(Errors({}, {}), 0, run()[0], run()[0], tolerance=0.0)
    kept = dict(before.largest), dict(before.magnitudes)
    compare_step(before, 1, run()[1], run()[2], tolerance=0.0)
    assert (before.largest, before.magnitudes) == kept


@given(
    step=st.integers(0, 3),
    key=st.sampled_from(sorted(run()[0].keys() - {"batch/x"})),
    difference=st.sampled_from([1e-9, -1e-3, 1e6, np.inf, -np.inf, np.nan]),
    data=st.data(),
)
def test_any_altered_element_is_named(
    step: int, key: str, difference: float, data: st.DataObject
) -> None:
    array = run()[step][key]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in array.shape)
    expected = float(array[index])
    divergence = first(run(), altered(step, key, index, expected + difference))
    assert divergence is not None
    assert (divergence.step, divergence.index) == (step, index)
    assert divergence.expected == expected
    assert "/".join([divergence.phase, divergence.tensor]) == (
        "loss/loss" if key == "loss" else key
    )


def test_bytes_are_compared_without_wrapping() -> None:
    ours, theirs = ([{"batch/x": np.array([value], np.uint8)}] for value in (1, 255))
    divergence = first(ours, theirs)
    assert divergence is not None
    assert divergence.error == 254


def test_first_phase_of_a_step_is_the_first_divergence() -> None:
    theirs = altered(1, "param/a.weight", (0, 0), 9.0)
    theirs[1]["grad/a.weight"] = theirs[1]["grad/a.weight"] + 1e-6
    divergence = first(run(), theirs)
    assert divergence is not None
    assert divergence.phase == "grad"


def test_error_is_relative_to_the_largest_magnitude_so_far() -> None:
    """A gradient that has vanished holds rounding; the same rounding at first is an error."""
    dying = [{"grad/w": np.array([scale])} for scale in (1.0, 1e-17)]
    rounded = [{"grad/w": np.array([scale])} for scale in (1.0, -1e-17)]
    assert first(dying, rounded) is None
    born = first(dying[::-1], rounded[::-1])
    assert born is not None
    assert born.step == 0


def test_nan_and_infinity_equal_only_themselves() -> None:
    values = [0.0, np.nan, np.inf, -np.inf]
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            ours, theirs = ([{"loss": np.array(value)}] for value in (left, right))
            assert (first(ours, theirs) is None) == (i == j)


def test_booleans_and_empty_tensors_are_compared() -> None:
    run = [{"activation/mask": np.array([True, False]), "param/none": np.zeros((0, 3))}]
    other = [{"activation/mask": np.array([True, True]), "param/none": np.zeros((0, 3))}]
    assert first(run, run) is None
    divergence = first(run, other)
    assert divergence is not None
    assert divergence.index == (1,)


# Rounding in float32.


def added(*sides: list[Observation]) -> float32.Roundings:
    roundings = float32.NO_ROUNDINGS
    for step, (exact, torch, port) in enumerate(zip(*sides, strict=True)):
        roundings = float32.add(roundings, exact, torch, port, step=step)
    return roundings


def excess(*sides: list[Observation]) -> dict[str, float]:
    return float32.excess(added(*sides).squares)


@pytest.mark.parametrize(("times", "passes"), [(2.9, True), (3.1, False)])
def test_three_times_torchs_error_and_a_unit_in_the_last_place_pass(
    times: float, passes: bool
) -> None:
    ulp, torch = 2.0**-23, 1e-6
    errors = (0.0, torch, times * torch + ulp)
    sides = ([{"loss": np.array(1.0), "param/w": np.full(3, 1 + error)}] for error in errors)
    found = float32.tier(added(*sides), horizon=None).first_divergence
    assert (found is None) == passes
    if found is not None:
        assert (found.phase, found.tensor) == ("param", "w")
        assert found.error == pytest.approx(times, abs=0.01)


@pytest.mark.parametrize(
    ("reference_error", "port_error", "expected"),
    [(1e-6, 1e-6, 0.88), (1e-6, 5e-6, 4.88), (0.0, 1e-7, 0.0), (0.0, 2e-6, np.inf)],
)
def test_rounding_excess(reference_error: float, port_error: float, expected: float) -> None:
    """One unit in the last place of 1 is 1.19e-7 in float32."""

    def steps(error: float) -> list[Observation]:
        return [{"grad/w": np.full(5, 1 + error)}, {"grad/w": np.full(5, 1 - error)}]

    found = excess(steps(0), steps(reference_error), steps(port_error))
    assert found["grad/w"] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(("side", "expected"), [(0, 0.0), (1, 0.0), (2, np.inf)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rounding_excess_of_what_is_not_finite(side: int, expected: float, value: float) -> None:
    """It is infinite for the port alone: where torch is not finite, nothing is known."""
    sides = [[{"loss": np.array(1.0)}] for _ in range(3)]
    sides[side] = [{"loss": np.array(value)}]
    with np.errstate(invalid="ignore"):
        assert excess(*sides)["loss"] == expected


def test_what_is_infinite_in_torch_hides_no_other_element() -> None:
    """A mask of -inf in the output is no measure of the scores beside it."""
    sides = [[{"output": np.array([1 + error, -np.inf])}] for error in (0.0, 1e-6, 5e-6)]
    assert excess(*sides)["output"] == pytest.approx(4.88, abs=0.01)
