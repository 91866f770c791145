"""The comparison with the printed figures: it sees a digit that is wrong."""

import re
from typing import Any

import pytest

from jaxdnn.runs import documented
from jaxdnn.runs.documented import Figure


def only(entry: str, **figures: Any) -> Figure:
    [figure] = documented.compare({entry: figures, "nothing.printed": {"x": 1}})
    return figure


@pytest.mark.parametrize(
    ("entry", "name", "computed", "reproduced"),
    [
        ("momentum_sgd.first_loss", "value", 1.15594, 1),
        ("momentum_sgd.first_loss", "value", 1.15585001, 1),
        ("momentum_sgd.first_loss", "value", 1.15596, 0),
        ("momentum_sgd.first_loss", "value", 1.1558, 0),
        ("momentum_sgd.first_loss", "value", float("nan"), 0),
        ("momentum_sgd.first_loss", "value", float("inf"), 0),
        ("autograd.power", "grad", 2.00004, 1),
        ("autograd.power", "grad", 2.0001, 0),
        ("autograd.sigmoid_cross_entropy", "dloss_dy", 1.0, 0),
        ("gradient_descent.by_hand", "x", -0.89262581760001, 1),
        ("gradient_descent.by_hand", "x", -0.8926258177, 0),
        ("gradient_descent.quadratic_fit", "w", [2.011612670, 2.974888111, 4.00599999], 3),
        ("gradient_descent.quadratic_fit", "w", [2.01161268, 2.974888111, 4.00599999], 2),
        ("data.loader", "batch_size", 120, 1),
        ("data.loader", "batches", 4, 0),
        ("mnist_dnn.test_accuracy", "value", 0.9611, 1),
        ("mnist_dnn.test_accuracy", "value", 0.9606, 0),
    ],
)
def test_a_wrong_digit_is_seen(entry: str, name: str, computed: Any, reproduced: int) -> None:
    figure = only(entry, **{name: computed})
    assert figure.reproduced == reproduced
    assert figure.within_rounding == 0


def test_each_digit_of_every_figure_counts() -> None:
    """As printed, all come out; each number moved by one unit of its last digit, none does."""
    for name, entry in documented.entries().items():
        for key, value in entry.figures.items():
            assert (same := only(name, **{key: value})).reproduced == same.size, name
            moved = only(name, **{key: _moved(value, entry)})
            assert moved.reproduced == moved.within_rounding == 0, (name, key)
            assert moved.size == same.size


def _moved(value: Any, entry: documented.Entry) -> Any:
    if isinstance(value, list):
        return [_moved(item, entry) for item in value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if entry.tolerance:
        return value + 1.01 * entry.tolerance
    if entry.significant:
        unit = 10.0 ** (int(f"{value:e}".partition("e")[2]) - entry.significant + 1)
        return value + max(unit, 2 * entry.rounding + unit / 2)
    decimals = len(repr(value).partition(".")[2])
    return value + 10.0 ** -(entry.digits or max(4, decimals))


def test_within_rounding_is_where_float32_does_not_settle_a_digit() -> None:
    name = "momentum_sgd.linear1_grad"
    printed = documented.entries()[name].figures["rows"]
    rows = [list(row) for row in printed]
    rows[1][0] += 5e-7 + 5e-8  # half a digit, and less than the rounding
    rows[1][1] += 5e-7  # a digit has 1e-8 here, so this is wrong
    figure = only(name, rows=rows)
    assert (figure.size, figure.reproduced, figure.within_rounding) == (67, 65, 1)
    assert only("momentum_sgd.first_loss", value=1.15595001).within_rounding == 0


def test_cut_list_is_compared_as_far_as_it_goes() -> None:
    name = "momentum_sgd.linear1_weight_after_gd"
    printed = documented.entries()[name].figures["rows"]
    longer = [[*row, *[9.0] * (20 - len(row))] for row in printed] + [[9.0] * 20] * 8
    figure = only(name, rows=longer)
    assert figure.reproduced == figure.size == 96
    assert figure.computed == printed
    shorter = [row[:19] for row in longer]
    with pytest.raises(ValueError, match="zip"):
        only(name, rows=shorter)


def test_unreachable_figure_is_so_called_and_not_counted() -> None:
    figure = only("gradient_descent.linear_layer", w=1.9063)
    assert not figure.reachable
    assert figure.reproduced == 0
    assert documented.count("gradient_descent") == (17, 18)
    assert documented.count("two_layer_net") == (0, 0)


def test_every_figure_says_where_it_is_printed() -> None:
    for name, entry in documented.entries().items():
        assert entry.places.keys() == entry.figures.keys()
        for place in entry.places.values():
            assert re.fullmatch(r"00[0134] In \[\d+\]|001 Autograd|002 section 6", place), name
    assert only("momentum_sgd.linear1_grad", shape=[13, 20]).place == "000 In [23]"
