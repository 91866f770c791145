"""This package's workflows as steppers, which `trajectory` observes in two precisions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from reference_torch.data.batches import DataLoader, random_split
from reference_torch.models import load_params
from reference_torch.parity.snapshots import is_moment
from reference_torch.parity.stepper import Arrays, Batch, as_array, as_tensors
from reference_torch.workflows import autograd, data_loading

__all__ = ["BareStepper", "DerivativeStepper", "NetworkStepper", "drawn"]


class NetworkStepper:
    """A module under an optimiser; a `reference_torch.parity.stepper.Stepper`.

    Args:
      module: trained in place.
      initial: its initial parameters by name.
      loss: ``loss(module, *batch) -> scalar``.
      optimizer: makes the optimiser of a module.
    """

    def __init__(
        self,
        module: nn.Module,
        initial: Mapping[str, np.ndarray],
        loss: Callable[..., torch.Tensor],
        optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    ) -> None:
        self.module, self.loss, self.dtype = load_params(module, initial), loss, torch.float32
        self.optimizer = optimizer(self.module)

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in another floating-point type from now on."""
        self.dtype = dtype
        self.module.to(dtype)
        for param, fields in self.optimizer.state.items():
            for field, value in fields.items():
                if is_moment(field, value, param):
                    fields[field] = value.to(dtype)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors before the next step."""
        found = {
            f"optimizer/{name}/{field}": value
            for name, param in self.module.named_parameters()
            for field, value in self.optimizer.state.get(param, {}).items()
            if is_moment(field, value, param)
        }
        return found | {f"param/{name}": p.data for name, p in self.module.named_parameters()}

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, and return everything that the step computed."""
        tensors = as_tensors(batch, self.dtype)
        loss = self.loss(self.module, *tensors)
        self.optimizer.zero_grad()
        loss.backward()
        seen = _named_batch(tensors) | {"loss": as_array(loss)}
        for name, param in self.module.named_parameters():
            if param.grad is not None:
                seen[f"grad/{name}"] = as_array(param.grad)
        self.optimizer.step()
        return seen | _arrays(self.tensors())


class BareStepper:
    """A step written from scratch; a `reference_torch.parity.stepper.Stepper`.

    Args:
      initial: the initial parameters by name.
      step: ``step(params, *batch) -> info`` changes the tensors in place; ``info`` has the loss and
        the gradients by name.
      tracked: whether the tensors require gradients.
    """

    def __init__(
        self, initial: Mapping[str, np.ndarray], step: Callable[..., Any], *, tracked: bool
    ) -> None:
        self.params = {name: torch.tensor(array) for name, array in initial.items()}
        self.taken, self.tracked, self.dtype = step, tracked, torch.float32

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in another floating-point type from now on."""
        self.dtype = dtype
        self.params = {name: t.detach().to(dtype) for name, t in self.params.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The tensors before the next step."""
        return {f"param/{name}": tensor.data for name, tensor in self.params.items()}

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, and return everything that the step computed."""
        tensors = as_tensors(batch, self.dtype)
        if self.tracked:
            self.params = {k: t.detach().requires_grad_() for k, t in self.params.items()}
        info = self.taken(self.params, *tensors)
        seen = _named_batch(tensors) | {"loss": as_array(info.loss)}
        seen |= {f"grad/{name}": as_array(grad) for name, grad in info.grads.items()}
        self.params = {name: tensor.detach() for name, tensor in self.params.items()}
        return seen | _arrays(self.tensors())


class DerivativeStepper:
    """The functions and derivatives of `reference_torch.workflows.autograd`, a point a step."""

    def __init__(self) -> None:
        self.dtype = torch.float32

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in another floating-point type from now on."""
        self.dtype = dtype

    def tensors(self) -> dict[str, torch.Tensor]:
        """Nothing is carried on."""
        return {}

    def step(self, batch: Batch, number: int) -> Arrays:
        """Everything at a matrix ``x`` and a vector ``y``."""
        x, y = as_tensors(batch, self.dtype)
        point, w, b = y
        products = autograd.jacobian_products(autograd.vector_function, y, y[:2], y)
        values = {
            "power": autograd.power(point),
            "power_gradient": autograd.power_gradient(point),
            "sigmoid_cross_entropy": autograd.sigmoid_cross_entropy(point, w),
            "sigmoid_cross_entropy_gradient": autograd.sigmoid_cross_entropy_gradient(point, w),
            "mean_of_squares_gradient": autograd.mean_of_squares_gradient(x),
            "untracked": autograd.untracked(y),
            "untracked_gradient": autograd.untracked_gradient(y),
            "line": autograd.line(point, w, b),
            "line_gradients": torch.stack(autograd.line_gradients(point, w, b)),
            "doubled": autograd.doubled(y, 100.0)[0],
            "vector_function": autograd.vector_function(y),
            **products._asdict(),
        }
        seen = _named_batch([x, y])
        seen |= {f"activation/{name}": as_array(value) for name, value in values.items()}
        return seen | {"loss": as_array(autograd.mean_of_squares(x))}


def _named_batch(tensors: Sequence[torch.Tensor]) -> Arrays:
    return {f"batch/{name}": as_array(t) for name, t in zip("xy", tensors, strict=False)}


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Arrays:
    return {key: as_array(tensor) for key, tensor in tensors.items()}


def drawn(seed: int) -> Arrays:
    """What the data-loading workflow draws: arrays, a permutation, and a split.

    Args:
      seed: of torch's generator, which is afterwards as it was.
    """
    with torch.random.fork_rng():
        arrays = data_loading.normals(seed)._asdict()
        loader = DataLoader(range(500), batch_size=500, shuffle=True)  # type: ignore[arg-type]
        order = next(iter(loader))
        train, test = random_split(range(500), [0.7, 0.3])  # type: ignore[arg-type]
    values = {**arrays, "order": order, "train": train.indices, "test": test.indices}
    return {f"batch/{name}": np.asarray(value) for name, value in values.items()}
