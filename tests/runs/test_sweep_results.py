"""Statistics of a sweep's settings."""

from typing import Any

import numpy as np
import pytest

from jaxdnn.runs import sweep_results
from jaxdnn.runs.ensemble import Ensemble
from jaxdnn.runs.grid import grid
from jaxdnn.training import History
from jaxdnn.workflows import mnist_dnn

NETWORKS = grid(mnist_dnn.Config(epochs=2), {"lr": "0.1,0.2,0.3"}, "5,6,7")
FINAL = [[0.5, 0.75, 0.625], [0.25, 1.0, 0.5], [0.5, 0.5, 0.5]]
FINITE = [[True, True, True], [True, False, True], [False, False, False]]


def trained() -> Ensemble:
    final = np.ravel(FINAL)
    arrays: Any = np.zeros((9, 2, 1)), np.stack([0 * final, final], axis=1)
    return Ensemble(History(*arrays), np.ravel(FINITE), 1, {}, (9,), 0.0, 0.0)


def test_every_setting_is_summarised_over_its_seeds() -> None:
    first, second, third = sweep_results.summarise(NETWORKS, trained())
    assert [s.values["lr"] for s in (first, second, third)] == [0.1, 0.2, 0.3]
    assert (first.mean, first.lowest, first.highest) == (0.625, 0.5, 0.75)
    # The deviation of a sample: its squares are divided by one less than their number.
    assert first.spread == pytest.approx(0.125)
    assert [s.diverged for s in (first, second, third)] == [0, 1, 3]


def test_a_network_that_diverged_is_not_the_best_of_its_setting() -> None:
    best = [setting.best_seed for setting in sweep_results.summarise(NETWORKS, trained())]
    assert best == [6, 7, None]


def test_networks_are_called_by_their_setting_and_seed() -> None:
    settings = [sweep_results.settings_of(NETWORKS, number) for number in range(9)]
    assert [(each["lr"], each["seed"]) for each in settings] == [
        (lr, seed) for lr in (0.1, 0.2, 0.3) for seed in (5, 6, 7)
    ]
