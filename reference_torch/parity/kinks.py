"""How near a step comes to a kink, a point at which a function has two one-sided derivatives."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Kinks"]

_AT_ZERO = {
    "aten::abs",
    "aten::elu",
    "aten::leaky_relu",
    "aten::relu",
    "aten::relu_",
    "aten::sgn",
    "aten::sign",
    "aten::_prelu_kernel",
    "aten::celu",
    "aten::rrelu_with_noise",
}
_AT_POINTS = {"aten::hardsigmoid": (-3.0, 3.0), "aten::hardswish": (-3.0, 3.0)}
_AT_BOUNDS = {
    "aten::clamp",
    "aten::clamp_",
    "aten::clamp_max",
    "aten::clamp_min",
    "aten::hardtanh",
}


class Kinks(TorchDispatchMode):
    """Measures the smallest distance from a kink, relative to the largest magnitude there.

    Within rounding of a kink, float32 cannot tell on which side of it a value lies, and either
    derivative may result. A value exactly on the kink is not counted: there the derivative is a
    convention, which both frameworks have to share.

    Attributes:
      distance: the smallest distance so far; infinite if there was no kink.
      watched: whether there was an operation that has one.

    Example:
      >>> with Kinks() as kinks:
      ...     _ = torch.relu(torch.tensor([-2.0, 0.5, 0.0, 1.0]))
      >>> kinks.distance
      0.25
    """

    def __init__(self) -> None:
        super().__init__()
        self.distance = float("inf")
        self.watched = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            # Before the call, since it may change the tensor in place.
            self._watch(func.name().partition(".")[0], args[0], args, kwargs)
        return func(*args, **kwargs)

    def _watch(self, name: str, values: torch.Tensor, args: tuple, kwargs: dict) -> None:
        if name in _AT_ZERO:
            self._see(values.abs(), values)
        elif name in _AT_BOUNDS:
            bounds = [bound for bound in (*args[1:3], *kwargs.values()) if _is_number(bound)]
            for bound in bounds or [0.0]:
                self._see((values - bound).abs(), values)
        elif name in ("aten::maximum", "aten::minimum", "aten::l1_loss"):
            self._see((values - args[1]).abs(), values)
        elif name in ("aten::max", "aten::amax", "aten::min", "aten::amin") and values.dim():
            signed = -values if "min" in name else values
            self._see(_lead(*_reduced(signed, args[1] if len(args) > 1 else None)), values)
        elif name == "aten::max_pool2d_with_indices":
            self._see(_pooling_lead(*args, **kwargs), values)
        elif name in _AT_POINTS:
            for point in _AT_POINTS[name]:
                self._see((values - point).abs(), values)
        elif name in ("aten::threshold", "aten::hardshrink", "aten::softshrink"):
            point = args[1] if len(args) > 1 else 0.5
            for bound in (point,) if name == "aten::threshold" else (-point, point):
                self._see((values - bound).abs(), values)

    def _see(self, distances: torch.Tensor, values: torch.Tensor) -> None:
        self.watched = True
        distances, scale = distances[distances > 0], _magnitude(values)
        if distances.numel() and scale > 0:
            self.distance = min(self.distance, distances.min().item() / scale)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FILL = 1e5
_APART = 1e4
"""Magnitudes beyond the first are what a mask fills in, -1e9 or -inf, if they are as many times as
the second says larger than all others. The numbers that are compared are rounded as these are."""


def _magnitude(values: torch.Tensor) -> float:
    """The largest magnitude, of what no mask has filled in."""
    sizes = values.abs()[values.isfinite()]
    ordinary, large = sizes[sizes < _FILL], sizes[sizes >= _FILL]
    largest = ordinary.max().item() if ordinary.numel() else 0.0
    if large.numel() and not 0 < largest * _APART <= large.min().item():
        return large.max().item()
    return largest


def _reduced(values: torch.Tensor, dims: Any) -> tuple[torch.Tensor, int]:
    """A tensor and the one axis over which it is reduced, for an axis, several, or all."""
    if isinstance(dims, int):
        return values, dims
    dims = [dim % values.dim() for dim in dims] if isinstance(dims, list | tuple) else []
    others = [dim for dim in range(values.dim()) if dim not in dims] if dims else []
    moved = values.permute(*others, *(dim for dim in range(values.dim()) if dim not in others))
    return moved.reshape(*(values.shape[dim] for dim in others), -1), len(others)


def _lead(values: torch.Tensor, dim: int) -> torch.Tensor:
    """By how much the largest value along an axis leads."""
    if values.shape[dim] < 2:
        return values.new_zeros(0)
    first, second = values.topk(2, dim=dim).values.unbind(dim)
    return first - second


def _pooling_lead(
    maps: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> torch.Tensor:
    single_channel = maps.reshape(-1, 1, *maps.shape[-2:])
    windows = torch.nn.functional.unfold(
        single_channel, kernel_size, dilation, padding, stride or kernel_size
    )
    return _lead(windows, 1)
