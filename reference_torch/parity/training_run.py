"""A training run of a module that can be repeated: `TorchRun`, and its observed steps."""

import contextlib
import copy
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reference_torch.parity.trajectory import (
    Arrays,
    Batch,
    as_array,
    as_tensors,
    cast_moments,
    moments_of,
    parameters_of,
    trajectory,
    undisturbed,
)

__all__ = ["TorchRun", "copies", "initial_arrays", "initial_draws", "steps"]


@dataclass(frozen=True)
class TorchRun:
    """A training run that can be repeated: copies are trained, and nothing in it changes.

    Attributes:
      module: the network with its initial parameters.
      loss: ``(output, target) -> scalar``, a function or a module.
      optimizer: over the parameters of ``module``; it has not yet taken a step.
      batches: a sequence of pairs ``(x, y)`` of NumPy arrays.
      scheduler: of the optimiser's learning rate, or None.
      steps_per_epoch: steps of the optimiser for each step of the scheduler.
      before_step: called with the list of parameters between ``backward`` and ``step``, to clip
        gradients for example.
      accumulate: batches whose gradients are summed for one step of the optimiser.
      activations: names of submodules whose outputs are recorded.
      samples: how many float32 states are recorded; 0 for none.

    Raises:
      ValueError: there are no batches, or the parts do not belong together.
    """

    module: nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    batches: Sequence[tuple[np.ndarray, np.ndarray]]
    scheduler: Any = None
    steps_per_epoch: int = 1
    before_step: Callable[[list[nn.Parameter]], object] | None = None
    accumulate: int = 1
    activations: Sequence[str] = ()
    samples: int = 64

    def __post_init__(self) -> None:
        if not len(self.batches):
            raise ValueError("There are no batches to train on.")
        _require_pair(self.batches[0])
        owned = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        if not owned & {id(p) for p in self.module.parameters()}:
            raise ValueError(
                "The optimiser holds none of the module's parameters; build it from "
                "module.parameters()."
            )
        if any(_steps_taken(fields) for fields in self.optimizer.state.values()):
            raise ValueError(
                "The optimiser has taken steps already, which the port's has not; give a new one."
            )
        if self.scheduler is not None and self.scheduler.optimizer is not self.optimizer:
            raise ValueError("The scheduler belongs to another optimiser than the one given.")
        if min(self.accumulate, self.steps_per_epoch) < 1:
            raise ValueError("accumulate and steps_per_epoch must be at least 1.")
        modules = dict(self.module.named_modules())
        if unknown := [name for name in self.activations if name not in modules]:
            raise ValueError(f"The module has no submodules {', '.join(unknown)}.")


def copies(*parts: Any) -> tuple[Any, ...]:
    """Copies that refer to each other as the parts do.

    Raises:
      ValueError: one cannot be copied.
    """
    try:
        return copy.deepcopy(parts)
    except Exception as error:
        raise ValueError(
            f"The module and its optimiser cannot be copied, so training would change them: {error}"
        ) from error


def _require_pair(batch: Any) -> None:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError("A batch must be a pair of arrays, inputs and targets.")


def _steps_taken(fields: dict[str, Any]) -> bool:
    """Whether an optimiser has been used; Adagrad has a state before its first step."""
    return bool(fields) and float(fields.get("step", 1)) > 0


def initial_arrays(run: TorchRun) -> Arrays:
    """The parameters and buffers before the first step, in float64.

    Args:
      run: the run.

    Returns:
      Arrays called ``param/…`` and ``buffer/…``.
    """
    return {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in _state(run.module).items()
    }


def initial_draws(init: Callable[[], nn.Module], *, seed: int) -> Iterator[Arrays]:
    """The initial parameters of one new module after the other, without end.

    Args:
      init: makes a module.
      seed: of torch's generator, which is afterwards as it was.

    Yields:
      Arrays by the parameters' names.
    """
    # Without CUDA, torch.manual_seed formats a stack trace for each missing accelerator, which
    # takes longer than drawing a small module; the generator alone draws the same numbers.
    cuda = torch.cuda.is_available()
    set_seed = torch.manual_seed if cuda else torch.default_generator.manual_seed
    for draw in itertools.count():
        with undisturbed(torch.float32):
            set_seed(seed * 1_000_003 + draw)
            module = init()
        yield {name: as_array(param) for name, param in module.named_parameters()}


def steps(run: TorchRun, *, mistake: str | None = None) -> Iterator[Arrays]:
    """Train a copy, observed as by `reference_torch.parity.trajectory.trajectory`.

    Args:
      run: what to train. Neither it nor the random generators of torch, NumPy and Python change.
      mistake: a mistake of `reference_torch.parity.mistakes` that the layers are to make.

    Yields:
      The arrays of each step.

    Raises:
      ValueError: a batch is not a pair of arrays, the loss is not a scalar, the optimiser needs a
        closure, or a copy of the module cannot be made.
    """
    yield from trajectory(_ModuleStepper(run), run.batches, samples=run.samples, mistake=mistake)


class _ModuleStepper:
    """A copy of a run's module, optimiser, scheduler and loss, which is trained."""

    def __init__(self, run: TorchRun) -> None:
        self.run = run
        self.dtype = torch.float32
        self.accumulated: dict[str, torch.Tensor] = {}
        self._take(copies(run.module, run.optimizer, run.scheduler, run.loss))
        _set_initial_sums(self.optimizer)

    def _take(self, parts: tuple[Any, ...]) -> None:
        self.module, self.optimizer, self.scheduler, self.loss = parts

    def __deepcopy__(self, memo: dict) -> "_ModuleStepper":
        other = copy.copy(self)
        # Copied together, so that the optimiser still holds the module's parameters.
        parts = (self.module, self.optimizer, self.scheduler, self.loss)
        other._take(copy.deepcopy(parts, memo))
        other.accumulated = {name: grad.clone() for name, grad in self.accumulated.items()}
        return other

    def cast(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.module.to(dtype)
        if isinstance(self.loss, nn.Module):
            self.loss.to(dtype)
        self.accumulated = {name: grad.to(dtype) for name, grad in self.accumulated.items()}
        cast_moments(self.optimizer, dtype)

    def state(self) -> Arrays:
        """The arrays before the next step."""
        return _state(self.module) | moments_of(self.module, self.optimizer)

    def parameters(self) -> list[torch.Tensor]:
        """The tensors that are trained."""
        return list(self.module.parameters())

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, and return everything that the step computed."""
        run, named = self.run, dict(self.module.named_parameters())
        _require_pair(batch)
        x, y = as_tensors(batch, self.dtype, next(self.module.parameters()).device)
        seen = {"batch/x": as_array(x), "batch/y": as_array(y)}
        with contextlib.ExitStack() as hooks, undisturbed(self.dtype):
            modules = dict(self.module.named_modules())
            for name in run.activations:
                hooks.callback(modules[name].register_forward_hook(_keep(seen, name)).remove)
            output = self.module(x)
            if not isinstance(output, torch.Tensor):
                raise ValueError(f"The module must return one tensor; it returns {type(output)}.")
            loss = self.loss(output, y)
            if loss.dim():
                raise ValueError(f"The loss must be a scalar; it has shape {tuple(loss.shape)}.")
            self.module.zero_grad(set_to_none=True)
            loss.backward()
            seen |= {"output": as_array(output), "loss": as_array(loss)}
            seen |= _buffers(self.module)
            for name, param in named.items():
                if param.requires_grad:
                    grad = torch.zeros_like(param) if param.grad is None else param.grad
                    seen[f"grad/{name}"] = as_array(grad)
            self._update(named, number)
        return seen | moments_of(self.module, self.optimizer) | parameters_of(self.module)

    def _update(self, named: dict[str, nn.Parameter], number: int) -> None:
        run = self.run
        if run.accumulate > 1:
            for name, param in named.items():
                if param.grad is not None:
                    param.grad += self.accumulated.get(name, 0)
                    self.accumulated[name] = param.grad
            if (number + 1) % run.accumulate:
                return
            self.accumulated = {}
        if run.before_step is not None:
            run.before_step(list(named.values()))
        try:
            self.optimizer.step()
        except TypeError as error:
            raise ValueError(
                f"The optimiser cannot take a step without a closure: {error}"
            ) from error
        if (
            self.scheduler is not None
            and (number + 1) % (run.accumulate * run.steps_per_epoch) == 0
        ):
            with warnings.catch_warnings():
                # A scheduler wraps its optimiser's step to see whether it was called, and warns if
                # it was not; a copy has lost the wrapper.
                warnings.simplefilter("ignore", UserWarning)
                self.scheduler.step()


def _set_initial_sums(optimizer: torch.optim.Optimizer) -> None:
    """Set Adagrad's sums to what the settings say: the module's float32 rounded 0.1 before."""
    for group in optimizer.param_groups:
        for param in group["params"]:
            fields = optimizer.state.get(param, {})
            if "sum" in fields and "initial_accumulator_value" in group:
                value = group["initial_accumulator_value"]
                fields["sum"] = torch.full_like(fields["sum"], value, dtype=torch.float64)


def _keep(seen: Arrays, name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            seen[f"activation/{name}"] = as_array(output)

    return hook


def _state(module: nn.Module) -> Arrays:
    return parameters_of(module) | _buffers(module)


def _buffers(module: nn.Module) -> Arrays:
    return {
        f"buffer/{name}": as_array(value)
        for name, value in module.named_buffers()
        if value.is_floating_point()
    }
