"""``--torch-seed``: initial parameters, shuffles and runs as torch's, with its own loaders."""

from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from jaxdnn import torch_compat, training
from jaxdnn.data import tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue, execute
from jaxdnn.runs.workflow import Request
from reference_torch.workflows import lenet, mnist_dnn, tabular_dnn

NUMBERS = np.random.default_rng(0)
FEW = MNIST(
    NUMBERS.integers(0, 256, (100, 28, 28), dtype=np.uint8),
    NUMBERS.integers(0, 10, 100, dtype=np.uint8),
    NUMBERS.integers(0, 256, (40, 28, 28), dtype=np.uint8),
    NUMBERS.integers(0, 10, 40, dtype=np.uint8),
)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The initial state and the permutations with which training begins."""
    seen: dict[str, Any] = {}
    train = training.fit

    def watch(loss: Any, optimizer: Any, state: Any, data: Any, permutations: Any, **k: Any) -> Any:
        jax.debug.callback(
            lambda params, order: seen.setdefault("start", (params, order)),
            state.params,
            permutations,
            ordered=True,
        )
        return train(loss, optimizer, state, data, permutations, **k)

    monkeypatch.setattr(training, "fit", watch)
    return seen


def assert_same_start(seen: dict[str, Any], module: torch.nn.Module, orders: list[Any]) -> None:
    """Bit for bit."""
    params, permutations = seen["start"]
    for name, tensor in torch_compat.to_torch(params).items():
        np.testing.assert_array_equal(tensor, module.state_dict()[name])
    np.testing.assert_array_equal(permutations, orders)


@pytest.mark.parametrize("seed", [7, 2**31 - 1])
@pytest.mark.parametrize(("workflow_id", "reference"), [("mnist-dnn", mnist_dnn), ("lenet", lenet)])
def test_run_on_digits_is_torchs(
    workflow_id: str, reference: ModuleType, seed: int, given: dict[str, Any]
) -> None:
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 32, "lr": 0.05}
    settings |= {"weight_decay": 0.01, "initial_scale": 1.25}
    config = catalogue.report(workflow_id).Config(**settings)
    result = execute.execute(workflow_id, Request(0, config, FEW, torch_seed=seed))
    jax.effects_barrier()
    assert result.to_dict()["config"]["torch_seed"] == seed  # so that the run can be repeated
    assert f"seed=0, torch_seed={seed}, " in repr(result)

    torch.manual_seed(seed)
    module = reference.init(reference.Config(**settings))
    orders = []
    for _ in range(3):  # a pass over each loader in every epoch, as the document's loop makes
        indices = TensorDataset(torch.arange(100))
        orders.append(torch.cat([i for [i] in DataLoader(indices, 32, shuffle=True)]))
        next(iter(DataLoader(TensorDataset(torch.arange(40)), 16)))
    assert_same_start(given, module, orders)

    _, history = reference.fit(seed, reference.Config(**settings), FEW)
    np.testing.assert_allclose(result.losses, history.losses.ravel(), rtol=2e-5)
    assert result.training is not None
    accuracies = result.training.test_accuracy_by_epoch
    assert accuracies is not None
    np.testing.assert_allclose(accuracies, history.test_accuracy, atol=1e-6)
    family = catalogue.WORKFLOWS[workflow_id].family
    shapes = {name: list(p.shape) for name, p in module.named_parameters()}
    assert result.workflow == workflow_id
    assert result.figures == {
        f"{family}.test_accuracy": {"value": accuracies[-1]},
        f"{family}.parameters": shapes,
    }
    assert ("one-hot" in "".join(result.remarks)) == (workflow_id == "mnist-dnn")
    assert result.network is not None
    assert result.network.preprocessing == {"outputs": "digits"}


@pytest.mark.parametrize("batch_size", [64, None])
def test_run_on_a_table_is_torchs(batch_size: int | None, given: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"epochs": 4, "batch_size": batch_size}
    table = tabular.generate(1)
    report = catalogue.report("tabular-dnn")
    result = report.run(Request(0, report.Config(**settings), table, torch_seed=5))
    jax.effects_barrier()

    config = tabular_dnn.Config(**settings)
    rows = torch.tensor(table.features), torch.tensor(table.labels)
    data, module = tabular_dnn.data_and_params(5, *rows)
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    orders, losses = [], []
    optimizer = tabular_dnn.optimizer(module, config)
    for _ in range(4):
        for x, y in tabular_dnn.batches(data, config):
            orders.append(x)
            optimizer.zero_grad()
            loss = tabular_dnn.criterion(module(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    np.testing.assert_allclose(result.losses, losses, rtol=2e-5)
    params, permutations = given["start"]
    for name, tensor in torch_compat.to_torch(params).items():
        np.testing.assert_array_equal(tensor, start[name])
    if batch_size is not None:
        np.testing.assert_array_equal(
            data.train_features.numpy()[np.concatenate(permutations)], torch.cat(orders)
        )


def test_only_what_draws_from_keys_takes_a_torch_seed() -> None:
    assert [w.id for w in catalogue.WORKFLOWS.values() if w.draws_from_keys] == [
        "lenet",
        "tabular-dnn",
        "mnist-dnn",
    ]
    with pytest.raises(ConfigError, match="leave out torch_seed, give seed"):
        execute.run("momentum-sgd", torch_seed=1)


def test_torch_seed_with_too_many_shuffles_to_hold() -> None:
    config = catalogue.report("mnist-dnn").Config(epochs=2 * 10**6)
    with pytest.raises(ConfigError, match=r"at most 10\*\*8; got 200,000,000"):
        execute.execute("mnist-dnn", Request(0, config, FEW, torch_seed=1))
