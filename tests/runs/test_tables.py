"""Figures as text: places, marks and cuts."""

import pytest

from jaxdnn.runs import tables


def test_row_beside_a_printed_figure() -> None:
    values = [[0.0] * 5] * 4
    figures = {"data.randn": {"b[0,0]": values, "other": [1, 2, 3, 4]}}
    printed, other = tables.rows(figures, as_documented=True)
    assert (printed.entry, printed.name, printed.place) == ("randn", "b[0,0]", "000 In [87]")
    assert (printed.printed, printed.here, printed.same) == ("1.4229 ...", "0 ...", "0 of 20")
    assert other.figure is None
    assert tables.rows(figures, as_documented=False)[0].printed == ""


def test_numbers_that_differ_are_marked() -> None:
    figures = {"data.randn": {"a[0]": [[0.0555, 9.0, -0.064], [-0.6151, 0.585, -1.3424]]}}
    [row] = tables.rows(figures, as_documented=True)
    assert row.same == "5 of 6"
    first, second = tables.full_lines(row)
    assert first.split() == ["0.0555", "9*", "-0.064"]
    assert "*" not in second


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (True, "True"),
        ([13, 20], "(13, 20)"),
        ([1.0, 2.5], "1 2.5"),
        ([1.0, 2.0, 3.0, 4.0], "1 2 ... 4"),
        ([[1.0, 2.0], [3.0, 4.0]], "2 x 2: 1 2 ... 4"),
        ([[1.0, 2.0], [3.0]], "1 2 3"),
        ([], ""),
    ],
)
def test_value_in_brief(value: object, text: str) -> None:
    [row] = tables.rows({"a.b": {"c": value}}, as_documented=False)
    assert row.here == text


def test_long_runs_show_both_ends_and_full_ones_every_epoch() -> None:
    series = {"loss": [1 / (i + 1) for i in range(12)], "other": [float(i) for i in range(12)]}
    lines = list(tables.epoch_lines(series, full=False))
    assert len(lines) == 7
    assert lines[0] == "epoch  1  loss 1.0000  other  0.0000"
    assert lines[3] == "..."
    assert lines[-1].startswith("epoch 12  loss 0.0833")
    assert len(list(tables.epoch_lines(series, full=True))) == 12
    assert list(tables.epoch_lines({}, full=False)) == []
    assert list(tables.epoch_lines({"loss": [1e-5]}, full=False)) == ["epoch 1  loss 1.000e-05"]
