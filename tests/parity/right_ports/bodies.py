"""Families of layers: dense networks, normalisations, convolutions, pooling, dropout, tables."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen
from torch import nn
from torch.nn import functional

from tests.parity.right_ports.parts import Body, Layer, Params, below, linear, normal, of_function

__all__ = ["BODIES"]

Rng = np.random.Generator

# Activations.

ACTIVATIONS: dict[str, tuple[Callable[[], nn.Module], Callable[[jax.Array], jax.Array]]] = {
    "relu": (nn.ReLU, jax.nn.relu),
    "tanh": (nn.Tanh, jnp.tanh),
    "sigmoid": (nn.Sigmoid, jax.nn.sigmoid),
    "gelu": (nn.GELU, partial(jax.nn.gelu, approximate=False)),
    "gelu tanh": (partial(nn.GELU, approximate="tanh"), jax.nn.gelu),
    "silu": (nn.SiLU, jax.nn.silu),
    "leaky relu": (partial(nn.LeakyReLU, 0.2), partial(jax.nn.leaky_relu, negative_slope=0.2)),
    "softplus": (nn.Softplus, jax.nn.softplus),
    "hardswish": (nn.Hardswish, jax.nn.hard_swish),
    "hardsigmoid": (nn.Hardsigmoid, jax.nn.hard_sigmoid),
    "hardtanh": (nn.Hardtanh, jax.nn.hard_tanh),
    "relu6": (nn.ReLU6, jax.nn.relu6),
    "elu": (nn.ELU, jax.nn.elu),
    "celu": (partial(nn.CELU, 0.7), partial(jax.nn.celu, alpha=0.7)),
    "selu": (nn.SELU, jax.nn.selu),
    "mish": (nn.Mish, jax.nn.mish),
    "softsign": (nn.Softsign, jax.nn.soft_sign),
    "logsigmoid": (nn.LogSigmoid, jax.nn.log_sigmoid),
    "softmax": (partial(nn.Softmax, dim=-1), jax.nn.softmax),
    "tanhshrink": (nn.Tanhshrink, lambda x: x - jnp.tanh(x)),
    "softshrink": (
        nn.Softshrink,
        lambda x: jnp.where(x > 0.5, x - 0.5, jnp.where(x < -0.5, x + 0.5, 0.0)),
    ),
}


def activation(name: str) -> Layer:
    torch_activation, function = ACTIVATIONS[name]
    return Layer(torch_activation(), lambda params, x: function(x))


def dense(inputs: int, outputs: int, **settings: Any) -> Layer:
    return Layer(nn.Linear(inputs, outputs, **settings), linear)


def _sizes(rng: Rng) -> tuple[int, int]:
    return int(rng.integers(3, 7)), int(rng.integers(4, 9))


def _activated(name: str, rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    return Body([dense(inputs, width), activation(name)], normal(inputs), width)


def _prelu(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    slopes = int(rng.choice([1, width]))
    prelu = Layer(
        nn.PReLU(slopes),
        lambda params, x: jnp.where(x > 0, x, params["weight"] * x),
    )
    return Body([dense(inputs, width), prelu], normal(inputs), width)


def _glu(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    layers = [dense(inputs, 2 * width), Layer(nn.GLU(), lambda params, x: jax.nn.glu(x))]
    return Body(layers, normal(inputs), width)


def _maxout(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    maximum = of_function(
        lambda x: x.reshape(len(x), width, 2).amax(2),
        lambda x: x.reshape(len(x), width, 2).max(2),
    )
    return Body([dense(inputs, 2 * width), maximum], normal(inputs), width)


# Dense networks.


class _Residual(nn.Module):
    def __init__(self, width: int, *, gated: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(1)) if gated else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.inner(x))
        return x + (y if self.gate is None else self.gate * y)


def _residual(rng: Rng, *, gated: bool) -> Body:
    inputs, width = _sizes(rng)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        y = jnp.tanh(linear(below("inner", params), x))
        return x + (params["gate"] * y if gated else y)

    blocks = [Layer(_Residual(width, gated=gated), apply) for _ in range(2)]
    return Body([dense(inputs, width), *blocks], normal(inputs), width)


def _zero_head(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    return Body([dense(inputs, width), activation("tanh")], normal(inputs), width, head="zero")


class _LoRA(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(False)
        self.a = nn.Parameter(torch.randn(2, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


def _lora(rng: Rng) -> Body:
    inputs, width = _sizes(rng)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        base = jax.lax.stop_gradient(below("base", params))
        return linear(base, x) + x @ params["a"].T @ params["b"].T

    layers = [Layer(_LoRA(inputs, width), apply), activation("tanh")]
    return Body(layers, normal(inputs), width, frozen=("0.base.",))


def _frozen(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    layers = [dense(inputs, width), activation("relu"), dense(width, width), activation("tanh")]
    layers[0].module.requires_grad_(False)
    return Body(layers, normal(inputs), width, frozen=("0.",))


def _shared_layer(rng: Rng) -> Body:
    """The same layer applied twice."""
    inputs, width = _sizes(rng)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(torch.tanh(self.inner(x)))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        inner = below("inner", params)
        return linear(inner, jnp.tanh(linear(inner, x)))

    return Body([dense(inputs, width), Layer(Twice(), apply)], normal(inputs), width)


def _bilinear(rng: Rng) -> Body:
    inputs, width = _sizes(rng)

    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.form = nn.Bilinear(inputs, inputs, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.form(x, x)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        y = jnp.einsum("bi,oij,bj->bo", x, params["form.weight"], x)
        return y + params["form.bias"]

    return Body([Layer(Squared(), apply)], normal(inputs), width)


def _experts(rng: Rng) -> Body:
    """A gated sum of three linear maps."""
    inputs, width = _sizes(rng)

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(inputs, 3)
            self.weight = nn.Parameter(torch.randn(3, inputs, width) / inputs**0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("be,bi,eio->bo", self.gate(x).softmax(-1), x, self.weight)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        gate = jax.nn.softmax(linear(below("gate", params), x))
        return jnp.einsum("be,bi,eio->bo", gate, x, params["weight"])

    return Body([Layer(Experts(), apply)], normal(inputs), width)


def _flax_dense(rng: Rng) -> Body:
    """Layers of flax, whose parameters are put together from torch's."""
    inputs, width = _sizes(rng)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        kernel = {"kernel": params["weight"].T, "bias": params["bias"]}
        return linen.Dense(width).apply({"params": kernel}, x)  # type: ignore[return-value]

    return Body([Layer(nn.Linear(inputs, width), apply), activation("gelu")], normal(inputs), width)


def _wide(rng: Rng) -> Body:
    """One million parameters."""
    width = int(rng.choice([512, 700]))
    layers = [dense(784, width), activation("relu"), dense(width, width), activation("relu")]
    return Body(layers, normal(784), width)


def _dropout(rng: Rng, *, of_tokens: bool = False) -> Body:
    """The mask comes with the inputs, since no two libraries draw the same."""
    inputs, width = _sizes(rng)
    drawn = normal(inputs)

    def with_mask(rng: Rng, rows: int) -> np.ndarray:
        mask = (rng.random((rows, width)) < 0.7) / 0.7
        return np.concatenate([drawn(rng, rows), mask.astype(np.float32)], 1)

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(inputs, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.inner(x[:, :inputs])) * x[:, inputs:]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return jax.nn.relu(linear(below("inner", params), x[:, :inputs])) * x[:, inputs:]

    return Body([Layer(Masked(), apply), dense(width, width)], with_mask, width)


# Normalisations.


def _batch_statistics(axes: tuple[int, ...], *, tracked: bool, affine: bool = True) -> Any:
    shape = lambda a, x: a.reshape(1, -1, *(1,) * (x.ndim - 2))  # noqa: E731

    def normalised(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        mean, variance = x.mean(axes), x.var(axes)
        y = (x - shape(mean, x)) / jnp.sqrt(shape(variance, x) + 1e-5)
        if affine:
            y = y * shape(params["weight"], x) + shape(params["bias"], x)
        count = x.size // x.shape[1]
        return y, mean, variance * count / (count - 1)

    def with_buffers(params: Params, buffers: Params, x: jax.Array) -> Any:
        y, mean, variance = normalised(params, x)
        now = {"running_mean": mean, "running_var": variance}
        return y, {k: 0.9 * buffers[k] + 0.1 * v for k, v in now.items()}

    return with_buffers if tracked else lambda params, x: normalised(params, x)[0]


def _batch_norm_1d(rng: Rng, *, tracked: bool, bias: bool) -> Body:
    inputs, width = _sizes(rng)
    module = nn.BatchNorm1d(width, track_running_stats=tracked)
    norm = Layer(module, _batch_statistics((0,), tracked=tracked), tracked)
    layers = [dense(inputs, width, bias=bias), norm, activation("tanh")]
    return Body(layers, normal(inputs), width, least_rows=4)


def _batch_norm_2d(rng: Rng, *, tracked: bool, bias: bool) -> Body:
    width = int(rng.integers(2, 5))
    module = nn.BatchNorm2d(width, track_running_stats=tracked)
    norm = Layer(module, _batch_statistics((0, 2, 3), tracked=tracked), tracked)
    layers = [_convolution(2, width, 3, dims=2, bias=bias), norm, activation("relu"), _flatten()]
    return Body(layers, normal(2, 5, 5), width * 9, least_rows=2)


def _flax_batch_norm(rng: Rng) -> Body:
    """flax's batch normalisation, whose running variance is not torch's."""
    inputs, width = _sizes(rng)
    module = nn.BatchNorm1d(width, track_running_stats=False)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        zeros = {"mean": jnp.zeros(width, x.dtype), "var": jnp.ones(width, x.dtype)}
        own = {"scale": params["weight"], "bias": params["bias"]}
        norm = linen.BatchNorm(use_running_average=False, use_fast_variance=False)
        y, _ = norm.apply({"params": own, "batch_stats": zeros}, x, mutable=["batch_stats"])
        return y

    layers = [dense(inputs, width), Layer(module, apply), activation("relu")]
    return Body(layers, normal(inputs), width, least_rows=4)


def _layer_norm(rng: Rng, *, of_flax: bool) -> Body:
    inputs, width = _sizes(rng)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        if of_flax:
            own = {"scale": params["weight"], "bias": params["bias"]}
            return linen.LayerNorm(epsilon=1e-5).apply({"params": own}, x)  # type: ignore
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(variance + 1e-5) * params["weight"] + params["bias"]

    layers = [dense(inputs, width), Layer(nn.LayerNorm(width), apply), activation("gelu")]
    return Body(layers, normal(inputs), width)


def _rms_norm(rng: Rng) -> Body:
    inputs, width = _sizes(rng)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * params["weight"]

    layers = [dense(inputs, width), Layer(nn.RMSNorm(width, eps=1e-6), apply), activation("silu")]
    return Body(layers, normal(inputs), width)


def _float32_norm(rng: Rng) -> Body:
    """An RMS normalisation that computes in float32 whatever it is given, as many do."""
    inputs, width = _sizes(rng)

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.float()
            y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
            return self.weight * y.type_as(x)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-6)
        return params["weight"] * y.astype(x.dtype)

    layers = [dense(inputs, width), Layer(Norm(), apply), activation("tanh")]
    return Body(layers, normal(inputs), width)


def _group_norm(rng: Rng, *, instances: bool) -> Body:
    groups = 4 if instances else 2
    module = nn.InstanceNorm2d(4, affine=True) if instances else nn.GroupNorm(2, 4)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        parts = x.reshape(len(x), groups, -1)
        mean, variance = parts.mean(-1, keepdims=True), parts.var(-1, keepdims=True)
        y = ((parts - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape)
        return y * params["weight"][:, None, None] + params["bias"][:, None, None]

    bias = bool(rng.random() < 0.5)
    layers = [
        _convolution(2, 4, 3, dims=2, bias=bias),
        Layer(module, apply),
        activation("relu"),
        _flatten(),
    ]
    return Body(layers, normal(2, 5, 5), 36)


def _weight_norm(rng: Rng) -> Body:
    inputs, width = _sizes(rng)
    module = nn.utils.parametrizations.weight_norm(nn.Linear(inputs, width))

    def apply(params: Params, x: jax.Array) -> jax.Array:
        g, v = (params[f"parametrizations.weight.original{i}"] for i in (0, 1))
        weight = g * v / jnp.sqrt(jnp.sum(v * v, 1, keepdims=True))
        return x @ weight.T + params["bias"]

    return Body([Layer(module, apply), activation("tanh")], normal(inputs), width)


# Convolutions and pooling.


def _flatten() -> Layer:
    return Layer(nn.Flatten(), lambda params, x: x.reshape(len(x), -1))


def _numbers(dims: int) -> tuple[str, str, str]:
    space = "HW"[:dims]
    return f"NC{space}", f"OI{space}", f"NC{space}"


def _convolution(inputs: int, outputs: int, size: int, *, dims: int, **settings: Any) -> Layer:
    module = (nn.Conv1d if dims == 1 else nn.Conv2d)(inputs, outputs, size, **settings)
    stride, padding, dilation = (
        settings.get(name, usual)
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
    )

    def apply(params: Params, x: jax.Array) -> jax.Array:
        kind = settings.get("padding_mode", "zeros")
        pads = [(padding, padding)] * dims
        if kind != "zeros":
            mode = {"circular": "wrap", "reflect": "reflect"}[kind]
            x, pads = jnp.pad(x, [(0, 0), (0, 0), *pads], mode=mode), [(0, 0)] * dims
        y = jax.lax.conv_general_dilated(
            x,
            params["weight"],
            (stride,) * dims,
            pads,
            rhs_dilation=(dilation,) * dims,
            dimension_numbers=_numbers(dims),
            feature_group_count=settings.get("groups", 1),
        )
        return y + params["bias"].reshape(-1, *(1,) * dims) if "bias" in params else y

    return Layer(module, apply)


def _transposed(inputs: int, outputs: int, size: int, *, dims: int, **settings: Any) -> Layer:
    kind = nn.ConvTranspose1d if dims == 1 else nn.ConvTranspose2d
    stride, padding, dilation, more = (
        settings.get(name, usual)
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("output_padding", 0))
    )
    edge = dilation * (size - 1) - padding

    def apply(params: Params, x: jax.Array) -> jax.Array:
        space = tuple(range(2, 2 + dims))
        kernel = jnp.flip(params["weight"], space).swapaxes(0, 1)
        y = jax.lax.conv_general_dilated(
            x,
            kernel,
            (1,) * dims,
            [(edge, edge + more)] * dims,
            lhs_dilation=(stride,) * dims,
            rhs_dilation=(dilation,) * dims,
            dimension_numbers=_numbers(dims),
        )
        return y + params["bias"].reshape(-1, *(1,) * dims)

    return Layer(kind(inputs, outputs, size, **settings), apply)


def _shape_after(layers: list[Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
    x = torch.zeros(2, *shape)
    with torch.no_grad():
        for layer in layers:
            x = layer.module(x)
    return tuple(x.shape[1:])


def _flattened(layers: list[Layer], shape: tuple[int, ...]) -> Body:
    features = int(np.prod(_shape_after(layers, shape)))
    return Body([*layers, _flatten()], normal(*shape), features)


def _convolved(rng: Rng, *, dims: int, **settings: Any) -> Body:
    shape = (4, *(7,) * dims)
    layers = [_convolution(4, 4, 3, dims=dims, **settings), activation("tanh")]
    return _flattened(layers, shape)


def _deconvolved(rng: Rng, *, dims: int, **settings: Any) -> Body:
    shape = (2, *(3,) * dims)
    layers = [_transposed(2, 3, 3, dims=dims, **settings), activation("tanh")]
    return _flattened(layers, shape)


def _window(kind: str, size: int, stride: int, padding: int, dims: int, counted: bool) -> Any:
    """A pooling of torch's."""

    def apply(params: None, x: jax.Array) -> jax.Array:
        window = (1, 1, *(size,) * dims), (1, 1, *(stride,) * dims)
        pads = [(0, 0), (0, 0), *[(padding, padding)] * dims]
        if kind == "max":
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *window, pads)
        added = jax.lax.reduce_window(x, 0.0, jax.lax.add, *window, pads)
        if counted:
            return added / size**dims
        return added / jax.lax.reduce_window(jnp.ones_like(x), 0.0, jax.lax.add, *window, pads)

    return apply


def _pooled(rng: Rng, *, kind: str, dims: int, padding: int = 0, counted: bool = True) -> Body:
    names = {("max", 1): nn.MaxPool1d, ("max", 2): nn.MaxPool2d}
    names |= {("avg", 1): nn.AvgPool1d, ("avg", 2): nn.AvgPool2d}
    size, stride = 3, int(rng.choice([1, 2]))
    further = {} if kind == "max" else {"count_include_pad": counted}
    pool = Layer(
        names[kind, dims](size, stride, padding=padding, **further),
        _window(kind, size, stride, padding, dims, counted),
    )
    layers = [_convolution(2, 3, 3, dims=dims), pool, activation("tanh")]
    return _flattened(layers, (2, *(8,) * dims))


def _adaptive(rng: Rng, *, kind: str) -> Body:
    """Of six columns, each of three outputs pools two."""
    pooled = {"max": nn.AdaptiveMaxPool2d, "avg": nn.AdaptiveAvgPool2d}[kind]
    pool = Layer(pooled(3), _window(kind, 2, 2, 0, 2, counted=True))
    return _flattened([_convolution(2, 3, 3, dims=2), pool, activation("tanh")], (2, 8, 8))


def _global_pool(rng: Rng) -> Body:
    width = int(rng.integers(3, 6))
    pool = of_function(lambda x: x.mean((2, 3)), lambda x: x.mean((2, 3)))
    layers = [_convolution(2, width, 3, dims=2, padding=1), activation("relu"), pool]
    return Body(layers, normal(2, 5, 5), width)


def _squeeze(rng: Rng) -> Body:
    """Channels scaled by a network of their means."""

    class Squeeze(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.sigmoid(self.fc(x.mean((2, 3))))[:, :, None, None]

    def apply(params: Params, x: jax.Array) -> jax.Array:
        scale = jax.nn.sigmoid(linear(below("fc", params), x.mean((2, 3))))
        return x * scale[:, :, None, None]

    return _flattened([_convolution(2, 4, 3, dims=2), Layer(Squeeze(), apply)], (2, 5, 5))


def _shuffled_pixels(rng: Rng) -> Body:
    def shuffle(params: None, x: jax.Array) -> jax.Array:
        n, c, h, w = x.shape
        x = x.reshape(n, c // 4, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3)
        return x.reshape(n, c // 4, 2 * h, 2 * w)

    layers = [_convolution(2, 8, 3, dims=2), Layer(nn.PixelShuffle(2), shuffle)]
    return _flattened([*layers, activation("relu")], (2, 5, 5))


def _autoencoder(rng: Rng, *, bottleneck: bool) -> Body:
    """Images in, images out."""
    width = int(rng.integers(3, 6))
    upsampled = of_function(
        lambda x: functional.interpolate(x, scale_factor=2),
        lambda x: x.repeat(2, 2).repeat(2, 3),
    )
    decoder = (
        [_transposed(width, 1, 2, dims=2, stride=2)]
        if bottleneck
        else [upsampled, _convolution(width, 1, 3, dims=2, padding=1)]
    )
    layers = [_convolution(1, width, 2, dims=2, stride=2), activation("tanh"), *decoder]
    return Body(layers, normal(1, 8, 8), 1, "image")


# Tables in float32.


def _scaled_by_table(rng: Rng, *, where: str) -> Body:
    """A table that is no parameter: a buffer, an attribute, or made in the forward pass."""
    inputs, width = _sizes(rng)
    numbers = np.sin(np.arange(width, dtype=np.float32) / 3).astype(np.float32)

    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            table = torch.from_numpy(numbers)
            if where == "buffer":
                self.register_buffer("table", table)
            else:
                self.table = table

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if where == "forward":
                angles = torch.arange(width, dtype=torch.float32) / 3
                return x + torch.sin(angles).to(x.dtype)
            return x + self.table.to(x.dtype)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        if where == "forward":
            return x + jnp.sin(jnp.arange(width, dtype=jnp.float32) / 3).astype(x.dtype)
        return x + jnp.asarray(numbers, x.dtype)

    layers = [dense(inputs, width), Layer(Added(), apply), activation("tanh")]
    return Body(layers, normal(inputs), width)


BODIES: dict[str, Callable[[Rng], Body]] = {
    **{f"activation {name}": partial(_activated, name) for name in ACTIVATIONS},
    "activation prelu": _prelu,
    "activation glu": _glu,
    "activation maxout": _maxout,
    "dense residual": partial(_residual, gated=False),
    "dense residual with a zero gate": partial(_residual, gated=True),
    "dense zero head": _zero_head,
    "dense lora": _lora,
    "dense frozen": _frozen,
    "dense layer applied twice": _shared_layer,
    "dense bilinear": _bilinear,
    "dense experts": _experts,
    "dense of flax": _flax_dense,
    "dense dropout": _dropout,
    "norm batch 1d with buffers": partial(_batch_norm_1d, tracked=True, bias=False),
    "norm batch 1d with buffers and bias": partial(_batch_norm_1d, tracked=True, bias=True),
    "norm batch 1d": partial(_batch_norm_1d, tracked=False, bias=False),
    "norm batch 1d with bias": partial(_batch_norm_1d, tracked=False, bias=True),
    "norm batch 2d with buffers and bias": partial(_batch_norm_2d, tracked=True, bias=True),
    "norm batch 2d with bias": partial(_batch_norm_2d, tracked=False, bias=True),
    "norm batch 2d with buffers": partial(_batch_norm_2d, tracked=True, bias=False),
    "norm batch of flax with bias": _flax_batch_norm,
    "norm layer": partial(_layer_norm, of_flax=False),
    "norm layer of flax": partial(_layer_norm, of_flax=True),
    "norm rms": _rms_norm,
    "norm rms in float32": _float32_norm,
    "norm group": partial(_group_norm, instances=False),
    "norm instance": partial(_group_norm, instances=True),
    "norm weight": _weight_norm,
    "convolution 1d": partial(_convolved, dims=1),
    "convolution 1d dilated": partial(_convolved, dims=1, dilation=2),
    "convolution 1d strided": partial(_convolved, dims=1, stride=2, padding=1),
    "convolution 2d grouped": partial(_convolved, dims=2, groups=2),
    "convolution 2d depthwise": partial(_convolved, dims=2, groups=4, bias=False),
    "convolution 2d strided": partial(_convolved, dims=2, stride=2, padding=1),
    "convolution 2d dilated": partial(_convolved, dims=2, dilation=2),
    "convolution 2d circular": partial(_convolved, dims=2, padding=1, padding_mode="circular"),
    "convolution 2d reflected": partial(_convolved, dims=2, padding=1, padding_mode="reflect"),
    "convolution transposed 1d": partial(_deconvolved, dims=1, stride=2, padding=1),
    "convolution transposed 2d": partial(
        _deconvolved, dims=2, stride=2, padding=1, output_padding=1
    ),
    "convolution transposed dilated": partial(_deconvolved, dims=2, dilation=2),
    "pooling max 1d": partial(_pooled, kind="max", dims=1),
    "pooling max 2d": partial(_pooled, kind="max", dims=2),
    "pooling max 2d padded": partial(_pooled, kind="max", dims=2, padding=1),
    "pooling mean 1d": partial(_pooled, kind="avg", dims=1),
    "pooling mean 2d padded": partial(_pooled, kind="avg", dims=2, padding=1),
    "pooling mean 2d uncounted": partial(_pooled, kind="avg", dims=2, padding=1, counted=False),
    "pooling adaptive max": partial(_adaptive, kind="max"),
    "pooling adaptive mean": partial(_adaptive, kind="avg"),
    "pooling global": _global_pool,
    "image squeeze": _squeeze,
    "image pixel shuffle": _shuffled_pixels,
    "image autoencoder": partial(_autoencoder, bottleneck=True),
    "image autoencoder upsampled": partial(_autoencoder, bottleneck=False),
    "table as a buffer": partial(_scaled_by_table, where="buffer"),
    "table as an attribute": partial(_scaled_by_table, where="attribute"),
    "table of the forward pass": partial(_scaled_by_table, where="forward"),
    "size of a million": _wide,
}
