"""Random right ports, which all have to pass: python scripts/clean_runs.py.

Random networks, losses, optimisers, schedules and batches of torch, ported with jaxdnn's functions
or optax's own. Repeat a run that does not pass with --seed N --count 1. Class weights are numbers
that float32 holds exactly, since torch keeps a loss's weights in float32 until the loss is cast.
"""

import argparse
import itertools
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

sys.path.insert(0, str(Path(__file__).parents[1]))  # what is shared with the tests is not installed

from jaxdnn import losses, optim
from jaxdnn.parity import Port
from reference_torch import TorchRun
from tests.parity.mutations.case import Case
from tests.parity.mutations.evaluation import one_line
from tests.parity.mutations.ports import dense, multi_steps, normalise, picked

Layer = tuple[nn.Module, Callable[[Any, jax.Array], jax.Array]]
"""Torch's, and ``(params, x) -> output``."""


def _convolve(params: Any, x: jax.Array) -> jax.Array:
    names = ("NCHW", "HWIO", "NCHW")
    x = jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "VALID", dimension_numbers=names)
    return x + params["bias"][:, None, None]


def _pool(params: None, x: jax.Array) -> jax.Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


# One right port.


class Clean(NamedTuple):
    """A right port.

    Attributes:
      case: the port.
      description: what it consists of.
    """

    case: Case
    description: str


def clean(seed: int) -> Clean:
    """A network, a loss, an optimiser and batches at random, rightly ported."""
    rng = np.random.default_rng(seed)
    said: list[str] = []
    objective = _loss(rng, said)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers, shape = _network(rng, said, objective.outputs)
    layers += objective.head
    module = nn.Sequential(*(layer for layer, _ in layers))

    rows, steps = int(rng.choice([1, 2, 3, 4, 7, 8, 12, 16])), int(rng.integers(5, 41))
    sizes = [rows] * steps
    if rows > 1 and rng.random() < 0.5:
        sizes[-1] = int(rng.integers(1, rows))
    said.append(f"{steps} x {rows} rows, the last {sizes[-1]}")
    batches = [(_normal(rng, n, *shape), objective.targets(rng, n)) for n in sizes]

    divisor = rows * objective.outputs if objective.summed else 1
    torch_optimizer, optimizer, further = _optimizer(rng, said, module, divisor, steps)

    def stages(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        seen = {}
        for i, (_, function) in enumerate(layers):
            x = seen[str(i)] = function(params.get(str(i)), x)
        return seen

    activations = stages if rng.random() < 0.3 else None
    said += ["activations"] * (activations is not None)
    last = str(len(layers) - 1)
    run = TorchRun(module, objective.torch_loss, torch_optimizer, batches, **further)
    apply = lambda params, x: stages(params, x)[last]  # noqa: E731
    port = Port(apply, objective.loss, optimizer, activations=activations)
    return Clean(Case(run, port), ", ".join(said))


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


_ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], Callable[..., Any]]] = {
    "tanh": (nn.Tanh, jnp.tanh),
    "relu": (nn.ReLU, jax.nn.relu),
    "gelu": (nn.GELU, partial(jax.nn.gelu, approximate=False)),
    "sigmoid": (nn.Sigmoid, jax.nn.sigmoid),
}


def _network(
    rng: np.random.Generator, said: list[str], outputs: int
) -> tuple[list[Layer], tuple[int, ...]]:
    """Layers, and the shape of an example."""
    name = str(rng.choice(list(_ACTIVATIONS)))
    torch_activation, activation = _ACTIVATIONS[name]

    def activate() -> Layer:
        return torch_activation(), lambda params, x: activation(x)

    if rng.random() < 0.2:
        maps, side, channels = (int(rng.integers(*ends)) for ends in ((1, 3), (6, 9), (3, 6)))
        said.append(f"convolution {maps}-{channels} of {side}, {name}")
        features = channels * ((side - 2) // 2) ** 2
        layers = [
            (nn.Conv2d(maps, channels, 3), _convolve),
            activate(),
            (nn.MaxPool2d(2), _pool),
            (nn.Flatten(), lambda params, x: x.reshape(len(x), -1)),
            (nn.Linear(features, outputs), dense),
        ]
        return layers, (maps, side, side)
    depth, normalised = int(rng.integers(1, 4)), rng.random() < 0.3
    widths = [int(rng.integers(2, 9)), *(int(w) for w in rng.integers(5, 13, depth - 1)), outputs]
    layers = []
    for inputs, width in itertools.pairwise(widths[:-1]):
        layers.append((nn.Linear(inputs, width), dense))
        if normalised:
            layers.append((nn.LayerNorm(width), normalise))
        layers.append(activate())
    layers.append((nn.Linear(widths[-2], outputs), dense))
    hidden = f", {name}{', LayerNorm' * normalised}" * (depth > 1)
    said.append(f"layers {'-'.join(map(str, widths))}{hidden}")
    return layers, (widths[0],)


class _Objective(NamedTuple):
    """A loss on both sides.

    Attributes:
      torch_loss: torch's.
      loss: the port's.
      head: layers that come before it.
      outputs: how many it takes.
      targets: ``(rng, rows) -> targets``.
      summed: whether it is not a mean.
    """

    torch_loss: Callable[..., Any]
    loss: Callable[..., Any]
    head: list[Layer]
    outputs: int
    targets: Callable[[np.random.Generator, int], np.ndarray]
    summed: bool


_TORCH_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "mse": functional.mse_loss,
    "l1": functional.l1_loss,
    "smooth_l1": functional.smooth_l1_loss,
    "huber": functional.huber_loss,
    "cross_entropy": functional.cross_entropy,
    "nll": functional.nll_loss,
    "bce": functional.binary_cross_entropy,
    "bce_with_logits": functional.binary_cross_entropy_with_logits,
    "kl_div": functional.kl_div,
}


def _loss(rng: np.random.Generator, said: list[str]) -> _Objective:
    name = str(rng.choice(list(_TORCH_LOSSES)))
    settings: dict[str, Any] = {"reduction": "sum" if rng.random() < 0.25 else "mean"}
    outputs = int(rng.integers(2, 6) if name in _OF_CLASSES else rng.integers(1, 4))
    head: list[Layer] = []
    targets: Callable[..., np.ndarray] = lambda rng, n: _normal(rng, n, outputs)  # noqa: E731
    match name:
        case "smooth_l1":
            settings["beta"] = float(rng.uniform(0.2, 2))
        case "huber":
            settings["delta"] = float(rng.uniform(0.2, 2))
        case "bce" | "bce_with_logits":
            targets = lambda rng, n: rng.integers(0, 2, (n, outputs)).astype(np.float32)  # noqa: E731
            if name == "bce":
                head = [(nn.Sigmoid(), lambda params, x: jax.nn.sigmoid(x))]
            elif rng.random() < 0.5:
                settings["pos_weight"] = float(np.float32(rng.uniform(0.5, 4)))
        case "kl_div":
            settings["reduction"] = str(rng.choice(["mean", "sum", "batchmean"]))
            targets = lambda rng, n: rng.dirichlet(np.ones(outputs), n).astype(np.float32)  # noqa: E731
        case "cross_entropy" | "nll":
            ignoring = bool(rng.random() < 0.3)
            targets = partial(_labels, classes=outputs, ignoring=ignoring)
            if rng.random() < 0.4:
                settings["weight"] = rng.uniform(0.2, 3, outputs).astype(np.float32).tolist()
            if name == "cross_entropy" and rng.random() < 0.3:
                settings["label_smoothing"] = 0.1
            if ignoring:
                settings["ignore_index"] = -100
    if name in ("nll", "kl_div"):
        head = [(nn.LogSoftmax(dim=1), lambda params, x: jax.nn.log_softmax(x))]
    plain = _plain_loss(name, settings) if rng.random() < 0.5 else None
    said.append(f"{name} of optax" if plain else f"{name} {settings}")
    return _Objective(
        _with_arrays(_TORCH_LOSSES[name], settings, torch.tensor),
        plain or _with_arrays(getattr(losses, name), settings, jnp.asarray),
        head,
        outputs,
        targets,
        settings["reduction"] == "sum",
    )


_OF_CLASSES = ("cross_entropy", "nll", "kl_div")


def _with_arrays(
    function: Callable[..., Any], settings: dict[str, Any], array: Callable[..., Any]
) -> Callable[..., Any]:
    """The function with these settings, its weights of the output's type."""
    names = settings.keys() & {"weight", "pos_weight"}

    def loss(output: Any, target: Any) -> Any:
        weights = {name: array(settings[name], dtype=output.dtype) for name in names}
        return function(output, target, **settings | weights)

    return loss


def _plain_loss(name: str, settings: dict[str, Any]) -> Callable[..., Any] | None:
    """What a port may have from optax, with these settings."""
    known = settings.keys() - {"delta"} == {"reduction"} and settings["reduction"] == "mean"
    match name:
        case "mse" if known:
            return lambda x, y: jnp.mean((x - y) ** 2)
        case "huber" if known:
            return lambda x, y: optax.huber_loss(x, y, delta=settings["delta"]).mean()
        case "bce_with_logits" if known:
            return lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean()
        case "cross_entropy" if known:
            return lambda x, y: picked(x, y).mean()
        case "kl_div" if settings["reduction"] == "batchmean":
            return lambda x, y: optax.kl_divergence(x, y).mean()
    return None


def _labels(rng: np.random.Generator, rows: int, *, classes: int, ignoring: bool) -> np.ndarray:
    labels = rng.integers(0, classes, rows)
    if ignoring:
        labels[1:][rng.random(rows - 1) < 0.3] = -100
    return labels


def _optimizer(
    rng: np.random.Generator, said: list[str], module: nn.Module, divisor: int, steps: int
) -> tuple[torch.optim.Optimizer, optax.GradientTransformation, dict[str, Any]]:
    """Torch's, the port's, and further fields of the run."""
    name = str(rng.choice(["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]))
    settings: dict[str, Any] = {"lr": float(10 ** rng.uniform(-3, -2))}
    if rng.random() < 0.4:
        settings["weight_decay"] = float(10 ** rng.uniform(-4, -1))
    match name:
        case "SGD":
            settings["lr"] *= 10 / divisor
            settings["momentum"] = float(rng.choice([0, 0.5, 0.9]))
            if settings["momentum"] and rng.random() < 0.6:
                settings |= {"dampening": 0.3} if rng.random() < 0.5 else {"nesterov": True}
        case "Adam" | "AdamW":
            settings["betas"] = float(rng.choice([0.5, 0.9])), float(rng.choice([0.99, 0.999]))
            settings["eps"] = float(rng.choice([1e-8, 1e-6]))
            settings["amsgrad"] = bool(rng.random() < 0.25)
        case "RMSprop":
            settings["alpha"] = float(rng.choice([0.9, 0.99]))
            settings["momentum"] = float(rng.choice([0, 0.9]))
            settings["centered"] = bool(rng.random() < 0.3)
        case _:
            settings["lr_decay"] = float(rng.choice([0, 0.1]))
            settings["initial_accumulator_value"] = float(rng.choice([0, 0.1]))
    torch_optimizer = getattr(torch.optim, name)(module.parameters(), **settings)

    further: dict[str, Any] = {}
    lr: Any = settings["lr"]
    if rng.random() < 0.3:
        further["scheduler"], lr = _schedule(rng, said, torch_optimizer, lr, steps)
        if rng.random() < 0.5:
            further["steps_per_epoch"] = int(rng.integers(2, 4))
            lr = optim.per_epoch(lr, further["steps_per_epoch"])
    optimizer = _of_optax(rng, name, settings, lr) if rng.random() < 0.5 else None
    said.append(f"{'optax' if optimizer else 'jaxdnn.optim'} {name} {settings}")
    if optimizer is None:
        optimizer = optim.from_torch(torch_optimizer, lr=lr)
    if rng.random() < 0.2:
        limit = float(10 ** rng.uniform(-2, 1))
        further["before_step"] = partial(nn.utils.clip_grad_norm_, max_norm=limit)
        optimizer = optax.chain(optim.clip_grad_norm(limit), optimizer)
        said.append(f"clipped to {limit:.3g}")
    if rng.random() < 0.1:
        every = further["accumulate"] = int(rng.integers(2, 4))
        optimizer = multi_steps(optax.chain(optax.scale(float(every)), optimizer), every)
        said.append(f"{every} batches a step")
    return torch_optimizer, optimizer, further


def _schedule(
    rng: np.random.Generator,
    said: list[str],
    optimizer: torch.optim.Optimizer,
    lr: float,
    steps: int,
) -> tuple[Any, Any]:
    """A scheduler of torch's, and the schedule by jaxdnn or optax."""
    name = str(rng.choice(["step", "exponential", "cosine", "linear"]))
    by_optax = bool(rng.random() < 0.5)
    said.append(f"{name} schedule{' of optax' * by_optax}")
    match name:
        case "step":
            size = int(rng.integers(1, 6))
            ours = optim.step_lr(lr, step_size=size, gamma=0.5)
            theirs = optax.exponential_decay(lr, size, 0.5, staircase=True)
            torchs: Any = lr_scheduler.StepLR(optimizer, size, gamma=0.5)
        case "exponential":
            ours = optim.exponential_lr(lr, gamma=0.9)
            theirs = optax.exponential_decay(lr, 1, 0.9)
            torchs = lr_scheduler.ExponentialLR(optimizer, 0.9)
        case "cosine":
            # After the period torch's rises and optax's does not.
            period = steps if by_optax else int(rng.integers(2, 12))
            ours = optim.cosine_annealing_lr(lr, t_max=period, eta_min=lr / 10)
            theirs = optax.cosine_decay_schedule(lr, period, alpha=0.1)
            torchs = lr_scheduler.CosineAnnealingLR(optimizer, period, eta_min=lr / 10)
        case _:
            ours = optim.linear_lr(lr)
            theirs = optax.linear_schedule(lr / 3, lr, 5)
            torchs = lr_scheduler.LinearLR(optimizer)
    return torchs, theirs if by_optax else ours


def _of_optax(
    rng: np.random.Generator, name: str, settings: dict[str, Any], lr: Any
) -> optax.GradientTransformation | None:
    """What optax has itself, where it computes what torch does with these settings."""
    added = optax.add_decayed_weights(settings.get("weight_decay", 0.0))
    match name:
        case "SGD" if "dampening" not in settings:
            momentum, ahead = settings["momentum"], settings.get("nesterov", False)
            if momentum and not callable(lr) and rng.random() < 0.5:
                rate = optax.scale_by_learning_rate(lr)
                return optax.chain(added, rate, optax.trace(momentum, nesterov=ahead))
            schedule: Any = lr
            return optax.chain(added, optax.sgd(schedule, momentum or None, nesterov=ahead))
        case "Adam" if not settings["amsgrad"]:
            return optax.chain(added, optax.adam(lr, *settings["betas"], eps=settings["eps"]))
        case "AdamW" if not settings["amsgrad"]:
            decay = settings.get("weight_decay", 1e-2)
            return optax.adamw(lr, *settings["betas"], eps=settings["eps"], weight_decay=decay)
        case "RMSprop" if not (settings["momentum"] and callable(lr)):
            kept = {"centered": settings["centered"], "momentum": settings["momentum"] or None}
            scaled = optax.rmsprop(lr, decay=settings["alpha"], eps_in_sqrt=False, **kept)
            return optax.chain(added, scaled)
    return None


# All of them.


class Alarm(NamedTuple):
    """A clean run that did not pass.

    Attributes:
      seed: of the run.
      verdict: what was said of it.
      why: the place, or the reasons.
      description: what the run consists of.
    """

    seed: int
    verdict: str
    why: str
    description: str


def run(seed: int) -> Alarm | None:
    """Verify a right port; None if it passes."""
    case, description = clean(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            report = case.check()
        except Exception as error:
            traceback.print_exc(limit=-3)
            return Alarm(seed, "error", one_line(error), description)
    if report.ok:
        return None
    tier = next((t.precision for t in report.tiers if t.first_divergence), "")
    why = f"{tier} {report.first_divergence or ''} {'; '.join(report.reasons)}".strip()
    return Alarm(seed, report.verdict, why, description)


def progress(description: str, items: Sequence[Any]) -> Iterable[Any]:
    """The items, with a bar on a terminal."""
    from rich.progress import track

    return track(items, description=description, transient=True)


def summary(alarms: Sequence[Alarm], count: int, seconds: float) -> str:
    """A few sentences."""
    lines = [
        f"{count} clean runs: {len(alarms)} alarms; {seconds:.0f} s",
        "optax's own adam is a right port: that its bias correction, computed in float32, moves "
        "the first\nupdate by 6.5e-6 is a note of the report and not counted.",
    ]
    for alarm in alarms:
        lines += [f"  seed {alarm.seed}: {alarm.verdict}: {alarm.why}", f"    {alarm.description}"]
    return "\n".join(lines)


def main() -> None:
    """Verify them, print the result, and exit with 1 if one does not pass."""
    parser = argparse.ArgumentParser(description="Right ports at random, which have to pass.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--json", type=Path, help="where to write the alarms")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    seeds = range(options.seed, options.seed + options.count)
    alarms = [alarm for seed in progress("clean runs", seeds) if (alarm := run(seed))]
    print(summary(alarms, options.count, time.perf_counter() - start))
    if options.json:
        options.json.write_text(json.dumps([a._asdict() for a in alarms], indent=1) + "\n")
    raise SystemExit(1 if alarms else 0)


if __name__ == "__main__":
    main()
