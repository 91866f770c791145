"""How near a step comes to a kink: every function that has one is watched."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from reference_torch.parity.kinks import Kinks
from reference_torch.parity.training_run import TorchRun, steps

Function = Callable[[torch.Tensor], torch.Tensor]

NEAR = torch.tensor([[-2.0, 0.5, 1.0, 4.0]], dtype=torch.float64)
"""Nearest to 0 is 0.5, an eighth of the largest magnitude."""


def distance(function: Function, values: torch.Tensor) -> float:
    with Kinks() as kinks:
        function(values)
    return kinks.distance


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.relu, 0.125),
        (torch.relu_, 0.125),
        (nn.ReLU(inplace=True), 0.125),
        (F.leaky_relu, 0.125),
        (F.elu, 0.125),
        (F.selu, 0.125),
        (torch.abs, 0.125),
        (torch.sign, 0.125),
        (F.relu6, 0.125),
        (lambda x: F.hardtanh(x, -1.0, 3.0), 0.25),
        (lambda x: x.clamp(0.75), 0.0625),
        (lambda x: x.clamp(max=3.5), 0.125),
        (lambda x: x.clamp(-1.75, 100.0), 0.0625),
        (lambda x: torch.clip(x, min=0.75), 0.0625),
        (lambda x: x.clamp_(0.75, 3.9375), 0.015625),
        (lambda x: torch.maximum(x, torch.full_like(x, 0.75)), 0.0625),
        (lambda x: torch.minimum(x, torch.full_like(x, 3.75)), 0.0625),
        (lambda x: F.l1_loss(x, torch.full_like(x, 0.75)), 0.25 / 3.25),
        # The largest leads by 3, the smallest by 2.5.
        (lambda x: x.max(1).values, 0.75),
        (lambda x: x.amax(1), 0.75),
        (lambda x: x.max(), 0.75),
        (lambda x: x.amax(), 0.75),
        # Of each row of two: 0.5 leads -2 by 2.5, and 4 leads 1 by 3.
        (lambda x: x.reshape(2, 2).amax(1), 0.625),
        (lambda x: x.reshape(1, 2, 2).amax((0, 2)), 0.625),
        (lambda x: x.reshape(2, 2).amax((0, 1)), 0.75),
        # What a mask fills in is no measure of rounding.
        (lambda x: x.masked_fill(x > 3, -1e9).relu(), 0.25),
        (lambda x: x.masked_fill(x > 3, -torch.inf).amax(1), 0.25),
        (lambda x: x.min(dim=1).values, 0.625),
        (lambda x: x.amin(1), 0.625),
        (lambda x: F.max_pool2d(x.reshape(1, 1, 2, 2), 2), 0.75),
        (lambda x: F.max_pool2d(x.reshape(1, 1, 1, 4), (1, 2)), 0.625),
        (nn.Sequential(nn.Tanh(), nn.ReLU(), nn.Sigmoid()), 0.4624 / 0.9993),
    ],
)
def test_distance_is_relative_to_the_largest_magnitude(function: Function, expected: float) -> None:
    assert distance(function, NEAR.clone()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "function",
    [torch.tanh, torch.sigmoid, F.gelu, F.silu, F.softplus, torch.exp, lambda x: x @ x.T,
     lambda x: F.log_softmax(x, 1), lambda x: F.mse_loss(x, 0 * x), lambda x: x.sum(1).mean()],
)  # fmt: skip
def test_what_is_smooth_has_no_kink(function: Function) -> None:
    assert distance(function, NEAR.clone()) == float("inf")


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (F.relu, [[0.0, -0.0]]),
        (torch.abs, [[0.0, 0.0]]),
        (lambda x: x.clamp(1.0), [[1.0, 1.0]]),
        (lambda x: x.max(1).values, [[2.0, 2.0]]),
        (lambda x: x.max(1).values, [[2.0]]),
        (lambda x: F.max_pool2d(x[None], (1, 2)), [[3.0, 3.0]]),
        (F.relu, [[]]),
    ],
)
def test_on_the_kink_itself_the_derivative_is_a_convention(
    function: Function, values: list[list[float]]
) -> None:
    assert distance(function, torch.tensor(values)) == float("inf")


def test_labels_and_counts_have_no_derivative() -> None:
    assert distance(lambda x: x.abs().max(0).values, torch.tensor([[-3, 1], [3, 2]])) == float(
        "inf"
    )


def test_the_smallest_of_all_distances_counts_and_stays() -> None:
    with Kinks() as kinks:
        torch.relu(torch.tensor([1e-9, 1.0]))
        torch.relu(torch.tensor([0.5, 1.0]))
    assert kinks.distance == pytest.approx(1e-9)
    torch.relu(torch.tensor([1e-12, 1.0]))
    assert kinks.distance == pytest.approx(1e-9)


def test_what_is_watched_is_not_changed() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)

    def gradient() -> torch.Tensor:
        net.zero_grad()
        net(x).square().sum().backward()
        assert isinstance(net[0].weight.grad, torch.Tensor)
        return net[0].weight.grad.clone()

    expected = gradient()
    with Kinks():
        assert torch.equal(gradient(), expected)


def test_a_state_near_a_kink_is_tried_with_fewer_examples_in_a_batch_of_the_same_size() -> None:
    class Weight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(1.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.w * x)

    x = np.linspace(1.0, 2.0, 16, dtype=np.float32)
    x[9] = 1e-9  # which float32 cannot tell from the kink
    module = Weight()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    run = TorchRun(module, nn.MSELoss(), optimizer, [(x, x)], samples=1)
    [step] = steps(run)
    np.testing.assert_array_equal(step["batch/x"], x)
    np.testing.assert_array_equal(step["sample/0/float32/batch/x"], np.tile(x[:2], 8))
    np.testing.assert_array_equal(step["sample/0/float64/batch/y"], np.tile(x[:2], 8))
