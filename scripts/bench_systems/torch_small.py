"""The tabular DNN and the linear regression in torch."""

import time
from collections.abc import Callable, Iterator

import torch
from torch.func import functional_call, grad_and_value

from bench_systems.settings import Run, Settings
from bench_systems.torch_digits import Tensors, synchronise, with_device
from jaxdnn.data import tabular
from reference_torch import training
from reference_torch.losses import bce
from reference_torch.workflows import linear_regression, tabular_dnn

__all__ = ["regression", "regression_compiled", "table", "table_compiled"]

SEED = 1


def _timed(device: torch.device, train: Callable[[], object]) -> dict[str, float]:
    synchronise(device)
    start = time.perf_counter()
    train()
    synchronise(device)
    return {"seconds": time.perf_counter() - start}


def _device(settings: Settings) -> torch.device:
    device = with_device(settings)
    torch.set_num_threads(1)  # the fastest for such small networks
    return device


def _table(settings: Settings) -> tuple[torch.device, tabular_dnn.Split, torch.nn.Module]:
    device = _device(settings)
    rows = tabular.generate(SEED)
    data, network = tabular_dnn.data_and_params(
        SEED, torch.tensor(rows.features), torch.tensor(rows.labels)
    )
    return device, type(data)(*(tensor.to(device) for tensor in data)), network.to(device)


def _table_accuracy(network: Callable[..., torch.Tensor], data: tabular_dnn.Split) -> float:
    with torch.no_grad():
        return tabular_dnn.accuracy(network(data.test_features), data.test_labels)


def table(settings: Settings) -> Run:
    """Eager mode, with the code of `reference_torch`."""
    device, data, network = _table(settings)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    config = tabular_dnn.Config()

    def run(turn: int) -> dict[str, float]:
        network.load_state_dict(start)
        optimizer = tabular_dnn.optimizer(network, config)
        # A single epoch with the same batch repeated, which has no overhead per epoch.
        batches = [(data.train_features, data.train_labels)] * config.epochs
        figures = _timed(
            device,
            lambda: training.train_epoch(
                network, tabular_dnn.criterion, optimizer, batches, device
            ),
        )
        return figures | {"accuracy": _table_accuracy(network, data)}

    return run


def table_compiled(settings: Settings) -> Run:
    """`torch.compile` of the complete step, with Adam written out."""
    device, data, network = _table(settings)
    config = tabular_dnn.Config()
    names = [name for name, _ in network.named_parameters()]
    params: Tensors = {name: p.detach().clone() for name, p in network.named_parameters()}
    first = {name: torch.zeros_like(p) for name, p in params.items()}
    second = {name: torch.zeros_like(p) for name, p in params.items()}
    number = torch.zeros((), device=device)

    def loss(params: Tensors) -> torch.Tensor:
        outputs = functional_call(network, params, (data.train_features,))
        return bce(outputs, data.train_labels)

    @torch.compile(fullgraph=True, dynamic=False)
    def step() -> torch.Tensor:
        grads, value = grad_and_value(loss)(params)
        number.add_(1)
        for name in names:
            first[name].lerp_(grads[name], 0.1)
            second[name].mul_(0.999).addcmul_(grads[name], grads[name], value=0.001)
            deviation = (second[name] / (1 - 0.999**number)).sqrt() + 1e-8
            params[name].sub_(config.lr * first[name] / (1 - 0.9**number) / deviation)
        return value

    def run(turn: int) -> dict[str, float]:
        for name, start in network.named_parameters():
            params[name].copy_(start.detach())
            first[name].zero_()
            second[name].zero_()
        number.zero_()
        figures = _timed(device, lambda: torch.stack([step() for _ in range(config.epochs)]))
        trained = _table_accuracy(lambda x: functional_call(network, params, (x,)), data)
        return figures | {"accuracy": trained}

    return run


def _line(
    settings: Settings,
) -> tuple[torch.device, linear_regression.Line, Tensors, list[torch.Tensor]]:
    device = _device(settings)
    data, weights = linear_regression.data_and_params(SEED, 1000)
    data = type(data)(*(tensor.to(device) for tensor in data))
    permutations = [order.to(device) for order in linear_regression.permutations(SEED, 3, 1000)]
    weights = {name: weight.detach().to(device) for name, weight in weights.items()}
    return device, data, weights, permutations


def regression(settings: Settings) -> Run:
    """Eager mode, with the code of `reference_torch`."""
    device, data, initial, permutations = _line(settings)
    config = linear_regression.Config()

    def run(turn: int) -> dict[str, float]:
        weights = {name: tensor.clone().requires_grad_() for name, tensor in initial.items()}
        figures = _timed(
            device, lambda: linear_regression.train(weights, permutations, config, data)
        )
        with torch.no_grad():
            loss = linear_regression.squared_loss(weights, data.features, data.labels).mean()
        return figures | {"loss": loss.item()}

    return run


def regression_compiled(settings: Settings) -> Run:
    """`torch.compile` of the complete step, and of the mean loss after each epoch."""
    device, data, initial, permutations = _line(settings)
    config = linear_regression.Config()
    weights: Tensors = {name: tensor.clone() for name, tensor in initial.items()}

    @torch.compile(fullgraph=True, dynamic=False)
    def step(indices: torch.Tensor) -> torch.Tensor:
        x, y = data.features[indices], data.labels[indices]
        grads, value = grad_and_value(linear_regression.loss)(weights, x, y)
        for name, weight in weights.items():
            weight.sub_(config.lr * grads[name] / len(x))
        return value / len(x)

    @torch.compile(fullgraph=True, dynamic=False)
    def mean_loss() -> torch.Tensor:
        return linear_regression.squared_loss(weights, data.features, data.labels).mean()

    def losses() -> Iterator[torch.Tensor]:
        for order in permutations:
            for indices in order.split(config.batch_size):
                yield step(indices)
            yield mean_loss()

    def run(turn: int) -> dict[str, float]:
        for name, tensor in initial.items():
            weights[name].copy_(tensor)
        figures = _timed(device, lambda: torch.stack(list(losses())))
        return figures | {"loss": mean_loss().item()}

    return run
