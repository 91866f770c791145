"""Figures as text: places, marks and cuts."""

from typing import Any

import pytest

from jaxdnn.runs import documented, tables


def test_row_beside_a_printed_figure() -> None:
    values = [[0.0] * 5] * 4
    figures = {"data.randn": {"b[0,0]": values, "other": [1, 2, 3, 4]}}
    printed, other = tables.rows(figures, as_documented=True)
    assert (printed.entry, printed.name, printed.place) == ("randn", "b[0,0]", "000 In [87]")
    assert (printed.printed, printed.here, printed.same) == ("1.4229 ...", "0 ...", "0 of 20")
    assert other.figure is None
    assert tables.rows(figures, as_documented=False)[0].printed == ""
    assert printed.value is values  # unrounded, and all of it


def test_underscores_are_spaces() -> None:
    [row] = tables.rows({"a.of_b": {"some_name": 1}}, as_documented=False)
    assert (row.entry, row.name) == ("of b", "some name")


def printed(entry: str, name: str) -> Any:
    return documented.entries()[entry].figures[name]


def almost(entry: str, name: str) -> Any:
    """The printed rows but for half a digit and float32's rounding in one number."""
    rows = [list(row) for row in printed(entry, name)]
    rows[1][0] += 5e-7 + 5e-8
    return rows


@pytest.mark.parametrize(
    ("entry", "name", "value", "same"),
    [
        ("mnist_dnn.test_accuracy", "value", lambda *_: 0.97, "within 0.01, unseeded"),
        ("gradient_descent.linear_layer", "w", lambda *_: 1.9063, "no, out of reach"),
        ("gradient_descent.one_weight", "w", printed, "yes"),
        ("gradient_descent.quadratic_fit", "w", printed, "yes"),
        ("gradient_descent.autograd", "grads", printed, "yes, all 10"),
        ("momentum_sgd.linear1_grad", "rows", almost, "66 of 67, the rest by float32's rounding"),
    ],
)
def test_verdict(entry: str, name: str, value: Any, same: str) -> None:
    figures = {entry: {name: value(entry, name)}}
    [row] = tables.rows(figures, as_documented=True)
    assert row.same == same


def test_numbers_that_differ_are_marked() -> None:
    figures = {"data.randn": {"a[0]": [[0.0555, 9.0, -0.064], [-0.6151, 0.585, -1.3424]]}}
    [row] = tables.rows(figures, as_documented=True)
    assert row.same == "5 of 6"
    first, second = tables.full_lines(row)
    assert first.split() == ["0.0555", "9*", "-0.064"]
    assert "*" not in second


def test_long_list_is_cut_into_lines_of_six() -> None:
    [row] = tables.rows({"a.b": {"c": list(range(13))}}, as_documented=False)
    lines = [line.split() for line in tables.full_lines(row)]
    assert lines == [[*"012345"], ["6", "7", "8", "9", "10", "11"], ["12"]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.1234567, "0.1234567"),
        (1 / 3, "0.333333"),
        (True, "True"),
        ([13, 20], "(13, 20)"),
        ([1, 2, 3, 4, 5, 6], "(1, 2, 3, 4, 5, 6)"),
        ([1, 2, 3, 4, 5, 6, 7], "1 2 ... 7"),
        ([[1, 2], [3, 4]], "2 x 2: 1 2 ... 4"),
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
    # Seven fit: an ellipsis in the place of one epoch would not make them shorter.
    seven = {name: values[:7] for name, values in series.items()}
    assert "..." not in list(tables.epoch_lines(seven, full=False))
    unequal = {"loss": [2.0, 1.0, 0.5], "other": [1.0]}
    assert list(tables.epoch_lines(unequal, full=False)) == ["epoch 1  loss 2.0000  other 1.0000"]
    assert list(tables.epoch_lines({"loss": [1e-5]}, full=False)) == ["epoch 1  loss 1.000e-05"]
