"""The MNIST DNN in torch: eager, with loaders, compiled, as a CUDA graph, and vmapped."""

import atexit
import dataclasses
import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.utils.data import DataLoader, Dataset

from bench_systems import digits
from bench_systems.digits import BATCH_SIZE, LR, MOMENTUM
from bench_systems.settings import Run, Settings, SkippedError
from jaxdnn.data import idx, mnist
from reference_torch import training
from reference_torch.losses import cross_entropy
from reference_torch.training import Batches
from reference_torch.workflows import mnist_dnn

__all__ = [
    "compiled",
    "compiled_cuda_graph",
    "cuda_graph",
    "data_loader",
    "eager",
    "eager_alone",
    "eager_one_thread",
    "synchronise",
    "torchvision_loader",
    "vmapped",
    "with_device",
]

Data = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Tensors = dict[str, torch.Tensor]


def with_device(settings: Settings) -> torch.device:
    """Set the number of threads and the precision, and return the device."""
    torch.set_num_threads(settings.threads)
    torch.set_float32_matmul_precision("high" if settings.tf32 else "highest")
    if settings.device == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SkippedError("this torch finds no GPU")
    return torch.device("cuda")


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _preloaded(settings: Settings, device: torch.device) -> Data:
    """Images and labels on the device: normalised float32 and int64."""
    bytes_ = [torch.tensor(array) for array in digits.load(settings)]
    train, test = (mnist_dnn.normalise(bytes_[i], torch.float32).to(device) for i in (0, 2))
    return train, bytes_[1].long().to(device), test, bytes_[3].long().to(device)


def _model(seed: int, device: torch.device) -> nn.Module:
    torch.manual_seed(seed)
    return mnist_dnn.init().to(device)


def _orders(settings: Settings, device: torch.device) -> Iterator[torch.Tensor]:
    return (torch.randperm(settings.samples, device=device) for _ in range(settings.epochs))


class _Shuffled:
    """Shuffled batches of tensors on the device, with a new permutation in every epoch.

    A `DataLoader` would index sample by sample; see `data_loader`.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self._images, self._labels = images, labels

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self._labels), device=self._labels.device)
        for indices in order.split(BATCH_SIZE):
            yield self._images[indices], self._labels[indices]


# Eager, on preloaded tensors, with the loop of `reference_torch.training`.


def eager(settings: Settings) -> Run:
    """All epochs and evaluations in eager mode."""
    device = with_device(settings)
    images, labels, test_images, test_labels = _preloaded(settings, device)
    train = _Shuffled(images, labels)
    test = list(zip(test_images.split(1000), test_labels.split(1000), strict=True))

    def run(turn: int) -> dict[str, float]:
        model = _model(turn, device)
        # The fused update is the fastest on a GPU, the default one on a CPU.
        optimizer = torch.optim.SGD(
            model.parameters(), lr=LR, momentum=MOMENTUM, fused=device.type == "cuda" or None
        )
        synchronise(device)
        start = time.perf_counter()
        accuracies: list[float] = []

        def evaluate() -> float:
            accuracies.append(training.accuracy(model, test, device))
            return accuracies[-1]

        training.fit(
            model,
            mnist_dnn.criterion,
            optimizer,
            train,
            epochs=settings.epochs,
            evaluate=evaluate,
            device=device,
        )
        synchronise(device)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "accuracy": accuracies[-1]}

    return run


def eager_one_thread(settings: Settings) -> Run:
    """The same with one thread, which may be faster for small steps."""
    if settings.device == "gpu" or settings.threads == 1:
        raise SkippedError("the same as torch eager, preloaded")
    return eager(dataclasses.replace(settings, threads=1))


def eager_alone(settings: Settings) -> Run:
    """One network after the other, for the sweep."""
    run_one = eager(settings)

    def run(turn: int) -> dict[str, float]:
        return {"seconds_per_network": run_one(turn)["seconds"]}

    return run


# With a DataLoader, which normalises each image when it is indexed.


class _Images(Dataset[tuple[torch.Tensor, int]]):
    """The samples of torchvision's MNIST with ToTensor and Normalize, without PIL images."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images, self._labels = torch.tensor(images), torch.tensor(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self._images[index][None].to(torch.float32).div(255)
        return image.sub_(mnist_dnn.MEAN).div_(mnist_dnn.STD), int(self._labels[index])


def torchvision_loader(settings: Settings) -> Run:
    """The document's form: torchvision's MNIST with ToTensor and Normalize."""
    # Optional; unknown to pyright.
    datasets: Any = importlib.import_module("torchvision.datasets")
    transforms: Any = importlib.import_module("torchvision.transforms")

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    raw = Path(folder.name, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name, array in zip(mnist.FILES, digits.load(settings), strict=True):
        (raw / name).write_bytes(idx.encode(array))
    normalise = transforms.Normalize((mnist_dnn.MEAN,), (mnist_dnn.STD,))
    transform = transforms.Compose([transforms.ToTensor(), normalise])
    train, test = (
        datasets.MNIST(folder.name, train=train, transform=transform) for train in (True, False)
    )
    return _loaded(settings, train, test)


def data_loader(settings: Settings) -> Run:
    """The same with a data set of tensors."""
    data = digits.load(settings)
    return _loaded(settings, _Images(*data[:2]), _Images(*data[2:]))


def _loaded(settings: Settings, train_data: Any, test_data: Any) -> Run:
    """The loop of torch's tutorials, which moves each batch of a DataLoader to the device."""
    device = with_device(settings)
    train: Batches = DataLoader(train_data, batch_size=BATCH_SIZE, shuffle=True)
    test: Batches = DataLoader(test_data, batch_size=BATCH_SIZE)

    def run(turn: int) -> dict[str, float]:
        model = _model(turn, device)
        optimizer = mnist_dnn.optimizer(model, mnist_dnn.Config())
        test_accuracy = 0.0
        synchronise(device)
        start = time.perf_counter()
        for _ in range(settings.epochs):
            training.train_epoch(model, mnist_dnn.criterion, optimizer, train, device)
            test_accuracy = training.accuracy(model, test, device)
        return {"seconds": time.perf_counter() - start, "accuracy": test_accuracy}

    return run


# The complete step as one program.


def _functional_step(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor
) -> tuple[Tensors, Tensors, Callable[[torch.Tensor], torch.Tensor]]:
    """Parameters, velocities, and a step that updates them in place, for `torch.compile`."""
    params = {name: param.detach().clone() for name, param in model.named_parameters()}
    velocities = {name: torch.zeros_like(param) for name, param in params.items()}

    def loss(params: Tensors, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(functional_call(model, params, (images,)), labels)

    def step(indices: torch.Tensor) -> torch.Tensor:
        grads, value = grad_and_value(loss)(params, images[indices], labels[indices])
        for name, param in params.items():
            velocities[name].mul_(MOMENTUM).add_(grads[name])
            param.sub_(LR * velocities[name])
        return value

    return params, velocities, step


def _restart(params: Tensors, velocities: Tensors, model: nn.Module) -> None:
    for name, fresh in model.named_parameters():
        params[name].copy_(fresh.detach())
        velocities[name].zero_()


@torch.no_grad()
def _accuracy(
    predict: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, labels: torch.Tensor
) -> float:
    outputs = torch.cat([predict(batch) for batch in images.split(1000)])
    return (outputs.argmax(-1) == labels).double().mean().item()


def _timed_epochs(
    settings: Settings,
    device: torch.device,
    data: Data,
    predict: Callable[[torch.Tensor], torch.Tensor],
    epoch: Callable[[torch.Tensor], object],
) -> dict[str, float]:
    """Time all epochs, each with an evaluation."""
    test_accuracy = 0.0
    synchronise(device)
    start = time.perf_counter()
    for order in _orders(settings, device):
        epoch(order)
        test_accuracy = _accuracy(predict, data[2], data[3])
    synchronise(device)
    return {"seconds": time.perf_counter() - start, "accuracy": test_accuracy}


def compiled(settings: Settings) -> Run:
    """`torch.compile` of the complete step: forward, loss, backward, optimiser."""
    device = with_device(settings)
    data = _preloaded(settings, device)
    model = _model(0, device)
    params, velocities, step = _functional_step(model, *data[:2])
    step = torch.compile(step, fullgraph=True, dynamic=False)

    def predict(images: torch.Tensor) -> torch.Tensor:
        return functional_call(model, params, (images,))

    def epoch(order: torch.Tensor) -> torch.Tensor:
        return torch.stack([step(indices) for indices in order.split(BATCH_SIZE)])

    def run(turn: int) -> dict[str, float]:
        _restart(params, velocities, _model(turn, device))
        return _timed_epochs(settings, device, data, predict, epoch)

    return run


def _captured(settings: Settings, *, compile_step: bool) -> Run:
    device = with_device(settings)
    data = _preloaded(settings, device)
    model = _model(0, device)
    params, velocities, functional = _functional_step(model, *data[:2])
    if compile_step:
        functional = torch.compile(functional, fullgraph=True, dynamic=False)
    steps = -(-settings.samples // BATCH_SIZE)
    order = torch.randperm(settings.samples, device=device)
    losses = torch.zeros(steps, device=device)
    number = torch.zeros(1, dtype=torch.int64, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, fused=True)

    def update(indices: torch.Tensor) -> torch.Tensor:
        if compile_step:
            return functional(indices)
        optimizer.zero_grad(set_to_none=True)
        value = cross_entropy(model(data[0][indices]), data[1][indices])
        value.backward()
        optimizer.step()
        return value.detach()

    def captured_step(size: int) -> torch.cuda.CUDAGraph:
        """A graph of a step on ``size`` samples, which reads its position from ``number``."""
        places = torch.arange(size, device=device)

        def step() -> None:
            indices = order[(number * BATCH_SIZE + places) % settings.samples]
            losses.index_copy_(0, number % steps, update(indices).reshape(1))
            number.add_(1)

        # CUDA graphs require warm-up steps on a side stream before the capture.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step()
        return graph

    full, tail = divmod(settings.samples, BATCH_SIZE)
    graph = captured_step(BATCH_SIZE)
    last = captured_step(tail) if tail else None

    def predict(images: torch.Tensor) -> torch.Tensor:
        return functional_call(model, params, (images,)) if compile_step else model(images)

    def epoch(new_order: torch.Tensor) -> torch.Tensor:
        order.copy_(new_order)
        number.zero_()
        for _ in range(full):
            graph.replay()
        if last is not None:
            last.replay()
        return losses.clone()

    @torch.no_grad()
    def restart(seed: int) -> None:
        fresh = _model(seed, device)
        _restart(params, velocities, fresh)
        for param, start in zip(model.parameters(), fresh.parameters(), strict=True):
            param.copy_(start)
        for state in optimizer.state.values():
            state["momentum_buffer"].zero_()

    def run(turn: int) -> dict[str, float]:
        restart(turn)
        return _timed_epochs(settings, device, data, predict, epoch)

    return run


def cuda_graph(settings: Settings) -> Run:
    """A CUDA graph of the complete step, including the gathering of the batch."""
    return _captured(settings, compile_step=False)


def compiled_cuda_graph(settings: Settings) -> Run:
    """A CUDA graph of the step that `torch.compile` produces."""
    return _captured(settings, compile_step=True)


# Many networks at once.


def vmapped(settings: Settings) -> Run:
    """`torch.func.vmap` of the step over stacked parameters, with a permutation per network."""
    device = with_device(settings)
    images, labels, test_images, test_labels = _preloaded(settings, device)
    skeleton = mnist_dnn.init().to("meta")

    def loss(params: Tensors, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return cross_entropy(functional_call(skeleton, params, (images,)), labels)

    gradients = vmap(grad_and_value(loss))

    def predict(params: Tensors, images: torch.Tensor) -> torch.Tensor:
        return functional_call(skeleton, params, (images,)).argmax(-1)

    predictions: Any = vmap(predict, in_dims=(0, None))

    @torch.no_grad()
    def accuracies(params: Tensors) -> torch.Tensor:
        correct = torch.zeros(settings.networks, device=device)
        for x, y in zip(test_images.split(1000), test_labels.split(1000), strict=True):
            correct += (predictions(params, x) == y).sum(1)
        return correct / len(test_labels)

    def run(turn: int) -> dict[str, float]:
        networks = settings.networks
        fresh = [_model(networks * turn + i, device) for i in range(networks)]
        params: Tensors = {
            name: param.detach() for name, param in stack_module_state(fresh)[0].items()
        }
        velocities = {name: torch.zeros_like(param) for name, param in params.items()}
        accuracy = torch.zeros(networks)
        synchronise(device)
        start = time.perf_counter()
        for _ in range(settings.epochs):
            orders = torch.stack(
                [torch.randperm(len(labels), device=device) for _ in range(networks)]
            )
            for indices in orders.split(BATCH_SIZE, dim=1):
                grads, _ = gradients(params, images[indices], labels[indices])
                for name, param in params.items():
                    velocities[name].mul_(MOMENTUM).add_(grads[name])
                    param.sub_(velocities[name], alpha=LR)
            accuracy = accuracies(params)
        mean = accuracy.mean().item()
        seconds = time.perf_counter() - start
        return {"seconds_per_network": seconds / networks, "accuracy": mean}

    return run
