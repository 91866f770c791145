"""Optimisers on both sides: torch's, and this package's or optax's, with schedules and clipping."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import torch
from torch import nn
from torch.optim import lr_scheduler

from jaxdnn import optim
from tests.parity.mutations.ports import multi_steps

__all__ = ["OPTIMIZERS", "Training", "training"]

Rng = np.random.Generator
Labels = Callable[[Any, Callable[[str], str]], Any]
"""``(params, label of a torch name) -> a tree of labels``, in the layout of the port."""


class Training(NamedTuple):
    """What trains on both sides.

    Attributes:
      torch_optimizer: torch's.
      optimizer: the port's.
      further: the scheduler and other arguments of the comparison.
      description: in a few words.
    """

    torch_optimizer: torch.optim.Optimizer
    optimizer: optax.GradientTransformation
    further: dict[str, Any]
    description: str


OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "SGD with momentum": ("SGD", {"momentum": 0.9}),
    "SGD with dampening": ("SGD", {"momentum": 0.9, "dampening": 0.3}),
    "SGD of Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "SGD with decay": ("SGD", {"momentum": 0.5, "weight_decay": 0.05}),
    "Adam": ("Adam", {}),
    "Adam with decay": ("Adam", {"weight_decay": 0.01, "betas": (0.5, 0.99)}),
    "Adam with a large epsilon": ("Adam", {"eps": 1e-4}),
    "Adam with amsgrad": ("Adam", {"amsgrad": True}),
    "AdamW": ("AdamW", {}),
    "AdamW with decay": ("AdamW", {"weight_decay": 0.1, "betas": (0.9, 0.95)}),
    "RMSprop": ("RMSprop", {"alpha": 0.9}),
    "RMSprop centered": ("RMSprop", {"centered": True, "alpha": 0.9}),
    "RMSprop with momentum": ("RMSprop", {"momentum": 0.9}),
    "Adagrad": ("Adagrad", {"initial_accumulator_value": 0.1}),
    "Adagrad from 0": ("Adagrad", {"lr_decay": 0.1}),
}

_RATES = {"SGD": 0.1, "Adam": 5e-3, "AdamW": 5e-3, "RMSprop": 2e-3, "Adagrad": 0.02}


def training(
    rng: Rng,
    module: nn.Module,
    name: str,
    *,
    divisor: int,
    steps: int,
    frozen: tuple[str, ...],
    labels: Labels,
) -> Training:
    """An optimiser on both sides.

    Args:
      rng: what is drawn from.
      module: torch's.
      name: in `OPTIMIZERS`.
      divisor: of the learning rate of SGD.
      steps: how many there will be.
      frozen: prefixes of the names of parameters that are not trained.
      labels: makes a tree of labels like the port's parameters.
    """
    kind, settings = OPTIMIZERS[name]
    rate = _RATES[kind] / (divisor if kind == "SGD" else 1)
    said, further = [name], {}
    grouped = kind in ("SGD", "AdamW") and rng.random() < 0.3
    torch_optimizer = _of_torch(module, kind, {"lr": rate} | settings, grouped)
    lr: Any = rate
    if rng.random() < 0.3:
        scheduled, lr, further["torch_scheduler"] = _schedule(rng, torch_optimizer, rate, steps)
        said.append(scheduled)
        if rng.random() < 0.4:
            further["steps_per_epoch"] = 2
            lr = optim.per_epoch(lr, 2)
            said.append("by epochs of 2")
    own = _of_optax(rng, kind, settings, lr) if rng.random() < 0.6 else None
    said.append("of optax" if own else "of jaxdnn.optim")
    optimizer = own or _of_jaxdnn(kind, lr, settings)
    if grouped:
        said.append("biases without decay")
        undecayed = settings | {"weight_decay": 0.0}
        optimizer = optax.partition(
            {"decayed": optimizer, "plain": _of_jaxdnn(kind, lr, undecayed)},
            lambda params: labels(params, lambda n: "plain" if _is_bias(n) else "decayed"),
        )
    if frozen:
        optimizer = optax.partition(
            {"trained": optimizer, "frozen": optax.set_to_zero()},
            lambda params: labels(
                params, lambda n: "frozen" if n.startswith(frozen) else "trained"
            ),
        )
    if rng.random() < 0.25:
        limit = float(10 ** rng.uniform(-1.5, 0.5))
        further["torch_before_step"] = partial(nn.utils.clip_grad_norm_, max_norm=limit)
        optimizer = optax.chain(optim.clip_grad_norm(limit), optimizer)
        said.append(f"clipped to {limit:.2g}")
    elif rng.random() < 0.1:
        further["torch_before_step"] = partial(nn.utils.clip_grad_value_, clip_value=0.05)
        optimizer = optax.chain(optax.clip(0.05), optimizer)
        said.append("clipped by value")
    if rng.random() < 0.12:
        every = further["accumulate"] = int(rng.integers(2, 4))
        optimizer = multi_steps(optax.chain(optax.scale(float(every)), optimizer), every)
        said.append(f"{every} batches a step")
    return Training(torch_optimizer, optimizer, further, " ".join(said))


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2]


def _of_torch(
    module: nn.Module, kind: str, settings: dict[str, Any], grouped: bool
) -> torch.optim.Optimizer:
    groups: Any = module.parameters()
    if grouped:
        named = list(module.named_parameters())
        groups = [
            {"params": [p for name, p in named if not _is_bias(name)]},
            {"params": [p for name, p in named if _is_bias(name)], "weight_decay": 0.0},
        ]
    return getattr(torch.optim, kind)(groups, **settings)


def _of_jaxdnn(kind: str, lr: Any, settings: dict[str, Any]) -> optax.GradientTransformation:
    return getattr(optim, kind.lower())(lr, **settings)


def _of_optax(
    rng: Rng, kind: str, settings: dict[str, Any], lr: Any
) -> optax.GradientTransformation | None:
    """What optax has itself, where it computes what torch does."""
    added = optax.add_decayed_weights(settings.get("weight_decay", 0.0))
    one, two = settings.get("betas", (0.9, 0.999))
    match kind:
        case "SGD" if "dampening" not in settings:
            momentum, ahead = settings.get("momentum", 0.0), settings.get("nesterov", False)
            drawn = rng.random()
            if momentum and not callable(lr) and drawn < 0.4:
                rate = optax.scale_by_learning_rate(lr)
                return optax.chain(added, rate, optax.trace(momentum, nesterov=ahead))
            if drawn < 0.7:
                make = optax.inject_hyperparams(optax.sgd, static_args=("nesterov",))
                injected = make(lr, momentum=momentum or None, nesterov=ahead)
                return optax.chain(added, injected)
            schedule: Any = lr
            return optax.chain(added, optax.sgd(schedule, momentum or None, nesterov=ahead))
        case "Adam" if not settings.get("amsgrad"):
            return optax.chain(added, optax.adam(lr, one, two, eps=settings.get("eps", 1e-8)))
        case "AdamW":
            decay = settings.get("weight_decay", 1e-2)
            if rng.random() < 0.4:
                make = optax.inject_hyperparams(optax.adamw)
                return make(lr, one, two, weight_decay=decay)
            return optax.adamw(lr, one, two, weight_decay=decay)
        case "RMSprop" if not (settings.get("momentum") and callable(lr)):
            momentum = settings.get("momentum")
            centered = settings.get("centered", False)
            decay = settings.get("alpha", 0.99)
            return optax.rmsprop(
                lr, decay=decay, eps_in_sqrt=False, centered=centered, momentum=momentum
            )
    return None


def _schedule(
    rng: Rng, optimizer: torch.optim.Optimizer, lr: float, steps: int
) -> tuple[str, Any, Any]:
    """A name, a schedule, and torch's scheduler."""
    name = str(rng.choice(["step", "exponential", "cosine", "linear", "warmup"]))
    of_optax = bool(rng.random() < 0.5)
    match name:
        case "step":
            size = int(rng.integers(1, 4))
            ours = optim.step_lr(lr, step_size=size, gamma=0.5)
            theirs = optax.exponential_decay(lr, size, 0.5, staircase=True)
            torchs: Any = lr_scheduler.StepLR(optimizer, size, gamma=0.5)
        case "exponential":
            ours = optim.exponential_lr(lr, gamma=0.9)
            theirs = optax.exponential_decay(lr, 1, 0.9)
            torchs = lr_scheduler.ExponentialLR(optimizer, 0.9)
        case "cosine":
            ours = optim.cosine_annealing_lr(lr, t_max=steps, eta_min=lr / 10)
            theirs = optax.cosine_decay_schedule(lr, steps, alpha=0.1)
            torchs = lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 10)
        case "linear":
            ours = optim.linear_lr(lr)
            theirs = optax.linear_schedule(lr / 3, lr, 5)
            torchs = lr_scheduler.LinearLR(optimizer)
        case _:
            ours = theirs = lambda count: lr * jax.numpy.minimum(1.0, (count + 1) / 4)
            torchs = lr_scheduler.LambdaLR(optimizer, lambda count: min(1.0, (count + 1) / 4))
    said = f"{name} schedule{' of optax' * of_optax}"
    return said, theirs if of_optax else ours, torchs
