"""A training run of a user's objects that can be repeated: `TorchRun`, and its observed steps."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reference_torch.parity import snapshots
from reference_torch.parity.snapshots import Objects, Snapshot
from reference_torch.parity.stepper import Arrays, Batch, as_array, as_tensors
from reference_torch.parity.trajectory import arithmetic, trajectory, undisturbed
from reference_torch.parity.widening import Widening

__all__ = [
    "TorchRun",
    "call_before_step",
    "initial_arrays",
    "initial_draws",
    "objects_of",
    "require_repeatable",
    "steps",
]


@dataclass(frozen=True)
class TorchRun:
    """A training run that can be repeated: after each step, everything is as it was before the run.

    The objects themselves are trained, so that what closes over them acts on what is trained.

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
    batches: Sequence[tuple[Any, Any]]
    scheduler: Any = None
    steps_per_epoch: int = 1
    before_step: Callable[[list[nn.Parameter]], object] | None = None
    accumulate: int = 1
    activations: Sequence[str] = ()
    samples: int = 32

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise ValueError(
                f"torch_module must be a torch.nn.Module; got a {type(self.module).__name__}."
            )
        if lazy := [n for n, p in self.module.named_parameters() if nn.parameter.is_lazy(p)]:
            raise ValueError(
                f"{', '.join(lazy)} have no shape yet; call the module once on a batch of inputs."
            )
        if isinstance(self.loss, type) or not callable(self.loss):
            raise ValueError(
                "torch_loss must be a function of output and target, or a module such as "
                "nn.MSELoss(), not its class."
            )
        if not len(self.batches):
            raise ValueError("There are no batches to train on.")
        _require_pair(self.batches[0])
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            raise ValueError(
                f"torch_optimizer must be one torch.optim.Optimizer; got a "
                f"{type(self.optimizer).__name__}. Give what several optimisers hold as groups of "
                "one."
            )
        held = [p for group in self.optimizer.param_groups for p in group["params"]]
        own = {id(p) for p in self.module.parameters()}
        if not own & set(map(id, held)):
            raise ValueError(
                "The optimiser holds none of the module's parameters; build it from "
                "module.parameters()."
            )
        if strangers := [tuple(p.shape) for p in held if id(p) not in own]:
            raise ValueError(
                f"The optimiser also trains tensors of shapes {strangers} that are no parameters "
                "of the module, so the port's could not be compared with them; make them part of "
                "the module."
            )
        if wrong := [n for n, p in self.module.named_parameters() if not p.is_floating_point()]:
            raise ValueError(
                f"Parameters must be real floating-point numbers; {', '.join(wrong)} "
                "are of another type. Give the real and imaginary parts of complex ones apart."
            )
        if any(_steps_taken(fields) for fields in self.optimizer.state.values()):
            raise ValueError(
                "The optimiser has taken steps already, which the port's has not; give a new one."
            )
        is_scheduler = hasattr(self.scheduler, "step") and hasattr(self.scheduler, "optimizer")
        if self.scheduler is not None and not is_scheduler:
            raise ValueError(
                "torch_scheduler must be a scheduler of torch.optim.lr_scheduler, made of the "
                f"optimiser; got a {type(self.scheduler).__name__}."
            )
        if self.scheduler is not None and self.scheduler.optimizer is not self.optimizer:
            raise ValueError("The scheduler belongs to another optimiser than the one given.")
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "A ReduceLROnPlateau scheduler is set by a metric of validation, which a training "
                "step does not have; give the schedule that it made, as a LambdaLR for example."
            )
        if min(self.accumulate, self.steps_per_epoch) < 1:
            raise ValueError("accumulate and steps_per_epoch must be at least 1.")
        modules = dict(self.module.named_modules())
        if unknown := [name for name in self.activations if name not in modules]:
            raise ValueError(f"The module has no submodules {', '.join(unknown)}.")


_SMALL = 50_000
"""Parameters of a network whose steps one thread takes as fast as several."""


def objects_of(run: TorchRun) -> Objects:
    """What a step of the run changes."""
    return Objects(run.module, run.loss, run.optimizer, run.scheduler)


def _require_pair(batch: Any) -> None:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise ValueError("A batch must be a pair of arrays, inputs and targets.")
    for array in batch:
        if isinstance(array, tuple | dict) or (np.ndim(array) and isinstance(array, list)):
            raise ValueError(
                f"The inputs of a batch must be one array, and so must its targets; got a "
                f"{type(array).__name__}. For a network of several inputs, give one that takes "
                "them out of a single array."
            )


def require_tensor(output: Any) -> None:
    """Check what a module has returned.

    Raises:
      ValueError: it is not one tensor.
    """
    if not isinstance(output, torch.Tensor):
        raise ValueError(
            f"The module must return one tensor; it returns {type(output).__name__}. Wrap it in a "
            "module that returns the tensor which the loss takes."
        )


def require_repeatable(run: TorchRun) -> None:
    """Take the first step twice from one state.

    Raises:
      ValueError: the two differ, so something that the step changes was not set back.
    """
    observed = []
    for _ in range(2):
        stepper = _ModuleStepper(run)
        stepper.cast(torch.float64)
        observed.append(stepper.step(run.batches[0], 0))
    first, second = observed
    if any(not np.array_equal(first[key], second[key], equal_nan=True) for key in first):
        raise ValueError(
            "The torch run cannot be repeated: its first step, taken twice from one state, gives "
            "other numbers. Something that it changes lies outside the module, the optimiser and "
            "the scheduler, as a counter that torch_before_step keeps; make it an attribute of the "
            "module."
        )


def call_before_step(run: TorchRun, params: list[nn.Parameter]) -> None:
    """Call the run's function between ``backward`` and ``step``, if there is one.

    Raises:
      ValueError: it fails.
    """
    if run.before_step is None:
        return
    try:
        run.before_step(params)
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(
            f"torch_before_step, called with the list of parameters, fails: {error}"
        ) from error


def _hyperparameters(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The settings of each group, as they are now."""
    groups = optimizer.param_groups
    return [
        {k: float(v) if torch.is_tensor(v) else v for k, v in group.items() if k != "params"}
        for group in groups
    ]


def _steps_taken(fields: dict[str, Any]) -> bool:
    """Whether an optimiser has been used; Adagrad has a state before its first step."""
    return bool(fields) and float(fields.get("step", 1)) > 0


def initial_arrays(run: TorchRun) -> Arrays:
    """The parameters and buffers before the first step, in float64.

    Args:
      run: the run.

    Returns:
      Arrays called ``param/…`` and ``buffer/…``, and ``optimizer/…`` of one that begins with some.
    """
    return {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in _arrays(_own_tensors(run)).items()
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


def steps(
    run: TorchRun, *, mistake: str | None = None, twins: bool = False, model: bool = False
) -> Iterator[Arrays]:
    """Train, observed as by `reference_torch.parity.trajectory.trajectory`.

    Args:
      run: what to train. Between two steps, its parts and the random generators of torch, NumPy and
        Python are as they were before the first one.
      mistake: mistakes of `reference_torch.parity.mistakes` that the layers are to make.
      twins: whether the spread of right runs is measured.
      model: whether the float32 states hold what random rounding does.

    Yields:
      The arrays of each step; with ``idle/before_step`` or ``idle/scheduler`` among them as long as
      that has had no effect on any step.

    Raises:
      ValueError: a batch is not a pair of arrays, the loss is not a scalar, or the optimiser needs
        a closure.
    """
    stepper = _ModuleStepper(run)
    for arrays in trajectory(
        stepper, run.batches, samples=run.samples, mistake=mistake, twins=twins, model=model
    ):
        yield arrays | {f"idle/{name}": np.ones(()) for name in sorted(stepper.idle)}


class _ModuleStepper:
    """A run's own objects under a state of their own, which is in place during a step only."""

    def __init__(self, run: TorchRun) -> None:
        self.run, self.objects = run, objects_of(run)
        self.dtype, self.device = torch.float32, next(run.module.parameters()).device
        self.snapshot = snapshots.clone(snapshots.take(self.objects))
        self.accumulated: dict[str, torch.Tensor] = {}
        # Whether a step in float64 computes anything in a narrower type; unknown before the first
        # one. All copies share the answer.
        self.widens: dict[str, bool] = {}
        # What has had no effect yet; shared likewise.
        self.idle = {"before_step"} if run.before_step is not None else set[str]()
        if run.scheduler is not None:
            self.idle.add("scheduler")
        self.hyperparameters = _hyperparameters(run.optimizer)
        # A small network gains nothing from several threads, and waits for them on a busy machine.
        self.is_small = sum(p.numel() for p in run.module.parameters()) < _SMALL
        self._set_initial_sums()

    def __deepcopy__(self, memo: dict) -> "_ModuleStepper":
        other = object.__new__(_ModuleStepper)
        vars(other).update(vars(self))
        other.snapshot = snapshots.clone(self.snapshot)
        other.accumulated = {name: grad.clone() for name, grad in self.accumulated.items()}
        return other

    def cast(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.snapshot = snapshots.clone(self.snapshot, dtype)
        self.accumulated = {name: grad.to(dtype) for name, grad in self.accumulated.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        return _tensors(self.run.module, self.snapshot)

    def step(self, batch: Batch, number: int) -> Arrays:
        """Train on one batch, and return everything that the step computed."""
        _require_pair(batch)
        watched = self.dtype == torch.float64 and self.widens.get("any") is not False
        widening = Widening() if watched else None
        module = self.run.module
        x, y = as_tensors(batch, self.dtype, self.device)
        seen = {"batch/x": as_array(x), "batch/y": as_array(y)}
        kept: dict[str, torch.Tensor] = {}
        with (
            arithmetic(self.dtype, threads=1 if self.is_small else None),
            snapshots.installed(self.objects, self.snapshot) as after,
            _hooked(module, self.run.activations, kept),
            widening or contextlib.nullcontext(),
        ):
            output = module(x)
            require_tensor(output)
            kept["output"] = output
            for tensor in kept.values():
                if tensor.requires_grad and not tensor.is_leaf:
                    tensor.retain_grad()
            loss = self.run.loss(output, y)
            if loss.dim():
                raise ValueError(f"The loss must be a scalar; it has shape {tuple(loss.shape)}.")
            if not loss.requires_grad:
                raise ValueError(
                    "The loss depends on no parameter that requires a gradient: all are frozen, or "
                    "the output was detached."
                )
            module.zero_grad(set_to_none=True)
            loss.backward()
            seen |= {key: as_array(tensor) for key, tensor in kept.items()}
            seen |= {"loss": as_array(loss)}
            for key, tensor in kept.items():
                if tensor.requires_grad and not tensor.is_leaf:
                    slope = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                    seen[f"slope/{key}"] = as_array(slope)
            for name, param in module.named_parameters():
                if param.requires_grad:
                    grad = torch.zeros_like(param) if param.grad is None else param.grad
                    seen[f"grad/{name}"] = as_array(grad)
            self._update(number)
            module.zero_grad(set_to_none=True)
        (self.snapshot,) = after
        if widening is not None:
            self.widens.setdefault("any", widening.used)
        return seen | _arrays(self.tensors())

    def _update(self, number: int) -> None:
        run, named = self.run, dict(self.run.module.named_parameters())
        if run.accumulate > 1:
            for name, param in named.items():
                if param.grad is not None:
                    param.grad += self.accumulated.get(name, 0)
                    self.accumulated[name] = param.grad
            if (number + 1) % run.accumulate:
                return
            self.accumulated = {}
        self._call_before_step(named)
        if "scheduler" in self.idle and _hyperparameters(run.optimizer) != self.hyperparameters:
            self.idle.discard("scheduler")
        try:
            run.optimizer.step()
        except TypeError as error:
            raise ValueError(
                f"The optimiser cannot take a step without a closure: {error}"
            ) from error
        if run.scheduler is not None and (number + 1) % (run.accumulate * run.steps_per_epoch) == 0:
            run.scheduler.step()

    def _call_before_step(self, named: dict[str, nn.Parameter]) -> None:
        """Call it, and notice whether it changes anything."""
        params = list(named.values())
        if "before_step" not in self.idle:
            call_before_step(self.run, params)
            return
        before = [(p.detach().clone(), None if p.grad is None else p.grad.clone()) for p in params]
        call_before_step(self.run, params)
        for param, (value, grad) in zip(params, before, strict=True):
            after = param.grad
            same = after is grad or (
                after is not None and grad is not None and torch.equal(after, grad)
            )
            if not same or not torch.equal(param, value):
                self.idle.discard("before_step")

    def _set_initial_sums(self) -> None:
        """Set Adagrad's sums to what the settings say: in float32, 0.1 has been rounded."""
        for group in self.run.optimizer.param_groups:
            if (value := group.get("initial_accumulator_value")) is None:
                continue
            for param in group["params"]:
                fields = self.snapshot.moments.get(param, {})
                if "sum" in fields:
                    fields["sum"] = torch.full_like(fields["sum"], value, dtype=torch.float64)


@contextlib.contextmanager
def _hooked(
    module: nn.Module, names: Sequence[str], kept: dict[str, torch.Tensor]
) -> Iterator[None]:
    """Keep the outputs of submodules."""

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                kept[f"activation/{name}"] = output

        return hook

    with contextlib.ExitStack() as hooks:
        for name in names:
            handle = module.get_submodule(name).register_forward_hook(keep(name))
            hooks.callback(handle.remove)
        yield


def _own_tensors(run: TorchRun) -> dict[str, torch.Tensor]:
    return _tensors(run.module, snapshots.take(objects_of(run)))


def _tensors(module: nn.Module, snapshot: Snapshot) -> dict[str, torch.Tensor]:
    """The tensors of a state by name: ``param/…``, ``buffer/…`` and ``optimizer/…``."""
    named = dict(module.named_parameters())
    found = {f"buffer/{name}": tensor for name, tensor in _buffers(module, snapshot)}
    for name, param in named.items():
        for field, value in snapshot.moments.get(param, {}).items():
            if snapshots.is_moment(field, value, param):
                found[f"optimizer/{name}/{field}"] = value
    return found | {f"param/{name}": snapshot.params[param][0] for name, param in named.items()}


def _buffers(module: nn.Module, snapshot: Snapshot) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, submodule in module.named_modules():
        for name, tensor in snapshot.attributes[submodule]["_buffers"].items():
            if tensor is not None:
                yield f"{prefix}.{name}" if prefix else name, tensor


def _arrays(tensors: dict[str, torch.Tensor]) -> Arrays:
    return {key: as_array(tensor) for key, tensor in tensors.items()}
