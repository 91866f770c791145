"""A torch run described in JSON's types, so that a port's mistakes can be named."""

import hashlib
import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reference_torch import losses
from reference_torch.parity import snapshots
from reference_torch.parity.stepper import as_tensors
from reference_torch.parity.training_run import (
    TorchRun,
    call_before_step,
    objects_of,
    require_tensor,
)
from reference_torch.parity.trajectory import arithmetic

__all__ = ["describe", "environment"]

_LOSSES = {getattr(losses, name).__name__: name for name in losses.__all__}
"""Functions of torch.nn.functional, and their names in `jaxdnn.losses`."""


def describe(run: TorchRun) -> dict[str, Any]:
    """The header of a run: what is trained how, and where, in JSON's types.

    Args:
      run: what to describe.

    Returns:
      ``steps``; ``optimizer``, ``scheduler`` and ``loss``: a name and its settings,
      which are None where they are not known, as is a loss that is no single function of
      ``torch.nn.functional``; ``clip_grad_norm``: the largest norm, None without ``before_step``,
      ``"unknown"`` if that does something else; ``accumulate``; ``functions``: how often the
      network calls each function of torch; ``constants``: tensors rounded to float32, and
      functions that hold such numbers; ``digests``: of the tensors' numbers, by which the port's
      own are recognised; ``narrow``: whether anything is computed in fewer bits than
      float32; ``training``: whether the module is in training mode;
      ``frozen``: parameters that the
      optimiser does not hold or that have no gradient; and ``environment``.
    """
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    groups = [
        {key: _plain(value) for key, value in group.items() if key != "params"}
        for group in run.optimizer.param_groups
    ]
    loss, functions, narrow = _describe_functions(run)
    alike = all(group == groups[0] for group in groups)
    constants = dict(_constants(run.module))
    return {
        "steps": len(run.batches),
        "optimizer": {
            "name": type(run.optimizer).__name__,
            "settings": groups[0] if alike else None,
        },
        "scheduler": _describe_scheduler(run),
        "clip_grad_norm": _describe_clipping(run),
        "accumulate": run.accumulate,
        "loss": loss,
        "functions": functions,
        "constants": [*constants, *(_ROUNDED.keys() & functions.keys())],
        "digests": {name: _digest(tensor) for name, tensor in constants.items()},
        "narrow": narrow,
        "training": run.module.training,
        "frozen": [
            name
            for name, param in run.module.named_parameters()
            if id(param) not in held or not param.requires_grad
        ],
        "environment": environment(next(run.module.parameters()).device),
    }


def _constants(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that are not trained, and hold numbers rounded to fewer bits than float64."""
    for prefix, submodule in module.named_modules():
        own = {k: v for k, v in vars(submodule).items() if isinstance(v, torch.Tensor)}
        for name, tensor in (own | dict(submodule.named_buffers(recurse=False))).items():
            if _is_rounded(tensor):
                yield (f"{prefix}.{name}" if prefix else name), tensor


def _digest(tensor: torch.Tensor) -> str:
    """Equal for the same numbers in any order, so in any layout; the port makes the same one."""
    numbers = tensor.detach().cpu().float().flatten().sort().values
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest()


def _is_rounded(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.dtype == torch.float64:
        return False
    # What float16 holds too, as 0, 1 and 0.5, was not rounded.
    return bool(torch.any(tensor.isfinite() & (tensor.half().to(tensor.dtype) != tensor)))


class _Calls(TorchFunctionMode):
    """Counts the calls of torch's functions, and keeps the settings of the losses."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[dict[str, Any]] = []
        self.functions: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        called = getattr(func, "__name__", "")
        self.functions[called] += 1
        name = _LOSSES.get(called)
        if name is not None and getattr(func, "__module__", "") == "torch.nn.functional":
            bound = inspect.signature(func).bind(*args, **(kwargs or {}))
            bound.apply_defaults()
            settings = dict(list(bound.arguments.items())[2:])
            settings = {k: _plain(v) for k, v in settings.items() if k not in _OBSOLETE}
            self.losses.append({"name": name, "settings": settings})
        return func(*args, **(kwargs or {}))


_OBSOLETE = ("size_average", "reduce")
"""Arguments of torch's losses that ``reduction`` has replaced."""


_ROUNDED = {
    "hardsigmoid": "its derivative of 1/6 is a float32 constant in torch's kernel",
    "hardswish": "likewise",
    "celu": "its derivative of 1/alpha, likewise",
}
"""Functions of torch that are less exact in float64 than float64 is (measured, torch 2.13)."""


class _Narrow(TorchDispatchMode):
    """Notices results of fewer bits than float32."""

    found = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor) and result.dtype in (torch.bfloat16, torch.float16):
                self.found = True
        return results


def _describe_functions(run: TorchRun) -> tuple[dict[str, Any] | None, dict[str, int], bool]:
    """The loss, how often the network calls each function of torch, and whether it narrows."""
    param = next(run.module.parameters())
    x, y = as_tensors(run.batches[0], param.dtype, param.device)
    narrow = _Narrow()
    with torch.no_grad(), arithmetic(param.dtype), _lent(run), narrow:
        with _Calls() as network:
            try:
                output = run.module(x)
            except TypeError as error:
                raise ValueError(
                    f"The module cannot be called with the inputs of a batch: {error}"
                ) from error
        require_tensor(output)
        with _Calls() as heard:
            run.loss(output, y)
    known = heard.losses[0] if len(heard.losses) == 1 else None
    return known, dict(network.functions), narrow.found


def _describe_scheduler(run: TorchRun) -> dict[str, Any] | None:
    if run.scheduler is None:
        return None
    name, own = type(run.scheduler).__name__, vars(run.scheduler)
    described = {"name": name, "settings": None, "steps_per_epoch": run.steps_per_epoch}
    fields = {
        "StepLR": ("step_size", "gamma"),
        "ExponentialLR": ("gamma",),
        "CosineAnnealingLR": ("T_max", "eta_min"),
        "LinearLR": ("start_factor", "end_factor", "total_iters"),
    }.get(name)
    if fields is not None:
        described["settings"] = {field.lower(): own[field] for field in fields}
    elif name == "OneCycleLR":
        group, phases = run.optimizer.param_groups[0], own["_schedule_phases"]
        settings = {
            "max_lr": group["max_lr"],
            "total_steps": own["total_steps"],
            "pct_start": (phases[0]["end_step"] + 1) / own["total_steps"],
            "anneal_strategy": own["_anneal_func_type"],
            "cycle_momentum": own["cycle_momentum"],
            "div_factor": group["max_lr"] / group["initial_lr"],
            "final_div_factor": group["initial_lr"] / group["min_lr"],
            "three_phase": len(phases) == 3,
        }
        if own["cycle_momentum"]:
            settings |= {name: group[name] for name in ("base_momentum", "max_momentum")}
        described["settings"] = settings
    return described


def _describe_clipping(run: TorchRun) -> float | str | None:
    """The largest norm if ``before_step`` is ``clip_grad_norm_``, told by trying it.

    It is tried on the run's own parameters, on which it may act without looking at its argument.
    """
    if run.before_step is None:
        return None
    params = list(run.module.parameters())
    whole = torch.linspace(1, 2, sum(p.numel() for p in params), dtype=torch.float64)

    def clipped(size: float) -> torch.Tensor:
        for param, part in zip(params, whole.split([p.numel() for p in params]), strict=True):
            param.grad = (part * size).reshape(param.shape).to(param.device)
        call_before_step(run, params)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        return torch.cat([grad.flatten().cpu() for grad in grads])

    # A large gradient is scaled to the limit, direction kept; a small one is left alone.
    with arithmetic(torch.float64), _lent(run, torch.float64):
        large, small = clipped(1e6), clipped(1e-12)
    limit = large.norm().item() * (1 + 1e-6 / (whole.norm().item() * 1e6))
    expected = whole * limit / whole.norm()
    scaled = torch.allclose(large, expected, rtol=1e-12) and limit < 1e6
    return limit if scaled and torch.equal(small, whole * 1e-12) else "unknown"


def _lent(run: TorchRun, dtype: torch.dtype | None = None) -> AbstractContextManager[object]:
    """The run's objects, to be used for something else inside a context."""
    objects = objects_of(run)
    return snapshots.installed(objects, snapshots.clone(snapshots.take(objects), dtype))


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return snapshots.written(value).tolist()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else repr(value)


def environment(device: torch.device = torch.device("cpu")) -> dict[str, Any]:  # noqa: B008
    """Version, device and arithmetic of the torch side of a comparison."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "tf32": False,
        "flushes_denormals": (torch.full((), 1e-40, device=device) * 1).item() == 0,
    }
