"""The comparison itself: it finds what differs, names it, and passes nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxdnn import parity
from jaxdnn.parity import Observation


def run(steps: int = 4) -> list[Observation]:
    generator = np.random.default_rng(0)
    return [
        {
            "batch/0": generator.integers(0, 256, (2, 3), dtype=np.uint8),
            "loss": np.array(generator.normal()),
            "grad/a.weight": generator.normal(size=(3, 2)),
            "optimizer/a.weight/momentum_buffer": generator.normal(size=(3, 2)),
            "param/a.weight": generator.normal(size=(3, 2)),
        }
        for _ in range(steps)
    ]


def altered(step: int, key: str, index: tuple[int, ...], value: float) -> list[Observation]:
    steps = run()
    steps[step][key] = steps[step][key].copy()
    steps[step][key][index] = value
    return steps


def test_equal_runs_do_not_diverge() -> None:
    comparison = parity.compare(run(), run(), tolerance=0.0)
    assert comparison.first_divergence is None
    assert comparison.steps == 4
    assert set(comparison.errors.values()) == {0.0}
    assert comparison.largest_error("grad") == 0


@given(
    step=st.integers(0, 3),
    key=st.sampled_from(sorted(run()[0].keys() - {"batch/0"})),
    difference=st.sampled_from([1e-9, -1e-3, 1e6, np.inf, -np.inf, np.nan]),
    data=st.data(),
)
def test_any_altered_element_is_named(
    step: int, key: str, difference: float, data: st.DataObject
) -> None:
    array = run()[step][key]
    index = tuple(data.draw(st.integers(0, size - 1)) for size in array.shape)
    expected = float(array[index])
    comparison = parity.compare(run(), altered(step, key, index, expected + difference))
    divergence = comparison.first_divergence
    assert divergence is not None
    assert (divergence.step, divergence.index) == (step, index)
    assert divergence.expected == expected
    assert "/".join([divergence.phase, divergence.tensor]) == (
        "loss/loss" if key == "loss" else key
    )
    assert comparison.steps == step + 1


def test_bytes_are_compared_without_wrapping() -> None:
    ours, theirs = ([{"batch/0": np.array([value], np.uint8)}] for value in (1, 255))
    divergence = parity.compare(ours, theirs).first_divergence
    assert divergence is not None
    assert divergence.error == 254


def test_first_phase_of_a_step_is_the_first_divergence() -> None:
    theirs = altered(1, "param/a.weight", (0, 0), 9.0)
    theirs[1]["grad/a.weight"] = theirs[1]["grad/a.weight"] + 1e-6
    divergence = parity.compare(run(), theirs).first_divergence
    assert divergence is not None
    assert divergence.phase == "grad"


def test_error_is_relative_to_the_largest_magnitude_so_far() -> None:
    """A gradient that has died out holds rounding; the same rounding at the start is an error."""
    dying = [{"grad/w": np.array([scale])} for scale in (1.0, 1e-17)]
    rounded = [{"grad/w": np.array([scale])} for scale in (1.0, -1e-17)]
    assert parity.compare(dying, rounded).first_divergence is None
    born = parity.compare(dying[::-1], rounded[::-1]).first_divergence
    assert born is not None
    assert born.step == 0


def test_nan_and_infinity_equal_only_themselves() -> None:
    values = [0.0, np.nan, np.inf, -np.inf]
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            ours, theirs = ([{"loss": np.array(value)}] for value in (left, right))
            divergence = parity.compare(ours, theirs).first_divergence
            assert (divergence is None) == (i == j)


def test_nothing_is_left_uncompared() -> None:
    with pytest.raises(ValueError, match="no steps"):
        parity.compare([], [], tolerance=0.0)
    with pytest.raises(ValueError, match="The actual run ends after 3 steps"):
        parity.compare(run(4), run(3), tolerance=0.0)
    with pytest.raises(ValueError, match="The expected run ends after 3 steps"):
        parity.compare(run(3), run(4), tolerance=0.0)
    with pytest.raises(ValueError, match="no steps"):
        parity.rounding_excess([], [], [])
    extra, missing, reshaped = run(), run(), run()
    extra[2]["grad/b"] = np.zeros(1)
    del missing[2]["loss"]
    reshaped[2]["grad/a.weight"] = reshaped[2]["grad/a.weight"].T
    with pytest.raises(ValueError, match=r"step 2: .*only actual: \['grad/b'\]"):
        parity.compare(run(), extra, tolerance=0.0)
    with pytest.raises(ValueError, match=r"step 2: .*only expected: \['loss'\]"):
        parity.compare(run(), missing, tolerance=0.0)
    with pytest.raises(ValueError, match=r"step 2: grad/a.weight has shape \(3, 2\)"):
        parity.compare(run(), reshaped, tolerance=0.0)


@pytest.mark.parametrize(
    ("reference_error", "port_error", "excess"),
    [(1e-6, 1e-6, 0.88), (1e-6, 5e-6, 4.88), (0.0, 1e-7, 0.0), (0.0, 2e-6, np.inf)],
)
def test_rounding_excess(reference_error: float, port_error: float, excess: float) -> None:
    """One unit in the last place of 1 is 1.19e-7 in float32."""

    def steps(error: float) -> list[Observation]:
        return [{"grad/w": np.full(5, 1 + error)}, {"grad/w": np.full(5, 1 - error)}]

    result = parity.rounding_excess(steps(0), steps(reference_error), steps(port_error))
    assert result["grad/w"] == pytest.approx(excess, abs=0.01)


@pytest.mark.parametrize("side", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rounding_excess_of_what_is_not_finite_is_infinite(side: int, value: float) -> None:
    sides = [[{"loss": np.array(1.0)}] for _ in range(3)]
    sides[side] = [{"loss": np.array(value)}]
    with np.errstate(invalid="ignore"):
        assert parity.rounding_excess(*sides)["loss"] == np.inf


def test_booleans_and_empty_tensors_are_compared() -> None:
    run = [{"activation/mask": np.array([True, False]), "param/none": np.zeros((0, 3))}]
    other = [{"activation/mask": np.array([True, True]), "param/none": np.zeros((0, 3))}]
    assert parity.compare(run, run).first_divergence is None
    divergence = parity.compare(run, other).first_divergence
    assert divergence is not None
    assert divergence.index == (1,)


@pytest.mark.parametrize("tolerance", [np.nan, np.inf, -1.0])
def test_tolerance_that_lets_everything_pass_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="tolerance must be finite"):
        parity.compare(run(), run(), tolerance=tolerance)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"weights/w": np.zeros(2)}, "weights/w must begin with one of start"),
        ({"loss": np.array(1 + 2j)}, "loss is complex128, not of real numbers"),
        ({"loss": np.array("1")}, "not of real numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused(step: Observation, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parity.compare([step], [step])
