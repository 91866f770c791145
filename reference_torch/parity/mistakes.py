"""Mistakes in layers, made in torch: what torch computes if its layers are wrong as a port's are.

Each mistake replaces some functions of torch while a network runs. If torch with the mistake agrees
with a port, step by step, where torch without it does not, then the port makes that mistake. The
names are those of `jaxdnn.parity.TRAPS`, which explains them.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["LAYER_MISTAKES", "Mistake", "made", "ways"]

Call = Callable[..., Any]


class Mistake(NamedTuple):
    """A mistake in a function of torch.

    Attributes:
      functions: names of the functions that are replaced.
      replacements: the ways to make the mistake, each ``(function, *args, **kwargs) -> result``.
    """

    functions: tuple[str, ...]
    replacements: tuple[Call, ...]


@contextlib.contextmanager
def made(name: str | None) -> Iterator[None]:
    """Make a mistake inside a context.

    Args:
      name: ``layer-norm-epsilon``; ``batch-norm-momentum/1`` for the second way to make it;
        ``layer-norm-epsilon@2`` for the third call alone; several, joined by ``+``. None for no
        mistake.

    Example:
      >>> x = torch.tensor([1.0, 3.0])
      >>> with made("biased-variance"):
      ...     x.std()
      tensor(1.)
    """
    if name is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        for single in name.split("+"):
            single, _, call = single.partition("@")
            single, _, way = single.partition("/")
            mistake = LAYER_MISTAKES[single]
            replacement = mistake.replacements[int(way or 0)]
            only = int(call) if call else None
            stack.enter_context(_Replacing(mistake.functions, replacement, only))
        yield


def ways(calls: Mapping[str, int]) -> Iterator[str]:
    """All ways to make a mistake in a network, first in all its layers and then in each alone.

    Args:
      calls: how often it calls each function of torch.

    Yields:
      Names for `made`.

    Example:
      >>> list(ways({"gelu": 2}))
      ['gelu-tanh', 'gelu-tanh@0', 'gelu-tanh@1']
    """
    for name, (functions, replacements) in LAYER_MISTAKES.items():
        count = sum(calls.get(function, 0) for function in functions)
        for way in range(len(replacements)) if count else ():
            stem = f"{name}/{way}" if way else name
            yield stem
            yield from (f"{stem}@{call}" for call in range(count) if count > 1)


class _Replacing(TorchFunctionMode):
    def __init__(self, functions: tuple[str, ...], replacement: Call, only: int | None) -> None:
        super().__init__()
        self.functions, self.replacement, self.only, self.calls = functions, replacement, only, 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if getattr(func, "__name__", "") not in self.functions:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        if self.only is not None and self.calls - 1 != self.only:
            return func(*args, **(kwargs or {}))
        return self.replacement(func, *args, **(kwargs or {}))


def _with(**changed: Any) -> Call:
    return lambda func, *args, **kwargs: func(*args, **(kwargs | changed))


def _biased(func: Call, values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    kwargs.pop("unbiased", None)
    dims = [arg for arg in args if not isinstance(arg, bool)]
    return func(values, *dims, **(kwargs | {"correction": 0}))


def _batch_norm(change: Callable[[float], float], *, biased: bool) -> Call:
    def replacement(
        func: Call, values: torch.Tensor, mean: Any, variance: Any, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        if kwargs.get("training") and variance is not None:
            kwargs["momentum"] = change(kwargs.get("momentum", 0.1))
            before, size = variance.clone(), values.numel() // values.shape[1]
            result = func(values, mean, variance, *args, **kwargs)
            if biased:
                new = (variance - before) / kwargs["momentum"] + before
                # Through .data, since autograd keeps the tensor and would see it change.
                variance.data += kwargs["momentum"] * (new * (size - 1) / size - new)
            return result
        return func(values, mean, variance, *args, **kwargs)

    return replacement


def _transposed_square(
    func: Call, inputs: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    if weight.shape[0] != weight.shape[1]:
        return func(inputs, weight, *args, **kwargs)
    return func(inputs, weight.transpose(0, 1), *args, **kwargs)


def _turned(*dims: int) -> Call:
    def replacement(
        func: Call, inputs: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        return func(inputs, weight.flip(dims), *args, **kwargs)

    return replacement


def _kernel_transposed(
    func: Call, inputs: torch.Tensor, weight: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    return func(inputs, weight.transpose(2, 3), *args, **kwargs)


def _same_padding(
    func: Call,
    inputs: torch.Tensor,
    weight: torch.Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """As XLA pads for ``"SAME"``: the output has the input's size over the stride, rounded up."""
    dims = weight.dim() - 2
    strides, dilations = (
        (value,) * dims if isinstance(value, int) else tuple(value) for value in (stride, dilation)
    )
    amounts: list[int] = []
    sizes = zip(inputs.shape[2:], weight.shape[2:], strides, dilations, strict=True)
    for size, kernel, step, spacing in reversed(list(sizes)):
        reach = spacing * (kernel - 1) + 1
        total = max((-(-size // step) - 1) * step + reach - size, 0)
        amounts += [total // 2, total - total // 2]
    padded = torch.nn.functional.pad(inputs, amounts)
    return func(padded, weight, bias, strides, 0, dilations, groups)


def _pool_stride_one(
    func: Call, maps: torch.Tensor, kernel_size: Any, *args: Any, **kwargs: Any
) -> torch.Tensor:
    return func(maps, kernel_size, stride=1)


def _channels_last_flatten(
    func: Call, values: torch.Tensor, *args: Any, **kwargs: Any
) -> torch.Tensor:
    if values.dim() != 4:
        return func(values, *args, **kwargs)
    return func(values.permute(0, 2, 3, 1).contiguous(), *args, **kwargs)


def _no_dropout(func: Call, values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return values


class _Abs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values)
        return values.abs()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        return torch.where(values >= 0, grad, -grad)


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, low: Any, high: Any) -> torch.Tensor:
        result = values.clamp(low, high)
        at_bound = (values == low) | (values == high)
        ctx.save_for_backward(torch.where(at_bound, 0.5, (result == values).to(values.dtype)))
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad * ctx.saved_tensors[0], None, None


def _clamp(func: Call, values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    low, high = (*args, None, None)[:2]
    low = kwargs.get("min", kwargs.get("min_val", low))
    high = kwargs.get("max", kwargs.get("max_val", high))
    if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
        return func(values, *args, **kwargs)
    infinity = float("inf")
    return _Clamp.apply(
        values, -infinity if low is None else low, infinity if high is None else high
    )


def _plain_norm(func: Call, values: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    order = kwargs.get("p", kwargs.get("ord", args[0] if args else 2))
    if order not in (None, 2, "fro"):
        return func(values, *args, **kwargs)
    squares = values.square()
    return (squares.sum() if dim is None else squares.sum(dim, kwargs.get("keepdim", False))).sqrt()


def _even_ties(func: Call, values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    dim = kwargs.get("dim", args[0] if args else None)
    if not isinstance(dim, int):
        return func(values, *args, **kwargs)
    result = func(values, *args, **kwargs)
    keepdim = kwargs.get("keepdim", args[1] if len(args) > 1 else False)
    spread = values.amax(dim, keepdim=keepdim)  # torch's amax divides its gradient among ties
    return torch.return_types.max((spread, result.indices))  # type: ignore[attr-defined]


LAYER_MISTAKES: dict[str, Mistake] = {
    "gelu-tanh": Mistake(("gelu",), (_with(approximate="tanh"),)),
    "layer-norm-epsilon": Mistake(("layer_norm",), (_with(eps=1e-6),)),
    "batch-norm-variance": Mistake(("batch_norm",), (_batch_norm(lambda m: m, biased=True),)),
    "batch-norm-momentum": Mistake(
        ("batch_norm",),
        tuple(
            _batch_norm(change, biased=biased)
            for biased in (True, False)
            for change in (lambda m: 1 - m, lambda m: 0.01)
        ),
    ),
    "linear-transposed": Mistake(("linear",), (_transposed_square,)),
    "conv-layout": Mistake(("conv2d",), (_kernel_transposed, _transposed_square)),
    "conv-flipped": Mistake(("conv2d",), (_turned(2, 3),)),
    "conv-padding": Mistake(("conv2d",), (_same_padding,)),
    "max-pool-stride": Mistake(("max_pool2d",), (_pool_stride_one,)),
    "flatten-order": Mistake(("flatten", "reshape", "view"), (_channels_last_flatten,)),
    "dropout-masks": Mistake(("dropout", "dropout1d", "dropout2d"), (_no_dropout,)),
    "biased-variance": Mistake(("std", "var"), (_biased,)),
    "abs-derivative": Mistake(("abs", "absolute"), (lambda func, values: _Abs.apply(values),)),
    "clamp-derivative": Mistake(("clamp", "hardtanh", "clip"), (_clamp,)),
    "norm-derivative": Mistake(
        ("norm", "linalg_norm", "linalg_vector_norm", "vector_norm"), (_plain_norm,)
    ),
    "max-tie-derivative": Mistake(("max",), (_even_ties,)),
}
"""The mistakes by their names in `jaxdnn.parity.TRAPS`."""
