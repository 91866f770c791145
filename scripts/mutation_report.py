"""Ports with seeded mistakes, and right ones: python scripts/mutation_report.py.

Every mutation is a right port of a small torch run, and what a user might have written instead. It
is said beforehand, from the mathematics, at which step, phase and tensor the two part, and what the
catalogue calls the mistake; `parity.check_port` has to find all of it. Beside it stand four checks
that are common in ports. Then come the right ports of `clean_runs`, which all have to pass.
"""

# ruff: noqa: E402 (XLA's flags come before JAX)

from jaxdnn.runtime import xla_flags

xla_flags.set_flags()

import argparse
import copy
import itertools
import json
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import clean_runs
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from clean_runs import Batches, Case, multi_steps
from clean_runs import cross_entropy_of_labels as _picked
from clean_runs import dense as _dense
from clean_runs import layer_norm as _layer_norm
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from jaxdnn import losses, optim, parity, torch_compat
from jaxdnn.parity import layout

Tensors = dict[str, np.ndarray]


class Mutation(NamedTuple):
    """A mistake, and where it shows first.

    Attributes:
      id: its name here.
      kind: what it is a mistake in.
      step: at which the two part first; None if only the rounding tells, which is judged over all
        states together.
      phase: of the step.
      tensor: torch's name.
      traps: what it may rightly be called; None is for a mistake that is in no catalogue.
      right: the port without it.
      wrong: makes it.
      precisions: in which it is looked for.
    """

    id: str
    kind: str
    step: int | None
    phase: str
    tensor: str
    traps: tuple[str | None, ...]
    right: Callable[[], Any]
    wrong: Callable[[Any], Any]
    precisions: tuple[str, ...] = ("float64",)


def _row(
    id: str,  # noqa: A002 (what it is)
    place: str,
    trap: str | tuple[str | None, ...] | None,
    right: Callable[[], Any],
    *functions: Callable[[Any], Any],
    **wrong: Any,
) -> Mutation:
    """A row of the table.

    Args:
      id: the name of the row.
      place: ``"step phase tensor"``, where the first weight's name may be left out; the step is
        ``*`` where float32 has to be looked at, which is judged as a whole.
      trap: in the catalogue, or several, or None.
      right: the right port.
      *functions: change it into the wrong one.
      **wrong: fields of the case, changed.
    """
    step, phase, tensor = (*place.split(" ", 2), "")[:3]
    if phase in ("loss", "output"):
        tensor = phase
    elif phase == "optimizer":
        tensor = f"0.weight/{tensor}"

    def change(case: Any) -> Any:
        for function in functions:
            case = function(case)
        return case.but(**wrong)

    return Mutation(
        id,
        "",
        None if step == "*" else int(step),
        phase,
        tensor or "0.weight",
        trap if isinstance(trap, tuple) else (trap,),
        right,
        change,
        ("float64", "float32") if step == "*" else ("float64",),
    )


def _kind(kind: str, rows: Sequence[Mutation]) -> tuple[Mutation, ...]:
    return tuple(row._replace(kind=kind) for row in rows)


# Right ports.


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _pairs(x: np.ndarray, y: np.ndarray) -> Batches:
    return list(zip(x, y, strict=True))


def _features(scale: float = 1.0) -> Batches:
    """Eight batches of eight rows of five numbers, with one number for a target."""
    return _pairs(scale * _numbers(8, 8, 5), _numbers(8, 8, 1, seed=1))


_SGD = partial(torch.optim.SGD, lr=0.1)


def _case(
    module: Callable[[], nn.Module],
    apply: Callable[..., Any],
    torch_loss: Callable[..., Any] | None = None,
    loss: Callable[..., Any] = losses.mse,
    batches: Batches | None = None,
    *,
    torch_optimizer: Callable[..., torch.optim.Optimizer] = _SGD,
    optimizer: optax.GradientTransformation | None = None,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    **settings: Any,
) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = module()
    built = torch_optimizer(network.parameters())
    optimizer = optimizer or optim.from_torch(built)
    if scheduler is not None:
        settings["torch_scheduler"] = scheduler(built)
    torch_loss, batches = torch_loss or nn.MSELoss(), batches or _features()
    return Case(network, torch_loss, built, apply, loss, optimizer, batches, settings)


def _two_layers(activation: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    return lambda params, x: _dense(params["2"], activation(_dense(params["0"], x)))


def regression(
    *,
    outputs: int = 1,
    steps: int = 8,
    torch_loss: Callable[..., Any] | None = None,
    loss: Callable[..., Any] = losses.mse,
    torch_activation: Callable[[], nn.Module] = nn.Tanh,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    **settings: Any,
) -> Case:
    """Two layers, numbers for targets."""
    batches = _pairs(_numbers(steps, 8, 5), _numbers(steps, 8, outputs, seed=1))
    return _case(
        lambda: nn.Sequential(nn.Linear(5, 6), torch_activation(), nn.Linear(6, outputs)),
        _two_layers(activation),
        torch_loss or nn.MSELoss(),
        loss,
        batches,
        **settings,
    )


def classification(
    torch_loss: nn.Module | None = None,
    loss: Callable[..., Any] = losses.cross_entropy,
    *,
    steps: int = 8,
    ignored: Sequence[int] = (),
    **settings: Any,
) -> Case:
    """Two layers, labels for targets, of which some are -100 in the steps given."""
    labels = np.random.default_rng(1).integers(0, 4, (steps, 8))
    labels[list(ignored), :3] = -100
    return _case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)),
        _two_layers(jnp.tanh),
        torch_loss or nn.CrossEntropyLoss(),
        loss,
        _pairs(_numbers(steps, 8, 5), labels),
        **settings,
    )


def probabilities(*, saturated: bool = False, **settings: Any) -> Case:
    """A sigmoid at the end, which is exactly 1 for one example if saturated."""
    x, y = _numbers(8, 8, 5), np.random.default_rng(1).integers(0, 2, (8, 8, 1)).astype(np.float32)

    def module() -> nn.Module:
        network = nn.Sequential(nn.Linear(5, 1), nn.Sigmoid())
        if saturated:
            weight = next(network.parameters())
            x[:, 0] = 1e4 * np.sign(weight.detach().numpy())
            y[:, 0] = 0
        return network

    return _case(
        module,
        lambda params, x: jax.nn.sigmoid(_dense(params["0"], x)),
        nn.BCELoss(),
        losses.bce,
        _pairs(x, y),
        **settings,
    )


def logits(torch_loss: nn.Module, loss: Callable[..., Any], *, scale: float = 1.0) -> Case:
    """One layer, zeros and ones for targets."""
    y = np.random.default_rng(1).integers(0, 2, (8, 8, 1)).astype(np.float32)
    return _case(
        lambda: nn.Linear(5, 1),
        lambda params, x: _dense(params[""], x),
        torch_loss,
        loss,
        _pairs(scale * _numbers(8, 8, 5), y),
        torch_optimizer=partial(torch.optim.SGD, lr=0.1 / scale**2),
    )


def divergence(reduction: Literal["mean", "batchmean"]) -> Case:
    """Log-probabilities, and probabilities for targets."""
    y = np.random.default_rng(1).dirichlet(np.ones(4), (8, 8)).astype(np.float32)
    return _case(
        lambda: nn.Sequential(nn.Linear(5, 4), nn.LogSoftmax(dim=1)),
        lambda params, x: jax.nn.log_softmax(_dense(params["0"], x)),
        nn.KLDivLoss(reduction=reduction),
        partial(losses.kl_div, reduction=reduction),
        _pairs(_numbers(8, 8, 5), y),
    )


def flat_targets() -> Case:
    """Outputs (N, 1) and targets (N,)."""
    return _case(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1)),
        _two_layers(jnp.tanh),
        lambda output, target: functional.mse_loss(output.squeeze(1), target),
        lambda output, target: jnp.mean((output[:, 0] - target) ** 2),
        _pairs(_numbers(8, 8, 5), _numbers(8, 8, seed=1)),
    )


def absolute_zero() -> Case:
    """The first example is 0, and so are the bias and its target: the difference is exactly 0."""
    x, y = _numbers(8, 8, 5), _numbers(8, 8, 1, seed=1)
    x[0, 0], y[0, 0] = 0, 0
    return _case(
        lambda: _zero_bias(nn.Linear(5, 1)),
        lambda params, x: _dense(params[""], x),
        nn.L1Loss(),
        losses.l1,
        _pairs(x, y),
    )


def _zero_bias(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.bias)
    return layer


def _safe_norm(x: jax.Array) -> jax.Array:
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _first_largest(x: jax.Array) -> jax.Array:
    pairs = x.reshape(len(x), 3, 2)
    return jnp.take_along_axis(pairs, jnp.argmax(pairs, 2)[..., None], 2)[..., 0]


class _Between(nn.Module):
    """A hidden layer, a function of its features, and a layer."""

    def __init__(
        self, function: nn.Module | Callable[[torch.Tensor], torch.Tensor], width: int
    ) -> None:
        super().__init__()
        self.hidden, self.function, self.out = nn.Linear(5, 6), function, nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.function(self.hidden(x)))


def between(
    torch_function: Callable[[], Any],
    function: Callable[..., jax.Array],
    *,
    width: int = 6,
    shift: float | None = None,
    scale: float = 1.0,
    **settings: Any,
) -> Case:
    """A function of the hidden features; of the parameters too, if it wants them."""

    def module() -> nn.Module:
        network = _Between(torch_function(), width)
        if shift is not None:
            nn.init.constant_(network.hidden.bias, shift)
        return network

    return _case(module, _between(function), batches=_features(scale), **settings)


def _between(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        hidden = _dense(params["hidden"], x)
        own = params.get("function")
        hidden = function(hidden) if own is None else function(own, hidden)
        return _dense(params["out"], hidden)

    return apply


def kinked(
    torch_function: Callable[[torch.Tensor], torch.Tensor],
    function: Callable[[jax.Array], jax.Array],
    width: int = 6,
) -> Case:
    """The first example is 0, and so is the first bias: it lies at the function's kink."""
    case = between(lambda: torch_function, function, width=width, shift=0)
    case.batches[0][0][0] = 0
    return case


def layer_norm(*, shift: float | None = None) -> Case:
    """Torch's LayerNorm, written out."""
    return between(lambda: nn.LayerNorm(6), _layer_norm, shift=shift)


def _flax_layer_norm(params: Any, x: jax.Array, **settings: Any) -> Any:
    return flax.linen.LayerNorm(**settings).apply({"params": params}, x)


def batch_norm() -> Case:
    """A batch normalisation whose running statistics are compared."""

    def apply(params: Any, buffers: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        hidden = x @ params["0"]["kernel"]
        mean, variance = hidden.mean(0), hidden.var(0)
        size = len(x)
        buffers = {
            "1.running_mean": 0.9 * buffers["1.running_mean"] + 0.1 * mean,
            "1.running_var": 0.9 * buffers["1.running_var"] + 0.1 * variance * size / (size - 1),
        }
        hidden = (hidden - mean) / jnp.sqrt(variance + 1e-5)
        hidden = hidden * params["1"]["scale"] + params["1"]["bias"]
        return _dense(params["2"], hidden), buffers

    return _case(
        lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 1)),
        apply,
        stateful=True,
    )


def _flax_batch_norm(momentum: float) -> Callable[..., Any]:
    norm = flax.linen.BatchNorm(use_running_average=False, momentum=momentum, epsilon=1e-5)

    def apply(params: Any, buffers: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        statistics = {"mean": buffers["1.running_mean"], "var": buffers["1.running_var"]}
        hidden, changed = norm.apply(
            {"params": params["1"], "batch_stats": statistics},
            x @ params["0"]["kernel"],
            mutable=["batch_stats"],
        )
        changed = changed["batch_stats"]
        buffers = {"1.running_mean": changed["mean"], "1.running_var": changed["var"]}
        return _dense(params["2"], hidden), buffers

    return apply


def square() -> Case:
    """Two layers of 6 to 6, in flax.linen."""

    class Network(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = flax.linen.tanh(flax.linen.Dense(6)(x))
            x = flax.linen.tanh(flax.linen.Dense(6)(x))
            return flax.linen.Dense(1)(x)

    return _case(
        lambda: nn.Sequential(
            nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)
        ),
        Network().apply,
        batches=_pairs(_numbers(8, 8, 6), _numbers(8, 8, 1, seed=1)),
        from_torch=_flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}),
    )


def _flax_names(
    names: Mapping[str, str], untransposed: Sequence[str] = ()
) -> Callable[[Tensors], Any]:
    def from_torch(tensors: Tensors) -> Any:
        return {
            "params": {
                ours: {
                    "kernel": tensors[f"{theirs}.weight"]
                    if theirs in untransposed
                    else tensors[f"{theirs}.weight"].T,
                    "bias": tensors[f"{theirs}.bias"],
                }
                for ours, theirs in names.items()
            }
        }

    return from_torch


class _Convolutions(flax.linen.Module):
    """Channels last, with what torch does by default said."""

    padding: Any = "VALID"
    strides: tuple[int, int] | None = (2, 2)
    channels_first: bool = True
    averaged: bool = False

    @flax.linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.transpose(0, 2, 3, 1)
        x = flax.linen.Conv(3, (3, 3), padding=self.padding, name="conv")(x)
        x = flax.linen.max_pool(flax.linen.relu(x), (2, 2), strides=self.strides)
        if self.averaged:
            x = x.mean((1, 2))
        elif self.channels_first:
            x = x.transpose(0, 3, 1, 2)
        return flax.linen.Dense(2, name="out")(x.reshape(len(x), -1))


class _Averaged(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def convolution(*, averaged: bool = False) -> Case:
    """A convolution, max-pooling, and a layer of all features or of each channel's average."""

    def module() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            _Averaged() if averaged else nn.Flatten(),
            nn.Linear(3 if averaged else 12, 2),
        )

    return _case(
        module,
        _Convolutions(averaged=averaged).apply,
        batches=_pairs(_numbers(8, 4, 2, 6, 6), _numbers(8, 4, 2, seed=1)),
        from_torch=_convolution_names((2, 3, 1, 0)),
    )


def _convolution_names(axes: tuple[int, ...]) -> Callable[[Tensors], Any]:
    return lambda tensors: {
        "params": {
            "conv": {"kernel": tensors["0.weight"].transpose(axes), "bias": tensors["0.bias"]},
            "out": {"kernel": tensors["4.weight"].T, "bias": tensors["4.bias"]},
        }
    }


def _proper_convolution(variables: Any, x: jax.Array) -> jax.Array:
    kernel, bias = (variables["params"]["conv"][name] for name in ("kernel", "bias"))
    conv = jax.scipy.signal.convolve2d
    single = lambda maps, filters: sum(  # noqa: E731
        conv(maps[i], filters[..., i], mode="valid") for i in range(2)
    )
    x = jnp.stack([jax.vmap(single, (0, None))(x, kernel[..., o]) for o in range(3)], -1) + bias
    x = flax.linen.max_pool(flax.linen.relu(x), (2, 2), strides=(2, 2))
    return _dense(variables["params"]["out"], x.transpose(0, 3, 1, 2).reshape(len(x), -1))


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.branch, self.out = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.hidden(x))
        return self.out(x + torch.tanh(self.branch(x)))


def residual(*, detached: bool = False) -> Case:
    """A branch that is added, in torch without a gradient if detached."""

    class Detached(_Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.tanh(self.hidden(x))
            return self.out(x + torch.tanh(self.branch(x.detach())))

    return _case(
        Detached if detached else _Residual,
        partial(_residual, before=jax.lax.stop_gradient if detached else lambda x: x),
    )


def _residual(
    params: Any,
    x: jax.Array,
    before: Callable[[jax.Array], jax.Array] = lambda x: x,
    after: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    x = jnp.tanh(_dense(params["hidden"], x))
    return _dense(params["out"], x + after(jnp.tanh(_dense(params["branch"], before(x)))))


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T)


def tied() -> Case:
    """An autoencoder whose decoder is its encoder, transposed."""
    x = _numbers(8, 8, 5)
    return _case(
        _Tied,
        lambda params, x: jnp.tanh(x @ params["encoder"]) @ params["encoder"].T,
        batches=_pairs(x, x),
        from_torch=lambda tensors: {"encoder": tensors["encoder.weight"].T},
    )


class _Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(7, 4, padding_idx=0), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.embedding(x).sum(1)))


def embedding() -> Case:
    """Tokens of which 0 is padding, whose vector gets no gradient."""
    tokens = np.random.default_rng(0).integers(0, 7, (8, 8, 3))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        table = params["table"]
        table = table.at[0].set(jax.lax.stop_gradient(table[0]))
        return _dense(params["out"], jnp.tanh(table[x].sum(1)))

    return _case(
        _Embedded,
        apply,
        batches=_pairs(tokens, _numbers(8, 8, 1, seed=1)),
        from_torch=lambda tensors: {
            "table": tensors["embedding.weight"],
            "out": {"kernel": tensors["out.weight"].T, "bias": tensors["out.bias"]},
        },
    )


class _WithUnused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net, self.unused = nn.Linear(5, 1), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def unused() -> Case:
    """A layer that the network does not use, with weight decay."""
    masked = {"net": "train", "unused": "leave"}
    return _case(
        _WithUnused,
        lambda params, x: _dense(params["net"], x),
        torch_optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.1),
        optimizer=optax.partition(
            {"train": optim.sgd(0.1, weight_decay=0.1), "leave": optax.set_to_zero()}, masked
        ),
    )


def shrinking(**settings: Any) -> Case:
    """The second batch has a thousandth of the first's inputs, so most squares of gradients fall.

    The gradient of the first layer's weight is a product with the inputs.
    """
    case = regression(**settings)
    x, y = case.batches[1]
    return case.but(batches=[case.batches[0], (x / 1000, y), *case.batches[2:]])


def under(name: str, lr: float, **settings: Any) -> Callable[..., Case]:
    """Regression under an optimiser of torch's."""
    return partial(
        regression, torch_optimizer=partial(getattr(torch.optim, name), lr=lr, **settings)
    )


def sgd(lr: float = 0.1, **settings: Any) -> Callable[..., Case]:
    """Regression under torch.optim.SGD."""
    return under("SGD", lr, **settings)


adam, adamw, rmsprop, adagrad = (
    partial(under, name, lr=0.01) for name in ("Adam", "AdamW", "RMSprop", "Adagrad")
)


def clipped(limit: float, **settings: Any) -> Callable[[], Case]:
    """Regression whose gradients are clipped to a norm."""
    settings = {"lr": 0.1} | settings
    return partial(
        regression,
        torch_optimizer=partial(torch.optim.SGD, **settings),
        optimizer=optax.chain(optim.clip_grad_norm(limit), optim.sgd(**settings)),
        torch_before_step=partial(nn.utils.clip_grad_norm_, max_norm=limit),
    )


def scheduled(
    scheduler: Callable[..., Any], schedule: Callable[..., Any], **settings: Any
) -> Callable[[], Case]:
    """Regression under SGD at a learning rate of 0.1 that a scheduler changes."""
    return partial(regression, scheduler=scheduler, optimizer=optax.sgd(schedule), **settings)


def _at(case: Case, step: int, change: Callable[[np.ndarray, np.ndarray], Any]) -> Case:
    """The port's own batches, one of them changed."""
    batches = list(case.batches)
    batches[step] = change(*(array.copy() for array in batches[step]))
    return case.but(port_batches=batches)


def _inputs(case: Case, change: Callable[[np.ndarray], np.ndarray]) -> Case:
    return case.but(port_batches=[(change(x), y) for x, y in case.batches])


def _relabelled(x: np.ndarray, y: np.ndarray) -> Any:
    y[2] = (y[2] + 1) % 4
    return x, y


def _padded(x: np.ndarray, y: np.ndarray) -> Any:
    return np.concatenate([x, 0 * x]), np.concatenate([y, 0 * y])


def _ragged(case: Case) -> Case:
    x, y = case.batches[-1]
    return case.but(batches=[*case.batches[:-1], (x[:4], y[:4])])


def _shuffled(case: Case, start: int = 0) -> Case:
    """The rows of all batches from one on, dealt anew."""
    x, y = (np.concatenate(arrays) for arrays in zip(*case.batches[start:], strict=True))
    order = np.random.default_rng(5).permutation(len(x))
    rest = _pairs(x[order].reshape(-1, 8, 5), y[order].reshape(-1, 8, *y.shape[1:]))
    return case.but(port_batches=[*case.batches[:start], *rest])


# Optimisers as a user writes them.


class _Velocity(NamedTuple):
    updates: jax.Array
    velocity: Any


def _heavy_ball(lr: Callable[[Any], Any], momentum: float) -> optax.GradientTransformation:
    def init(params: Any) -> _Velocity:
        return _Velocity(jnp.zeros((), int), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Velocity]:
        rate = lr(state.updates)
        velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, state.velocity, updates)
        return velocity, _Velocity(state.updates + 1, velocity)

    return optax.GradientTransformation(init, update)


class _Moments(NamedTuple):
    updates: jax.Array
    m: Any
    v: Any


def _own_adam(
    direction: Callable[[Any, Any, Any], Any], lr: float = 0.01
) -> optax.GradientTransformation:
    """Adam from a tutorial: ``direction(m, v, t)``, t from 1."""

    def init(params: Any) -> _Moments:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _Moments(jnp.zeros((), int), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _Moments]:
        count = state.updates + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.m, updates)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.v, updates)
        step = jax.tree.map(lambda m, v: -lr * direction(m, v, count), m, v)
        return step, _Moments(count, m, v)

    return optax.GradientTransformation(init, update)


class _NadamState(NamedTuple):
    updates: jax.Array
    product: jax.Array
    m: Any
    v: Any


def _nadam(lr: float) -> optax.GradientTransformation:
    """What torch computes, whose momentum grows."""

    def init(params: Any) -> _NadamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _NadamState(jnp.zeros((), int), jnp.ones(()), zeros, zeros)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, _NadamState]:
        count = state.updates + 1
        mu, following = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (count, count + 1))
        product = state.product * mu
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.m, updates)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, state.v, updates)

        def each(g: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            root = jnp.sqrt(v / (1 - 0.999**count)) + 1e-8
            ahead = following * m / (1 - product * following)
            return -lr * ((1 - mu) / (1 - product) * g + ahead) / root

        return jax.tree.map(each, updates, m, v), _NadamState(count, product, m, v)

    return optax.GradientTransformation(init, update)


def _clip_each(limit: float) -> optax.GradientTransformation:
    def clip(grads: Any, params: Any) -> Any:
        def each(g: jax.Array) -> jax.Array:
            return g * jnp.minimum(1, limit / (jnp.sqrt(jnp.sum(g**2)) + 1e-6))

        return jax.tree.map(each, grads)

    return optax.stateless(clip)


def _no_biases(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def _two_groups(**second: Any) -> Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]:
    """Weights in the first group, biases in the second with other settings."""

    def build(params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        params = list(params)
        weights, biases = [p for p in params if p.dim() > 1], [p for p in params if p.dim() == 1]
        groups = [{"params": weights}, {"params": biases} | second]
        return torch.optim.SGD(groups, lr=0.1, weight_decay=0.1)

    return build


def _frozen() -> nn.Module:
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 1))
    next(network.parameters()).requires_grad = False
    return network


def frozen() -> Case:
    """The first weight is not trained."""
    labels = {"0": {"kernel": "leave", "bias": "train"}, "2": {"kernel": "train", "bias": "train"}}
    return _case(
        _frozen,
        _two_layers(jnp.tanh),
        torch_optimizer=lambda params: torch.optim.SGD(
            [p for p in params if p.requires_grad], lr=0.1
        ),
        optimizer=optax.partition({"train": optax.sgd(0.1), "leave": optax.set_to_zero()}, labels),
    )


# Losses as a user writes them.


def _smoothed_others(x: jax.Array, y: jax.Array) -> jax.Array:
    target = jnp.where(jax.nn.one_hot(y, 4) > 0, 0.8, 0.2 / 3)
    return optax.softmax_cross_entropy(x, target).mean()


def _clipped_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    x = jnp.clip(x, 1e-7, 1 - 1e-7)
    return -jnp.mean(y * jnp.log(x) + (1 - y) * jnp.log(1 - x))


def _plain_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(y * jnp.log(x) + (1 - y) * jnp.log(1 - x))


def _bounded_bce(x: jax.Array, y: jax.Array) -> jax.Array:
    logs = jnp.maximum(jnp.log(x), -100), jnp.maximum(jnp.log1p(-x), -100)
    return -jnp.mean(y * logs[0] + (1 - y) * logs[1])


def _naive_logits(x: jax.Array, y: jax.Array) -> jax.Array:
    return _plain_bce(1 / (1 + jnp.exp(-x)), y)


def _naive_cross_entropy(x: jax.Array, y: jax.Array) -> jax.Array:
    picked = jnp.take_along_axis(x, y[:, None], 1)[:, 0]
    return jnp.mean(jnp.log(jnp.sum(jnp.exp(x), 1)) - picked)


def _log_of_softmax(x: jax.Array, y: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.log(jnp.take_along_axis(jax.nn.softmax(x), y[:, None], 1)))


def far_logits(scale: float) -> Case:
    """One layer without much training, whose logits are large."""
    labels = np.random.default_rng(1).integers(0, 4, (8, 8))
    return _case(
        lambda: nn.Linear(5, 4),
        lambda params, x: _dense(params[""], x),
        nn.CrossEntropyLoss(),
        losses.cross_entropy,
        _pairs(scale * _numbers(8, 8, 5), labels),
        torch_optimizer=partial(torch.optim.SGD, lr=1e-3 / scale),
    )


_WEIGHTS = [0.25, 1.0, 3.0, 0.5]


def weighted() -> Case:
    """Cross-entropy with class weights."""
    weight = torch.tensor(_WEIGHTS)
    return classification(
        nn.CrossEntropyLoss(weight=weight),
        lambda x, y: losses.cross_entropy(x, y, weight=jnp.asarray(_WEIGHTS, x.dtype)),
    )


def smoothed() -> Case:
    """Cross-entropy with label smoothing."""
    return classification(
        nn.CrossEntropyLoss(label_smoothing=0.2), partial(losses.cross_entropy, label_smoothing=0.2)
    )


def positive_weight() -> Case:
    """Positive targets weigh three times."""
    return logits(
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
        partial(losses.bce_with_logits, pos_weight=3.0),
    )


def _stairs(count: Any) -> Any:
    return 0.1 * 0.1 ** (count // 3)


_STEP = partial(lr_scheduler.StepLR, step_size=3)
_ONE_CYCLE: Any = optim.one_cycle_lr(0.2, total_steps=10)
_OneCycle = partial(lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=10)

_GELU = partial(
    regression, torch_activation=nn.GELU, activation=partial(jax.nn.gelu, approximate=False)
)
_AMSGRAD = partial(shrinking, torch_optimizer=partial(torch.optim.Adam, lr=0.01, amsgrad=True))
_ACCUMULATED = partial(
    regression,
    accumulate=4,
    optimizer=multi_steps(optax.chain(optax.scale(4.0), optax.sgd(0.1)), 4),
)
_DECAYED_WEIGHTS = optax.chain(
    optax.masked(optax.add_decayed_weights(0.1), _no_biases), optax.sgd(0.1)
)
_EXPONENTIAL = scheduled(
    partial(lr_scheduler.ExponentialLR, gamma=0.9), optim.exponential_lr(0.1, gamma=0.9)
)
_COSINE = scheduled(
    partial(lr_scheduler.CosineAnnealingLR, T_max=5, eta_min=0.01),
    optim.cosine_annealing_lr(0.1, t_max=5, eta_min=0.01),
)
_LINEAR = scheduled(lr_scheduler.LinearLR, optim.linear_lr(0.1, total_iters=5))
_STEPPED = scheduled(_STEP, optim.step_lr(0.1, step_size=3))
_STEPPED_MOMENTUM = partial(
    sgd(momentum=0.9),
    scheduler=_STEP,
    optimizer=optim.sgd(optim.step_lr(0.1, step_size=3), momentum=0.9),
)
_CYCLED_MOMENTUM = partial(
    sgd(momentum=0.9),
    steps=10,
    scheduler=_OneCycle,
    optimizer=optim.sgd(_ONE_CYCLE.lr, momentum=_ONE_CYCLE.momentum),
)


def _mse(x: jax.Array, y: jax.Array) -> jax.Array:
    return jnp.mean((x - y) ** 2)


# Where parameters start.


class Draw(NamedTuple):
    """Starts of a torch network and of its port: what `parity.check_initialisation` takes.

    Attributes:
      torch_init: makes the network.
      init: ``key -> params``.
    """

    torch_init: Callable[[], nn.Module]
    init: Callable[[jax.Array], Any]

    def but(self, **changes: Any) -> "Draw":
        """The same with other fields."""
        return self._replace(**changes)

    def check(self, **settings: Any) -> parity.Report:
        """Judge the port's start."""
        return parity.check_initialisation(*self)


_TORCH_START = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
_SIZES = (20, 30, 40)


def _start(
    kernel_init: Callable[..., Any],
    bias_init: Callable[..., Any] | None = None,
    *,
    reused: bool = False,
) -> Callable[[jax.Array], Any]:
    """Two layers as torch would draw them, with other initialisers."""

    def init(key: jax.Array) -> Any:
        keys = jnp.stack([key] * 4) if reused else jax.random.split(key, 4)
        params = {}
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(_SIZES)):
            bound = fan_in**-0.5
            params[str(2 * i)] = {
                "kernel": kernel_init(keys[2 * i], (fan_in, fan_out)),
                "bias": bias_init(keys[2 * i + 1], (fan_out,))
                if bias_init
                else jax.random.uniform(keys[2 * i + 1], (fan_out,), minval=-bound, maxval=bound),
            }
        return params

    return init


def _flax_start(key: jax.Array) -> Any:
    x = jnp.zeros((1, _SIZES[0]))
    params = {}
    for i, size in enumerate(_SIZES[1:]):
        layer = flax.linen.Dense(size)
        x, variables = layer.init_with_output(jax.random.fold_in(key, i), x)
        params[str(2 * i)] = variables["params"]
    return params


def draw() -> Draw:
    """Two layers."""
    first, hidden, last = _SIZES
    return Draw(
        lambda: nn.Sequential(nn.Linear(first, hidden), nn.Tanh(), nn.Linear(hidden, last)),
        _start(_TORCH_START),
    )


def normal_draw() -> Draw:
    """Weights from nn.init.normal_."""

    def torch_init() -> nn.Module:
        network = draw().torch_init()
        for layer in (network[0], network[2]):  # type: ignore[index]
            nn.init.normal_(layer.weight)
        return network

    return Draw(torch_init, _start(jax.nn.initializers.normal(1.0)))


# The table. Where the output is right and the loss is wrong, the two part in the loss; where only
# its slope is wrong, in the gradient of the first parameter, in torch's order, that the slope
# reaches; where the gradient is right, in the optimiser's first tensor that both sides have, and
# where it has none, in the first parameter.

# fmt: off

LOSS = _kind("loss", (
    _row("mse-half", "0 loss", "mse-half", regression,
        loss=lambda x, y: optax.l2_loss(x, y).mean()),
    _row("mse-broadcast", "0 loss", "mse-broadcast", flat_targets, loss=_mse),
    _row("cross-entropy-weights-over-n", "0 loss", "cross-entropy-weights", weighted,
        loss=lambda x, y: jnp.mean(jnp.asarray(_WEIGHTS, x.dtype)[y] * _picked(x, y))),
    _row("cross-entropy-weights-missing", "0 loss", "cross-entropy-weights", weighted,
        loss=lambda x, y: _picked(x, y).mean()),
    _row("ignore-index-nan", "2 loss", "ignore-index", partial(classification, ignored=[2, 5]),
        loss=lambda x, y: _picked(x, y).mean()),
    _row("ignore-index-counted", "0 loss", "ignore-index",
        partial(classification, ignored=range(8)),
        loss=lambda x, y: jnp.where(y == -100, 0, _picked(x, jnp.maximum(y, 0))).mean()),
    # The first label to be ignored comes in batch 40.
    _row("ignore-index-from-40", "40 loss", "ignore-index",
        partial(classification, ignored=[40], steps=44),
        loss=lambda x, y: jnp.where(y == -100, 0, _picked(x, jnp.maximum(y, 0))).mean()),
    _row("label-smoothing-missing", "0 loss", "label-smoothing", smoothed,
        loss=lambda x, y: _picked(x, y).mean()),
    _row("label-smoothing-others", "0 loss", "label-smoothing", smoothed, loss=_smoothed_others),
    _row("softmax-in-loss", "0 loss", "softmax-twice", classification,
        loss=lambda x, y: _picked(jax.nn.softmax(x), y).mean()),
    _row("softmax-in-network", "0 output", "softmax-twice", classification,
        apply=lambda params, x: jax.nn.softmax(_two_layers(jnp.tanh)(params, x))),
    _row("smooth-l1-huber", "0 loss", "smooth-l1-huber",
        partial(regression, torch_loss=nn.SmoothL1Loss(beta=0.5),
            loss=partial(losses.smooth_l1, beta=0.5)),
        loss=lambda x, y: optax.huber_loss(x, y, delta=0.5).mean()),
    # The network's sigmoid is 1 and the target 0: log 0 without torch's bound.
    _row("bce-unbounded", "0 loss", "bce-clamp", partial(probabilities, saturated=True),
        loss=_plain_bce),
    _row("bce-clipped", "0 loss", "bce-clamp", partial(probabilities, saturated=True),
        loss=_clipped_bce),
    # The value is torch's; the slope is 0 times infinity, and NaN in every weight.
    _row("bce-slope", "0 grad 0.weight", "bce-clamp", partial(probabilities, saturated=True),
        loss=_bounded_bce),
    _row("bce-of-logits", "0 loss", "bce-of-logits", probabilities,
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean()),
    _row("pos-weight-missing", "0 loss", "pos-weight", positive_weight,
        loss=lambda x, y: optax.sigmoid_binary_cross_entropy(x, y).mean()),
    _row("pos-weight-on-all", "0 loss", "pos-weight", positive_weight,
        loss=lambda x, y: 3 * optax.sigmoid_binary_cross_entropy(x, y).mean()),
    # The example at the kink has inputs of 0, so its slope reaches the bias alone.
    _row("l1-at-zero", "0 grad bias", "abs-derivative", absolute_zero,
        loss=lambda x, y: jnp.mean(jnp.abs(x - y))),
    _row("auxiliary-half", "0 loss", None,
        partial(regression,
            torch_loss=lambda x, y: functional.mse_loss(x, y) + 0.1 * x.square().mean(),
            loss=lambda x, y: _mse(x, y) + 0.1 * jnp.mean(x**2)),
        loss=lambda x, y: _mse(x, y) + 0.05 * jnp.mean(x**2)),
))

REDUCTION = _kind("reduction", (
    _row("mse-sum", "0 loss", "reduction-sum", regression, loss=lambda x, y: jnp.sum((x - y) ** 2)),
    _row("mse-mean", "0 loss", "reduction-mean",
        partial(sgd(lr=0.01), torch_loss=nn.MSELoss(reduction="sum"),
            loss=partial(losses.mse, reduction="sum")),
        loss=_mse),
    _row("mse-per-example", "0 loss", "reduction-per-example", partial(regression, outputs=3),
        loss=lambda x, y: jnp.mean(jnp.sum((x - y) ** 2, 1))),
    _row("cross-entropy-sum", "0 loss", "reduction-sum", classification,
        loss=lambda x, y: _picked(x, y).sum()),
    _row("kl-div-mean-for-batchmean", "0 loss", "kl-div-mean", partial(divergence, "batchmean"),
        loss=lambda x, y: jnp.mean(y * (jnp.log(y) - x))),
    _row("kl-div-batchmean-for-mean", "0 loss", "kl-div-mean", partial(divergence, "mean"),
        loss=lambda x, y: optax.kl_divergence(x, y).mean()),
    # Both wait for four batches.
    _row("accumulation-averaged", "3 param", "accumulation-mean", _ACCUMULATED,
        optimizer=multi_steps(optax.sgd(0.1), 4)),
))

LAYER = _kind("layer", (
    _row("gelu-tanh", "0 output", "gelu-tanh", _GELU, apply=_two_layers(jax.nn.gelu)),
    _row("gelu-tanh-observed", "0 activation 1", "gelu-tanh", _GELU, apply=_two_layers(jax.nn.gelu),
        activations=lambda params, x: {"0": _dense(params["0"], x),
            "1": jax.nn.gelu(_dense(params["0"], x))}),
    _row("std-biased", "0 output", "biased-variance",
        partial(between, lambda: lambda x: x / x.std(1, keepdim=True),
            lambda x: x / x.std(1, keepdims=True, ddof=1)),
        apply=_between(lambda x: x / jnp.std(x, axis=1, keepdims=True))),
    _row("layer-norm-epsilon", "0 output", "layer-norm-epsilon", layer_norm,
        apply=_between(_flax_layer_norm)),
    _row("layer-norm-biased-differently", "0 output", None, layer_norm,
        apply=_between(lambda params, x: params["bias"] + params["scale"]
            * (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-5))),
    # The output is of the batch's statistics: only the running ones are wrong.
    _row("batch-norm-biased", "0 buffer 1.running_var", "batch-norm-variance", batch_norm,
        apply=_flax_batch_norm(0.9)),
    _row("batch-norm-flax-default", "0 buffer 1.running_mean", "batch-norm-momentum", batch_norm,
        apply=_flax_batch_norm(0.99)),
    _row("batch-norm-torch-momentum", "0 buffer 1.running_mean", "batch-norm-momentum", batch_norm,
        apply=_flax_batch_norm(0.1)),
    _row("linear-untransposed", "0 output", "linear-transposed", square,
        from_torch=_flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}, ["0", "2"])),
    _row("linear-untransposed-one", "0 output", "linear-transposed", square,
        from_torch=_flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}, ["2"])),
    _row("layers-swapped", "0 output", None, square,
        from_torch=_flax_names({"Dense_0": "2", "Dense_1": "0", "Dense_2": "4"})),
    _row("conv-axes-swapped", "0 output", "conv-layout", convolution,
        from_torch=_convolution_names((3, 2, 1, 0))),
    _row("conv-flipped", "0 output", "conv-flipped", convolution, apply=_proper_convolution),
    _row("conv-padded", "0 output", "conv-padding", partial(convolution, averaged=True),
        apply=_Convolutions(averaged=True, padding="SAME").apply),
    _row("max-pool-stride", "0 output", "max-pool-stride", partial(convolution, averaged=True),
        apply=_Convolutions(averaged=True, strides=None).apply),
    _row("flatten-order", "0 output", "flatten-order", convolution,
        apply=_Convolutions(channels_first=False).apply),
    _row("dropout-missing", "0 output", "dropout-masks",
        partial(between, lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.5)).eval(), jnp.tanh),
        lambda case: case._replace(module=case.module.train())),
    _row("abs-at-zero", "0 grad hidden.bias", "abs-derivative",
        partial(kinked, torch.abs, lambda x: x * jax.lax.stop_gradient(jnp.sign(x))),
        apply=_between(jnp.abs)),
    _row("clamp-at-bound", "0 grad hidden.bias", "clamp-derivative",
        partial(kinked, partial(torch.clamp, min=0, max=1),
            lambda x: jnp.where((x >= 0) & (x <= 1), x, jax.lax.stop_gradient(jnp.clip(x, 0, 1)))),
        apply=_between(lambda x: jnp.clip(x, 0, 1))),
    # 0/0 times the example's inputs of 0 is NaN too, so the weight has it, which comes first.
    _row("norm-at-zero", "0 grad hidden.weight", "norm-derivative",
        partial(kinked, lambda x: torch.linalg.norm(x, dim=1, keepdim=True), _safe_norm, 1),
        apply=_between(lambda x: jnp.linalg.norm(x, axis=1, keepdims=True))),
    _row("max-tie", "0 grad hidden.bias", "max-tie-derivative",
        partial(kinked, lambda x: torch.max(x.reshape(len(x), 3, 2), dim=2).values,
            _first_largest, 3),
        apply=_between(lambda x: jnp.max(x.reshape(len(x), 3, 2), axis=2))),
    _row("leaky-relu", "0 output", None,
        partial(regression, torch_activation=nn.LeakyReLU, activation=jax.nn.leaky_relu),
        apply=_two_layers(jax.nn.relu)),
    _row("relu6", "5 output", None,
        partial(regression, torch_activation=nn.ReLU, activation=jax.nn.relu),
        lambda case: case.but(
            batches=[(x * (30 if i == 5 else 0.5), y) for i, (x, y) in enumerate(case.batches)]),
        apply=_two_layers(jax.nn.relu6)),
    _row("softplus-threshold", "0 output", None,
        partial(between, nn.Softplus,
            lambda x: jnp.where(x > 20, x, jax.nn.softplus(jnp.minimum(x, 20))),
            scale=20.0, torch_optimizer=partial(torch.optim.SGD, lr=1e-4)),
        apply=_between(jax.nn.softplus)),
    _row("softmax-axis", "0 output", None,
        partial(between, lambda: nn.Softmax(dim=1), partial(jax.nn.softmax, axis=1)),
        apply=_between(partial(jax.nn.softmax, axis=0))),
    _row("rms-norm-epsilon-inside", "0 output", None,
        partial(between, lambda: lambda x: x / (x.square().mean(1, keepdim=True).sqrt() + 1e-6),
            lambda x: x / (jnp.sqrt(jnp.mean(x**2, 1, keepdims=True)) + 1e-6)),
        apply=_between(lambda x: x * jax.lax.rsqrt(jnp.mean(x**2, 1, keepdims=True) + 1e-6))),
    _row("bias-missing", "0 output", None, regression,
        apply=lambda params, x: jnp.tanh(_dense(params["0"], x)) @ params["2"]["kernel"]),
    # It is 0 at the start, so the first output is right, and the loss; its gradient is not.
    _row("zero-bias-missing", "0 grad bias", None, absolute_zero,
        apply=lambda params, x: x @ params[""]["kernel"]),
    # The values are right; what flowed back through the branch is missing from the first layer.
    _row("branch-stopped", "0 grad hidden.weight", None, residual,
        apply=partial(_residual, before=jax.lax.stop_gradient)),
    _row("detach-missing", "0 grad hidden.weight", None, partial(residual, detached=True),
        apply=_residual),
    # The encoder's gradient lacks the decoder's share.
    _row("untied", "0 grad encoder.weight", None, tied,
        apply=lambda params, x: jnp.tanh(x @ params["encoder"]) @ params["decoder"],
        from_torch=lambda tensors: {"encoder": tensors["encoder.weight"].T,
            "decoder": tensors["encoder.weight"]},
        to_torch=lambda tree: {"encoder.weight": np.asarray(tree["encoder"]).T}),
    _row("padding-index", "0 grad embedding.weight", None, embedding,
        apply=lambda params, x: _dense(params["out"], jnp.tanh(params["table"][x].sum(1)))),
))

OPTIMIZER = _kind("optimizer", (
    _row("lr-off-by-a-millionth", "0 param", None, sgd(), optimizer=optax.sgd(0.1 * (1 + 1e-6))),
    # The first buffer is the gradient whatever the momentum.
    _row("momentum-0.5001", "1 optimizer momentum_buffer", None, sgd(momentum=0.5),
        optimizer=optax.sgd(0.1, 0.5001)),
    _row("momentum-missing", "1 param", "momentum-missing", sgd(momentum=0.9),
        optimizer=optax.sgd(0.1)),
    _row("momentum-averaged", "0 param", "momentum-average", sgd(momentum=0.9),
        optimizer=optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))),
    _row("dampened-from-the-start", "0 optimizer momentum_buffer", "sgd-dampening",
        sgd(momentum=0.9, dampening=0.5),
        optimizer=optax.chain(optax.scale(0.5), optax.sgd(0.1, 0.9))),
    _row("dampening-missing", "1 optimizer momentum_buffer", "sgd-dampening",
        sgd(momentum=0.9, dampening=0.5), optimizer=optax.sgd(0.1, 0.9)),
    _row("nesterov-missing", "0 param", "nesterov", sgd(momentum=0.9, nesterov=True),
        optimizer=optax.sgd(0.1, 0.9)),
    _row("nesterov-added", "0 param", "nesterov", sgd(momentum=0.9),
        optimizer=optax.sgd(0.1, 0.9, nesterov=True)),
    _row("decay-missing", "0 param", "weight-decay-missing", sgd(weight_decay=0.01),
        optimizer=optax.sgd(0.1)),
    _row("decay-after-momentum", "0 optimizer momentum_buffer", "decay-after-momentum",
        sgd(momentum=0.9, weight_decay=0.01),
        optimizer=optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.01),
            optax.scale_by_learning_rate(0.1))),
    _row("decay-without-lr", "0 param", "decay-without-lr", sgd(weight_decay=0.01),
        optimizer=optax.chain(optax.sgd(0.1), optax.add_decayed_weights(-0.01))),
    # Weights are alike; the first bias comes after the first weight.
    _row("decay-not-on-biases", "0 param 0.bias", None, sgd(weight_decay=0.1),
        optimizer=_DECAYED_WEIGHTS),
    _row("decay-on-biases", "0 param 0.bias", None,
        partial(regression, torch_optimizer=_two_groups(weight_decay=0),
            optimizer=_DECAYED_WEIGHTS),
        optimizer=optim.sgd(0.1, weight_decay=0.1)),
    _row("one-lr-for-two-groups", "0 param 0.bias", None,
        partial(regression, torch_optimizer=_two_groups(lr=0.2, weight_decay=0),
            optimizer=optax.partition(
                {True: optim.sgd(0.1, weight_decay=0.1), False: optax.sgd(0.2)}, _no_biases)),
        optimizer=_DECAYED_WEIGHTS),
    _row("frozen-trained", "0 param", None, frozen, optimizer=optax.sgd(0.1)),
    _row("maximize-missing", "0 param", "maximize-missing", sgd(lr=0.01, maximize=True),
        optimizer=optax.sgd(0.01)),
    _row("adam-coupled-decay-decoupled", "0 optimizer exp_avg", "adam-decoupled",
        adam(weight_decay=0.01), optimizer=optax.adamw(0.01, weight_decay=0.01)),
    _row("adamw-decay-in-gradient", "0 optimizer exp_avg", "adamw-coupled",
        adamw(weight_decay=0.01),
        optimizer=optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.01))),
    _row("adamw-optax-default", "0 param", "adamw-default-decay", adamw(),
        optimizer=optax.adamw(0.01)),
    _row("adamw-decay-without-lr", "0 param", "decay-without-lr", adamw(weight_decay=0.01),
        optimizer=optax.chain(optax.adam(0.01), optax.add_decayed_weights(-0.01))),
    _row("adam-epsilon-in-root", "0 param", "adam-epsilon", adam(),
        optimizer=optax.adam(0.01, eps=0.0, eps_root=1e-8)),
    _row("adam-epsilon-keras", "0 param", "adam-epsilon", adam(),
        optimizer=optax.adam(0.01, eps=1e-7)),
    # "another epsilon" is what the catalogue calls it too.
    _row("adam-epsilon-1.1e-8", "0 param", (None, "adam-epsilon"), adam(),
        optimizer=optax.adam(0.01, eps=1.1e-8)),
    _row("adam-uncorrected", "0 param", "adam-bias-correction", adam(),
        optimizer=_own_adam(lambda m, v, t: m / (jnp.sqrt(v) + 1e-8))),
    _row("adam-second-uncorrected", "0 param", (None, "adam-bias-correction"), adam(),
        optimizer=_own_adam(lambda m, v, t: m / (1 - 0.9**t) / (jnp.sqrt(v) + 1e-8))),
    _row("adam-epsilon-hat", "0 param", "adam-bias-correction", adam(),
        optimizer=_own_adam(
            lambda m, v, t: m / (jnp.sqrt(v) + 1e-8) * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t))),
    _row("adam-beta2-0.99", "0 optimizer exp_avg_sq", "adam-betas", adam(),
        optimizer=optax.adam(0.01, b2=0.99)),
    _row("adam-betas-exchanged", "0 optimizer exp_avg", "adam-betas", adam(),
        optimizer=optax.adam(0.01, b1=0.999, b2=0.9)),
    _row("adam-beta2-0.9990001", "0 optimizer exp_avg_sq", (None, "adam-betas"), adam(),
        optimizer=optax.adam(0.01, b2=0.9990001)),
    # Where a square falls at step 1, its corrected average does, and optax keeps the first one.
    _row("amsgrad-corrected-first", "1 param", "amsgrad-maximum", _AMSGRAD,
        optimizer=optax.amsgrad(0.01)),
    _row("amsgrad-missing", "1 param", "amsgrad-missing", _AMSGRAD, optimizer=optax.adam(0.01)),
    _row("nadam-of-optax", "0 param", None, partial(under("NAdam", 0.01), optimizer=_nadam(0.01)),
        optimizer=optax.nadam(0.01)),
    _row("rmsprop-epsilon", "0 param", "rmsprop-epsilon", rmsprop(),
        optimizer=optax.rmsprop(0.01, decay=0.99)),
    _row("rmsprop-decay", "0 optimizer square_avg", "rmsprop-decay", rmsprop(),
        optimizer=optax.rmsprop(0.01, eps_in_sqrt=False)),
    _row("rmsprop-all-defaults", "0 optimizer square_avg", "rmsprop-decay", rmsprop(),
        optimizer=optax.rmsprop(0.01)),
    _row("rmsprop-not-centered", "0 param", "rmsprop-centered", rmsprop(centered=True),
        optimizer=optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False)),
    _row("rmsprop-centered", "0 param", "rmsprop-centered", rmsprop(),
        optimizer=optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, centered=True)),
    _row("rmsprop-decay-not-scaled", "0 optimizer square_avg", "decay-after-scaling",
        rmsprop(weight_decay=0.01),
        optimizer=optax.chain(optax.scale_by_rms(0.99, eps_in_sqrt=False),
            optax.add_decayed_weights(0.01), optax.scale_by_learning_rate(0.01))),
    _row("adagrad-optax-default", "0 optimizer sum", "adagrad-accumulator", adagrad(),
        optimizer=optax.adagrad(0.01)),
    _row("adagrad-epsilon", "0 param", "adagrad-epsilon", adagrad(),
        optimizer=optax.adagrad(0.01, initial_accumulator_value=0.0)),
    # The first step has no decay of the rate.
    _row("adagrad-lr-decay-missing", "1 param", "adagrad-lr-decay", adagrad(lr_decay=0.1),
        optimizer=optim.adagrad(0.01)),
    _row("clip-epsilon", "0 param", "clip-epsilon", clipped(0.1),
        optimizer=optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))),
    _row("clip-by-value", "0 param", "clip-by-value", clipped(0.1),
        optimizer=optax.chain(optax.clip(0.1), optax.sgd(0.1))),
    _row("clip-per-tensor", "0 param", "clip-per-tensor", clipped(0.1),
        optimizer=optax.chain(_clip_each(0.1), optax.sgd(0.1))),
    _row("clip-missing", "0 param", "clip-missing", clipped(0.1), optimizer=optax.sgd(0.1)),
    _row("clip-after-momentum", "0 optimizer momentum_buffer", None, clipped(0.1, momentum=0.9),
        optimizer=optax.chain(optax.trace(0.9), optim.clip_grad_norm(0.1),
            optax.scale_by_learning_rate(0.1))),
    _row("unused-decays", "0 param unused.weight", "unused-parameter", unused,
        optimizer=optim.sgd(0.1, weight_decay=0.1)),
    _row("accumulation-missing", "0 param", "accumulation-missing", _ACCUMULATED,
        optimizer=optax.sgd(0.1)),
    # From update 40 on, where a user's schedule of the momentum stops.
    _row("momentum-lost-at-40", "40 optimizer momentum_buffer", None,
        partial(sgd(momentum=0.9), steps=44),
        optimizer=optax.inject_hyperparams(optax.sgd)(
            0.1, momentum=lambda count: jnp.where(count < 40, 0.9, 0.8))),
))

SCHEDULE = _kind("schedule", (
    # Eight updates at the first rate; the port's rate falls at update 2.
    _row("schedule-per-update", "2 param", "schedule-per-update",
        scheduled(partial(lr_scheduler.StepLR, step_size=2),
            optim.per_epoch(optim.step_lr(0.1, step_size=2), 4), steps_per_epoch=4, steps=10),
        optimizer=optax.sgd(optax.exponential_decay(0.1, 2, 0.1, staircase=True))),
    _row("schedule-missing", "1 param", "schedule-missing", _EXPONENTIAL, optimizer=optax.sgd(0.1)),
    _row("schedule-ahead", "0 param", "schedule-offset", _EXPONENTIAL,
        optimizer=optax.sgd(lambda count: 0.1 * 0.9 ** (count + 1))),
    _row("schedule-behind", "1 param", "schedule-offset", _EXPONENTIAL,
        optimizer=optax.sgd(lambda count: 0.1 * 0.9 ** jnp.maximum(count - 1, 0))),
    # A step late is what the catalogue calls an offset.
    _row("step-at-31", "30 param", "schedule-offset",
        scheduled(partial(lr_scheduler.StepLR, step_size=30),
            optim.step_lr(0.1, step_size=30), steps=36),
        optimizer=optax.sgd(lambda count: jnp.where(jnp.less(count, 31), 0.1, 0.01))),
    _row("milestone-at-31", "30 param", (None, "schedule-offset"),
        scheduled(partial(lr_scheduler.MultiStepLR, milestones=[30]),
            lambda count: jnp.where(count < 30, 0.1, 0.01), steps=36),
        optimizer=optax.sgd(lambda count: jnp.where(jnp.less(count, 31), 0.1, 0.01))),
    # At update 5 both rates are the lowest.
    _row("cosine-stays", "6 param", "cosine-end", _COSINE,
        optimizer=optax.sgd(optax.cosine_decay_schedule(0.1, 5, alpha=0.1))),
    _row("cosine-alpha", "1 param", "cosine-alpha", _COSINE,
        optimizer=optax.sgd(optax.cosine_decay_schedule(0.1, 5, alpha=0.01))),
    _row("linear-from-zero", "0 param", "linear-start", _LINEAR,
        optimizer=optax.sgd(optax.linear_schedule(0.0, 0.1, 5))),
    _row("step-smooth", "1 param", "step-smooth", _STEPPED,
        optimizer=optax.sgd(optax.exponential_decay(0.1, 3, 0.1))),
    _row("warm-up-too-long", "0 param", None,
        scheduled(partial(lr_scheduler.LambdaLR, lr_lambda=lambda t: min(1.0, (t + 1) / 5)),
            lambda count: 0.1 * jnp.minimum(1.0, (count + 1) / 5)),
        optimizer=optax.sgd(lambda count: 0.1 * jnp.minimum(1.0, (count + 1) / 6))),
    # OneCycleLR replaces SGD's momentum by 0.95, then 0.9, half way down, and 0.85. The first
    # buffer has none of it.
    _row("one-cycle-constant-momentum", "2 optimizer momentum_buffer", "one-cycle-momentum",
        _CYCLED_MOMENTUM, optimizer=optax.sgd(_ONE_CYCLE.lr, 0.9)),
    _row("one-cycle-highest-momentum", "1 optimizer momentum_buffer", "one-cycle-momentum",
        _CYCLED_MOMENTUM, optimizer=optax.sgd(_ONE_CYCLE.lr, 0.95)),
    _row("one-cycle-of-optax", "1 param", "one-cycle-shape",
        scheduled(partial(_OneCycle, cycle_momentum=False),
            optim.one_cycle_lr(0.2, total_steps=10, cycle_momentum=False).lr, steps=10),
        optimizer=optax.sgd(optax.cosine_onecycle_schedule(10, 0.2))),
    # The same path as long as the rate is constant, which it is before update 3.
    _row("heavy-ball-by-hand", "3 param", "momentum-lr-inside", _STEPPED_MOMENTUM,
        optimizer=_heavy_ball(_stairs, 0.9)),
    _row("trace-of-scaled-gradients", "3 param", "momentum-lr-inside", _STEPPED_MOMENTUM,
        optimizer=optax.chain(optax.scale_by_learning_rate(_stairs), optax.trace(0.9))),
    _row("rmsprop-momentum-of-optax", "3 param", "momentum-lr-inside",
        partial(rmsprop(lr=0.1, momentum=0.9), scheduler=_STEP,
            optimizer=optim.rmsprop(optim.step_lr(0.1, step_size=3), momentum=0.9)),
        optimizer=optax.rmsprop(_stairs, decay=0.99, eps_in_sqrt=False, momentum=0.9)),
))

INITIALISATION = _kind("initialisation", (
    _row("flax-default", "0 start", "init-lecun-normal", draw, init=_flax_start),
    _row("kaiming-uniform", "0 start", "init-kaiming-uniform", draw,
        init=_start(jax.nn.initializers.kaiming_uniform())),
    _row("glorot-uniform", "0 start", "init-glorot", draw,
        init=_start(jax.nn.initializers.glorot_uniform())),
    _row("fan-out", "0 start", "init-fan-out", draw,
        init=_start(jax.nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform"))),
    _row("normal-0.01", "0 start", "init-normal-std", normal_draw,
        init=_start(jax.nn.initializers.normal())),
    _row("zero-bias", "0 start 0.bias", "init-zero-bias", draw,
        init=_start(_TORCH_START, jax.nn.initializers.zeros)),
    # Each distribution is right, and the second weight is a function of the first.
    _row("key-reused", "0 start", "init-key-reuse", draw, init=_start(_TORCH_START, reused=True)),
    _row("bound-5-percent-larger", "0 start", None, draw,
        init=_start(jax.nn.initializers.variance_scaling(1.05**2 / 3, "fan_in", "uniform"))),
))

DATA = _kind("data", (
    _row("order-of-all", "0 batch x", "batch-order", regression, _shuffled),
    _row("order-of-second-epoch", "4 batch x", "batch-order", regression,
        partial(_shuffled, start=4)),
    _row("last-batch-dropped", "7 batch number of batches", "last-batch",
        lambda: _ragged(regression()), lambda case: case.but(port_batches=case.batches[:-1])),
    _row("last-batch-padded", "7 batch x", "last-batch", lambda: _ragged(regression()),
        lambda case: _at(case, 7, _padded)),
    _row("one-wrong-label", "5 batch y", None, classification,
        lambda case: _at(case, 5, _relabelled)),
    _row("targets-shifted", "3 batch y", None, regression,
        lambda case: _at(case, 3, lambda x, y: (x, np.roll(y, 1, axis=0)))),
    _row("scaled-by-256", "0 batch x", None, regression,
        lambda case: _inputs(case, lambda x: x * np.float32(255 / 256))),
    _row("normalised-in-half", "0 batch x", (None, "reduced-precision"), regression,
        lambda case: _inputs(case, lambda x: x.astype(np.float16).astype(np.float32))),
    _row("batch-repeated", "6 batch x", None, regression,
        lambda case: case.but(
            port_batches=[*case.batches[:6], case.batches[5], *case.batches[7:]])),
    _row("nan-in-one-row", "2 batch x", None, regression,
        lambda case: _at(case, 2, lambda x, y: (np.where(x == x[0, 0], np.nan, x), y))),
))

PRECISION = _kind("precision", (
    _row("bfloat16-inside", "0 output", "reduced-precision", regression,
        apply=_two_layers(lambda x: jnp.tanh(x.astype(jnp.bfloat16)).astype(x.dtype))),
    _row("float16-product", "0 output", "reduced-precision", regression,
        apply=_two_layers(lambda x: jnp.tanh(x).astype(jnp.float16).astype(x.dtype))),
    _row("float32-inputs", "0 output", "reduced-precision", regression,
        apply=lambda params, x: _two_layers(jnp.tanh)(
            params, (x.astype(jnp.float32) / 3).astype(x.dtype) * 3)),
    _row("float32-loss", "0 loss", "reduced-precision", regression,
        loss=lambda x, y: _mse(x.astype(jnp.float32), y.astype(jnp.float32))),
    _row("bfloat16-moment", "0 optimizer exp_avg", "reduced-precision", adam(),
        optimizer=optax.adam(0.01, mu_dtype=jnp.bfloat16)),
    # Nothing is converted: the constant itself has been rounded.
    _row("float32-constant", "0 loss", None,
        partial(regression, torch_loss=lambda x, y: 0.1 * functional.mse_loss(x, y),
            loss=lambda x, y: 0.1 * _mse(x, y)),
        loss=lambda x, y: np.float32(0.1) * _mse(x, y)),
    _row("float32-epsilon", "0 output", None, layer_norm,
        apply=_between(lambda params, x: params["bias"] + params["scale"]
            * (x - x.mean(1, keepdims=True))
            * jax.lax.rsqrt(x.var(1, keepdims=True) + np.float32(1e-5)))),
    # What follows is right in float64 and wrong in float32, where exp(100) is infinite and
    # exp(-110) is 0.
    _row("logsumexp-overflows", "* loss", None, partial(far_logits, 100.0),
        loss=_naive_cross_entropy),
    _row("log-of-softmax", "* loss", None, partial(far_logits, 100.0), loss=_log_of_softmax),
    # 1 - p has few digits left where p is near 1.
    _row("log-of-one-minus", "* loss", None,
        partial(logits, nn.BCEWithLogitsLoss(), losses.bce_with_logits, scale=5.0),
        loss=_naive_logits),
    # flax takes E[x^2] - E[x]^2.
    _row("fast-variance", "* output", None, partial(layer_norm, shift=30.0),
        apply=_between(partial(_flax_layer_norm, epsilon=1e-5))),
))

# fmt: on

TABLES = (LOSS, REDUCTION, LAYER, OPTIMIZER, SCHEDULE, INITIALISATION, DATA, PRECISION)
MUTATIONS = tuple(itertools.chain.from_iterable(TABLES))

NO_RIGHT_PASS = {
    "unused-decays": "a parameter whose gradient is always 0 makes any comparison inconclusive"
}
"""Mutations whose right port does not pass either, and why that is right."""


# Checks that are common.

COMMON = {
    "assert_close": "torch.testing.assert_close with its defaults, of output and loss",
    "1e-3": "loss, each gradient and each new parameter, elementwise: |a - b| <= 1e-3 |b| + 1e-6",
    "1e-5": "output, elementwise: |a - b| <= 1e-5",
    "mean": "output, loss, each gradient, each new parameter: means within 1e-3 |mean| + 1e-6",
}
"""All in float32, of torch's first batch, from the same parameters, on both sides."""

UNSEEN = ("initialisation", "data")
"""Kinds of mistakes that the common checks cannot see, since they give both sides the same."""


def common_checks(case: Case | Draw) -> dict[str, bool]:
    """Whether each of the common checks lets a port pass."""
    if isinstance(case, Draw):  # they start from the same parameters
        return dict.fromkeys(COMMON, True)
    try:
        theirs, ours = _torch_step(case), _port_step(case)
    except (TypeError, ValueError, IndexError):
        return dict.fromkeys(COMMON, False)  # a port that does not run

    def within(keys: Iterable[str], tolerance: Callable[[Any, Any], Any]) -> bool:
        return all(
            theirs[key].shape == ours[key].shape and bool(np.all(tolerance(ours[key], theirs[key])))
            for key in keys
        )

    def near(a: Any, b: Any) -> Any:
        return np.abs(a - b) <= 1e-3 * np.abs(b) + 1e-6

    later = [key for key in theirs if key != "output" and key in ours]
    with np.errstate(invalid="ignore"):
        return {
            "assert_close": _assert_close(theirs, ours),
            "1e-3": within(later, near),
            "1e-5": within(["output"], lambda a, b: np.abs(a - b) <= 1e-5),
            "mean": within(["output", *later], lambda a, b: near(np.mean(a), np.mean(b))),
        }


def _assert_close(theirs: Tensors, ours: Tensors) -> bool:
    try:
        for key in ("output", "loss"):
            torch.testing.assert_close(torch.tensor(ours[key]), torch.tensor(theirs[key]))
    except AssertionError:
        return False
    return True


def _torch_step(case: Case) -> Tensors:
    module, optimizer, loss_function = copy.deepcopy(
        (case.module, case.torch_optimizer, case.torch_loss)
    )
    x, y = (torch.tensor(array) for array in case.batches[0])
    with torch.random.fork_rng():
        output = module(x)
    loss = loss_function(output, y)
    loss.backward()
    params = dict(module.named_parameters())
    seen = {"output": output, "loss": loss}
    seen |= {f"grad/{k}": p.grad.clone() for k, p in params.items() if p.grad is not None}
    if case.settings.get("accumulate", 1) == 1:
        if before_step := case.settings.get("torch_before_step"):
            before_step(list(params.values()))
        optimizer.step()
    seen |= {f"param/{k}": p for k, p in params.items()}
    return {key: tensor.detach().numpy().copy() for key, tensor in seen.items()}


def _port_step(case: Case) -> Tensors:
    from_torch = case.settings.get("from_torch", torch_compat.from_torch)
    tensors = {k: p.detach().numpy() for k, p in case.module.named_parameters()}
    buffers = {k: b.numpy() for k, b in case.module.named_buffers() if b.is_floating_point()}
    to_torch = case.settings.get("to_torch")
    with jax.enable_x64(True):
        shapes = {name: array.shape for name, array in tensors.items()}
        to_torch = to_torch or layout.trace(from_torch, shapes).to_torch
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        params = jax.tree.map(jnp.asarray, from_torch(tensors))
        x, y = (jnp.asarray(array) for array in case.batches[0])

        def objective(params: Any) -> Any:
            stateful = case.settings.get("stateful")
            output = case.apply(params, buffers, x)[0] if stateful else case.apply(params, x)
            return case.loss(output, y), output

        (loss, output), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, _ = case.optimizer.update(grads, case.optimizer.init(params), params)
        new = to_torch(optax.apply_updates(params, updates))
        seen = {"output": np.asarray(output), "loss": np.asarray(loss)}
        seen |= {f"grad/{name}": array for name, array in to_torch(grads).items()}
        return seen | {f"param/{name}": array for name, array in new.items()}


# Running the table.


class Finding(NamedTuple):
    """What came of a mutation.

    Attributes:
      id: of the mutation.
      kind: of the mistake.
      caught: whether the verdict was ``"fail"``.
      found: step, phase and tensor, or what else happened.
      expected: step, phase and tensor.
      place: whether the two agree.
      trap: the name given.
      name: whether it is right.
      in_catalogue: whether there is a name to give.
      right_passes: whether the port without the mistake passes; None if that was not tried.
      through: which common checks let the mistake through.
      right_through: which let the right port through.
      seconds: that the judgement took.
    """

    id: str
    kind: str
    caught: bool
    found: str
    expected: str
    place: bool
    trap: str | None
    name: bool
    in_catalogue: bool
    right_passes: bool | None
    through: dict[str, bool]
    right_through: dict[str, bool]
    seconds: float


def run(mutated: Mutation, *, right: bool = True) -> Finding:
    """Judge a mutation, and the right port beside it.

    Args:
      mutated: what to judge.
      right: whether to judge the right port too.

    Returns:
      A `Finding`.
    """
    start = time.perf_counter()
    settings = {"precisions": mutated.precisions, "samples": 16}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verdict, trap, place = _judged(mutated.wrong(mutated.right()), settings)
        seconds = time.perf_counter() - start
        passes = None
        if right and mutated.id not in NO_RIGHT_PASS:
            passes = _judged(mutated.right(), settings)[0] == "pass"
        through = common_checks(mutated.wrong(mutated.right()))
        right_through = common_checks(mutated.right())
    step, phase, tensor = place or (None, "", "")
    return Finding(
        mutated.id,
        mutated.kind,
        verdict == "fail",
        f"{step} {phase} {tensor}" if place else verdict,
        f"{'*' if mutated.step is None else mutated.step} {mutated.phase} {mutated.tensor}",
        (phase, tensor) == (mutated.phase, mutated.tensor) and mutated.step in (None, step),
        trap,
        trap in mutated.traps,
        None not in mutated.traps,
        passes,
        through,
        right_through,
        seconds,
    )


def _judged(
    case: Case | Draw, settings: dict[str, Any]
) -> tuple[str, str | None, tuple[int, str, str] | None]:
    """The verdict or the error, the name, and step, phase and tensor."""
    try:
        report = case.check(**settings)
    except Exception as error:
        traceback.print_exc(limit=-3)
        return clean_runs.one_line(error), None, None
    where = report.first_divergence
    place = None if where is None else (where.step, where.phase, where.tensor)
    return report.verdict, report.trap, place


# The command.


def main() -> None:
    """Run the table and the clean runs, print both, and exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="Seeded mistakes in ports, and right ports.")
    parser.add_argument("--only", action="append", metavar="ID", help="these mutations alone")
    parser.add_argument("--no-right", action="store_true", help="not the mutations' right ports")
    parser.add_argument("--clean", type=int, default=200, help="how many clean runs")
    parser.add_argument("--json", type=Path, help="where to write everything")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {mutated.id: mutated for mutated in MUTATIONS}
    if unknown := set(options.only or ()) - known.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    chosen = [known[name] for name in options.only or known]
    count = 0 if options.only else options.clean

    start = time.perf_counter()
    mutations = clean_runs.progress("mutations", chosen)
    findings = [run(each, right=not options.no_right) for each in mutations]
    _print(findings, time.perf_counter() - start)
    start = time.perf_counter()
    seeds = clean_runs.progress("clean runs", range(count))
    alarms = [alarm for seed in seeds if (alarm := clean_runs.run(seed))]
    if count:
        print("\n" + clean_runs.summary(alarms, count, time.perf_counter() - start))
    if options.json:
        results = {
            "mutations": [finding._asdict() for finding in findings],
            "clean": count,
            "alarms": [alarm._asdict() for alarm in alarms],
        }
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    raise SystemExit(0 if _met(findings) and not alarms else 1)


def _met(findings: Sequence[Finding]) -> bool:
    """What is required: all caught, 19 of 20 in the right place, all named; right ports pass."""
    return (
        all(f.caught and f.name and f.right_passes is not False for f in findings)
        and sum(f.place for f in findings) >= 0.95 * len(findings)
        and (len(findings) >= 60 or len(findings) < len(MUTATIONS))
    )


def _print(findings: Sequence[Finding], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100, highlight=False)
    letters = dict(zip(COMMON, "abcd", strict=True))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("mistake", "at step, phase, tensor", "named", *letters.values()):
        table.add_column(column, no_wrap=column != "at step, phase, tensor", overflow="fold")
    for kind, group in itertools.groupby(findings, key=lambda finding: finding.kind):
        table.add_row(f"[bold]{kind}[/bold]")
        for f in group:
            place = f.found if f.place else f"! {f.found}, not {f.expected}"
            name = f"{'' if f.name else '! '}{f.trap or '-'}"
            table.add_row(f.id, place, name, *("x" if f.through[c] else "" for c in COMMON))
    console.print(table)
    total = len(findings)
    print(
        "\n!: not as foretold. x: a common check lets the mistake through. All four are made in\n"
        "float32, of torch's first batch, from the same parameters, on both sides:"
    )
    for check, meaning in COMMON.items():
        through = sum(f.through[check] for f in findings)
        visible = sum(f.through[check] for f in findings if f.kind not in UNSEEN)
        rejected = sum(not f.right_through[check] for f in findings)
        print(f"  {letters[check]}  {meaning}:")
        print(
            f"     {through} of {total} mistakes pass it, {visible} of them not in "
            f"{' or '.join(UNSEEN)}; {rejected} right ports fail"
        )
    print(
        f"No such check looks at {' or '.join(UNSEEN)}, where both sides start and train alike: "
        f"{sum(f.kind in UNSEEN for f in findings)} mistakes."
    )
    tried = [f for f in findings if f.right_passes is not None]
    failed = [f.id for f in tried if not f.right_passes]
    missing = set(parity.TRAPS).difference(*(mutated.traps for mutated in MUTATIONS))
    print(
        f"\n{total} mistakes: {sum(f.caught for f in findings)} caught, "
        f"{sum(f.place for f in findings)} at the right step, phase and tensor "
        f"({sum(f.expected.startswith('*') for f in findings)} by rounding alone, at no "
        "foretold step);\n"
        f"{sum(f.in_catalogue for f in findings)} in the catalogue, of which "
        f"{sum(f.in_catalogue and f.name for f in findings)} rightly named; of the others "
        f"{sum(not f.in_catalogue and not f.name for f in findings)} wrongly named; "
        f"{seconds:.0f} s\n"
        f"In the catalogue and not made here: {', '.join(sorted(missing)) or 'none'}\n"
        f"Their right ports: {len(tried)} judged, not passed: {', '.join(failed) or 'none'}"
    )
    for name, reason in NO_RIGHT_PASS.items():
        print(f"Not judged, {name}: {reason}")


if __name__ == "__main__":
    main()
