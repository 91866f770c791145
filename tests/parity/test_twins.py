"""How far right runs are apart, as twins of torch's run measure it."""

from typing import Any

import numpy as np
import torch
from torch import nn

from reference_torch import TorchRun
from reference_torch.parity.training_run import steps

Batches = list[tuple[np.ndarray, np.ndarray]]


def batches_of(count: int, *shape: int, outputs: int = 2) -> Batches:
    numbers = np.random.default_rng(0)
    targets = (*shape[:-1], outputs)
    return [(numbers.normal(size=shape), numbers.normal(size=targets)) for _ in range(count)]


def observed(module: nn.Module, batches: Batches, lr: float = 0.1, **kwargs: Any) -> list[Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in module.modules():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
    optimizer = kwargs.pop("optimizer", torch.optim.SGD)(module.parameters(), lr)
    run = TorchRun(module, nn.MSELoss(), optimizer, batches, samples=0)
    return list(steps(run, twins=True))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.out = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(-1)
        return self.out(weights @ x)


def test_the_spread_of_a_small_network_is_a_few_roundings() -> None:
    recorded = observed(
        nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), batches_of(9, 8, 3)
    )
    for step in recorded:
        spreads = {k.removeprefix("spread/"): v for k, v in step.items() if k.startswith("spread/")}
        assert spreads.keys() == {
            key for key in step if key.startswith(("output", "loss", "grad/", "param/"))
        }
        for key, spread in spreads.items():
            assert 0 < spread < 1e-14, key
        assert "parted" not in step
        assert not any(key.startswith("noise/") for key in step)


def test_a_gradient_that_is_rounding_alone_is_noise() -> None:
    for step in observed(Attention(), batches_of(4, 5, 6, 3), optimizer=torch.optim.Adam):
        assert [k for k in step if k.startswith("noise/")] == ["noise/key.bias"]
        assert step["noise/key.bias"].all()
        # Adam makes steps of it, but no other tensor has their size in its spread.
        assert np.max(np.abs(step["param/key.bias"])) > 0.01
        assert max(float(step[f"spread/param/{n}"]) for n in ("key.weight", "out.bias")) < 1e-12


def test_a_part_of_a_tensor_can_be_noise() -> None:
    class Joint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attend(x, x, x, need_weights=False)[0]

    batches = batches_of(3, 5, 6, 4, outputs=4)
    for step in observed(Joint(), batches, optimizer=torch.optim.Adam):
        np.testing.assert_array_equal(
            step["noise/attend.in_proj_bias"], np.repeat([False, True, False], 4)
        )


def test_a_gradient_of_exactly_0_is_no_noise() -> None:
    relu = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    batches = [(np.abs(x), y) for x, y in batches_of(3, 8, 3)]

    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = relu

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu[2](torch.relu(self.relu[0](x) - 100))

    for step in observed(Dead(), batches):
        assert not np.any(step["grad/relu.0.weight"])
        assert not any(key.startswith("noise/") for key in step)


def test_twins_know_what_a_saturated_function_leaves() -> None:
    """1 - tanh(9)**2 keeps eight digits, whichever library tanh is from."""

    class Saturated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(torch.tanh(self.first(x) + 9))

    for step in observed(Saturated(), batches_of(3, 8, 3)):
        spread = float(step["spread/grad/first.weight"])
        assert 1e-11 < spread / np.max(np.abs(step["grad/first.weight"])) < 1e-6


def test_twins_that_part_are_set_back() -> None:
    module = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2), nn.Tanh())
    batches = [(4 * x, y) for x, y in batches_of(1, 16, 3) * 150]
    recorded = observed(module, batches, lr=4.0)
    parted = [number for number, step in enumerate(recorded) if "parted" in step]
    assert parted
    for number in parted[:-1]:
        assert float(recorded[number]["spread/param/0.weight"]) > 1e-11
        assert float(recorded[number + 1]["spread/param/0.weight"]) < 1e-12
