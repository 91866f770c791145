"""Right ports of networks, and layers as a user writes them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.parity.mutations.case import Case, Tensors
from tests.parity.mutations.ports import build, dense, features, normalise, numbers, pairs


def safe_norm(x: jax.Array) -> jax.Array:
    square = jnp.sum(x * x, axis=1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def first_largest(x: jax.Array) -> jax.Array:
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

    return build(module, through(function), batches=features(scale), **settings)


def through(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        hidden = dense(params["hidden"], x)
        own = params.get("function")
        hidden = function(hidden) if own is None else function(own, hidden)
        return dense(params["out"], hidden)

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
    return between(lambda: nn.LayerNorm(6), normalise, shift=shift)


def flax_layer_norm(params: Any, x: jax.Array, **settings: Any) -> Any:
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
        return dense(params["2"], hidden), buffers

    return build(
        lambda: nn.Sequential(nn.Linear(5, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 1)),
        apply,
        stateful=True,
    )


def flax_batch_norm(momentum: float) -> Callable[..., Any]:
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
        return dense(params["2"], hidden), buffers

    return apply


def square() -> Case:
    """Two layers of 6 to 6, in flax.linen."""

    class Network(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = flax.linen.tanh(flax.linen.Dense(6)(x))
            x = flax.linen.tanh(flax.linen.Dense(6)(x))
            return flax.linen.Dense(1)(x)

    return build(
        lambda: nn.Sequential(
            nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 1)
        ),
        Network().apply,
        batches=pairs(numbers(8, 8, 6), numbers(8, 8, 1, seed=1)),
        from_torch=flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}),
    )


def flax_names(
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


class Convolutions(flax.linen.Module):
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

    return build(
        module,
        Convolutions(averaged=averaged).apply,
        batches=pairs(numbers(8, 4, 2, 6, 6), numbers(8, 4, 2, seed=1)),
        from_torch=convolution_names((2, 3, 1, 0)),
    )


def convolution_names(axes: tuple[int, ...]) -> Callable[[Tensors], Any]:
    return lambda tensors: {
        "params": {
            "conv": {"kernel": tensors["0.weight"].transpose(axes), "bias": tensors["0.bias"]},
            "out": {"kernel": tensors["4.weight"].T, "bias": tensors["4.bias"]},
        }
    }


def proper_convolution(variables: Any, x: jax.Array) -> jax.Array:
    kernel, bias = (variables["params"]["conv"][name] for name in ("kernel", "bias"))
    conv = jax.scipy.signal.convolve2d
    single = lambda maps, filters: sum(  # noqa: E731
        conv(maps[i], filters[..., i], mode="valid") for i in range(2)
    )
    x = jnp.stack([jax.vmap(single, (0, None))(x, kernel[..., o]) for o in range(3)], -1) + bias
    x = flax.linen.max_pool(flax.linen.relu(x), (2, 2), strides=(2, 2))
    return dense(variables["params"]["out"], x.transpose(0, 3, 1, 2).reshape(len(x), -1))


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

    return build(
        Detached if detached else _Residual,
        partial(residual_network, before=jax.lax.stop_gradient if detached else lambda x: x),
    )


def residual_network(
    params: Any,
    x: jax.Array,
    before: Callable[[jax.Array], jax.Array] = lambda x: x,
    after: Callable[[jax.Array], jax.Array] = lambda x: x,
) -> jax.Array:
    x = jnp.tanh(dense(params["hidden"], x))
    return dense(params["out"], x + after(jnp.tanh(dense(params["branch"], before(x)))))


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(5, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T)


def tied() -> Case:
    """An autoencoder whose decoder is its encoder, transposed."""
    x = numbers(8, 8, 5)
    return build(
        _Tied,
        lambda params, x: jnp.tanh(x @ params["encoder"]) @ params["encoder"].T,
        batches=pairs(x, x),
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
        return dense(params["out"], jnp.tanh(table[x].sum(1)))

    return build(
        _Embedded,
        apply,
        batches=pairs(tokens, numbers(8, 8, 1, seed=1)),
        from_torch=lambda tensors: {
            "table": tensors["embedding.weight"],
            "out": {"kernel": tensors["out.weight"].T, "bias": tensors["out.bias"]},
        },
    )
