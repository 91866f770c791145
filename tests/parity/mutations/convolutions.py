"""Mistakes in convolutions, pooling and resizing.

The maps are averaged at the end, so those of another size fit too, and differ in the output.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import nn
from torch.nn import functional

from tests.parity.mutations.case import Case, of_kind, row
from tests.parity.mutations.ports import linear, named, numbers

_IN, _OUT, _LENGTH = 4, 4, 8


class _Averaged(nn.Module):
    def __init__(self, layer: Any, channels: int) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(channels, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = torch.tanh(self.layer(x))
        return self.out(maps.mean(tuple(range(2, maps.dim()))))


def averaged(
    layer: Callable[[], Any],
    function: Callable[[Any, jax.Array], jax.Array],
    *,
    channels: int = _OUT,
    dims: int = 1,
) -> Case:
    """A layer of maps, and one of each channel's average."""
    return named(
        lambda: _Averaged(layer(), channels),
        _maps(function),
        numbers(8, 4, _IN, *[_LENGTH] * dims),
        numbers(8, 4, 2, seed=1),
    )


def _maps(function: Callable[[Any, jax.Array], jax.Array]) -> Callable[..., Any]:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        maps = jnp.tanh(function(params, x))
        return linear(params, "out", maps.mean(tuple(range(2, maps.ndim))))

    return apply


def _conv(params: Any, x: jax.Array, padding: Any = ((0, 0),), **settings: Any) -> jax.Array:
    """In torch's layout."""
    weight, bias = params["layer.weight"], params["layer.bias"]
    dims = x.ndim - 2
    stride = settings.pop("stride", 1)
    places = "HW"[:dims]
    padding = padding if isinstance(padding, str) else padding * dims
    maps = jax.lax.conv_general_dilated(
        x,
        weight,
        (stride,) * dims,
        padding,
        dimension_numbers=(f"NC{places}", f"OI{places}", f"NC{places}"),
        **settings,
    )
    return maps + bias.reshape(-1, *[1] * dims)


def _only(params: Any) -> Any:
    """The parameters of the only convolution of several layers."""
    return {f"layer.{name}": params[f"layer.1.{name}"] for name in ("weight", "bias")}


def _transposed(
    params: Any, x: jax.Array, *, padding: Any = ((1, 2),), flipped: bool = True
) -> jax.Array:
    """Torch's ConvTranspose1d of stride 2, padding 1 and output padding 1."""
    weight = params["layer.weight"]
    maps = jax.lax.conv_general_dilated(
        x,
        weight[..., ::-1] if flipped else weight,
        (1,),
        padding,
        lhs_dilation=(2,),
        dimension_numbers=("NCH", "IOH", "NCH"),
    )
    return maps + params["layer.bias"][:, None]


def _wrapped(params: Any, x: jax.Array) -> jax.Array:
    return _conv(params, jnp.pad(x, ((0, 0), (0, 0), (1, 1)), mode="wrap"))


def _windows(
    x: jax.Array, start: float, function: Callable[..., Any], padding: tuple[int, int] = (1, 1)
) -> jax.Array:
    """Over three neighbours."""
    return jax.lax.reduce_window(
        x, start, function, (1, 1, 3), (1, 1, 1), ((0, 0), (0, 0), padding)
    )


def _average(params: Any, x: jax.Array, *, counted: bool = True) -> jax.Array:
    size = 3.0 if counted else _windows(jnp.ones_like(x), 0.0, jax.lax.add)
    return _windows(x, 0.0, jax.lax.add) / size


def _largest(params: Any, x: jax.Array, *, outside: float = -jnp.inf) -> jax.Array:
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=outside)
    return _windows(padded, -jnp.inf, jax.lax.max, (0, 0))


def _enlarged(params: Any, x: jax.Array, *, corners: bool = True) -> jax.Array:
    """Twice as long, by lines between neighbours."""
    if not corners:
        return jax.image.resize(x, (*x.shape[:2], 2 * _LENGTH), "linear")
    at = jnp.arange(2 * _LENGTH) * ((_LENGTH - 1) / (2 * _LENGTH - 1))
    low = jnp.minimum(at.astype(int), _LENGTH - 2)
    return x[..., low] * (1 - (at - low)) + x[..., low + 1] * (at - low)


def _without_group(params: Any, x: jax.Array) -> jax.Array:
    """Every second channel in one group."""
    return _conv(params, x[:, jnp.array([0, 2, 1, 3])], feature_group_count=2)


_TRANSPOSED = partial(
    averaged, lambda: nn.ConvTranspose1d(_IN, _OUT, 3, 2, padding=1, output_padding=1), _transposed
)


# fmt: off

CONVOLUTION = of_kind("convolution", (
    # XLA pads (0, 1) where torch pads (1, 1).
    row("conv-strided-same", "0 output", "conv-padding",
        partial(averaged, lambda: nn.Conv2d(_IN, _OUT, 3, 2, padding=1),
            partial(_conv, padding=((1, 1),), stride=2), dims=2),
        apply=_maps(partial(_conv, padding="SAME", stride=2))),
    row("conv-stride-missing", "0 output", None,
        partial(averaged, lambda: nn.Conv1d(_IN, _OUT, 3, 2), partial(_conv, stride=2)),
        apply=_maps(_conv)),
    row("conv-dilation-ignored", "0 output", None,
        partial(averaged, lambda: nn.Conv1d(_IN, _OUT, 3, padding=2, dilation=2),
            partial(_conv, padding=((2, 2),), rhs_dilation=(2,))),
        apply=_maps(partial(_conv, padding=((1, 1),)))),
    row("conv-groups-interleaved", "0 output", None,
        partial(averaged, lambda: nn.Conv1d(_IN, _OUT, 3, groups=2),
            partial(_conv, feature_group_count=2)),
        apply=_maps(_without_group)),
    row("conv-causal-centered", "0 output", None,
        partial(averaged, lambda: nn.Sequential(nn.ConstantPad1d((2, 0), 0.0),
            nn.Conv1d(_IN, _OUT, 3)),
            lambda params, x: _conv(_only(params), x, ((2, 0),))),
        apply=_maps(lambda params, x: _conv(_only(params), x, ((1, 1),)))),
    row("conv-zeros-for-circular", "0 output", None,
        partial(averaged, lambda: nn.Conv1d(_IN, _OUT, 3, padding=1, padding_mode="circular"),
            _wrapped),
        apply=_maps(partial(_conv, padding=((1, 1),)))),
    row("conv-transposed-flipped", "0 output", None, _TRANSPOSED,
        apply=_maps(partial(_transposed, flipped=False))),
    # XLA's "SAME" puts the odd place first, torch's output padding last.
    row("conv-transposed-same", "0 output", None, _TRANSPOSED,
        apply=_maps(partial(_transposed, padding=((2, 1),)))),
    row("avg-pool-padding-left-out", "0 output", None,
        partial(averaged, lambda: nn.AvgPool1d(3, 1, padding=1), _average),
        apply=_maps(partial(_average, counted=False))),
    row("max-pool-padded-with-zeros", "0 output", None,
        partial(averaged, lambda: nn.MaxPool1d(3, 1, padding=1), _largest),
        apply=_maps(partial(_largest, outside=0.0))),
    row("resize-corners", "0 output", None,
        partial(averaged, lambda: partial(functional.interpolate, scale_factor=2, mode="linear",
            align_corners=True), _enlarged),
        apply=_maps(partial(_enlarged, corners=False))),
))
