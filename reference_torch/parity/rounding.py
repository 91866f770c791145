r"""What rounding may do to a step of torch: every operation rounded at random.

In float64, each operation's result gets a random error (Monte Carlo arithmetic): one unit of the
result for an elementwise operation; for a sum of :math:`n` terms :math:`\sqrt{n}` units of the sum
of their magnitudes, which a sum in whatever order rarely exceeds. torch itself sums in pairs, with
an error that hardly grows with :math:`n`, so that its own error in float32 says too little about a
port whose compiler sums one by one.

Reference:
  Parker, Monte Carlo Arithmetic, 1997; Higham and Mary, A New Approach to Probabilistic Rounding
  Error Analysis, 2019.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

__all__ = ["FLOAT32", "FLOAT64", "Rounding"]

FLOAT32 = 2.0**-24
FLOAT64 = 2.0**-53
"""The unit roundoffs: the largest relative error of one rounding."""

_EXACT = {
    *("abs", "alias", "amax", "amin", "argmax", "arange", "bernoulli", "cat", "clamp", "clone"),
    *("constant_pad_nd", "copy", "detach", "embedding", "empty", "empty_like", "empty_strided"),
    *("expand", "fill", "flip", "full", "full_like", "gather", "index", "index_select"),
    *("lift_fresh", "masked_fill", "max", "max_pool2d_with_indices", "maximum", "min", "minimum"),
    *("neg", "new_empty", "new_zeros", "ones", "ones_like", "permute", "relu", "repeat", "reshape"),
    *("scalar_tensor", "select_backward", "sign", "slice_backward", "sort", "stack", "t"),
    *("threshold_backward", "topk", "transpose", "tril", "triu", "unsqueeze", "view", "where"),
    *("zero", "zeros", "zeros_like", "_to_copy", "_unsafe_view", "native_dropout"),
}
"""Operations that round nothing."""

_LINEAR = {
    *("mm", "addmm", "bmm", "baddbmm", "mv", "dot", "sum", "mean", "cumsum", "convolution"),
    *("convolution_backward", "embedding_dense_backward", "scatter_add", "index_add", "index_put"),
    *("avg_pool2d", "avg_pool2d_backward", "_adaptive_avg_pool2d", "_adaptive_avg_pool2d_backward"),
    *("slow_conv_transpose2d", "trace", "add", "sub", "max_pool2d_with_indices_backward"),
}
"""Operations that, given the magnitudes of their inputs, sum the magnitudes of their terms."""


class Rounding(TorchDispatchMode):
    """Adds the error of a rounding to each operation in float64.

    Args:
      seed: of the errors.
      unit: the unit roundoff.

    Example:
      >>> x = torch.rand(10_000, dtype=torch.float64)
      >>> with Rounding(0, FLOAT32):
      ...     y = x.sum()
      >>> 1e-8 < abs(y / x.sum() - 1) < 1e-4
      tensor(True)
    """

    def __init__(self, seed: int, unit: float) -> None:
        super().__init__()
        self._unit = unit
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.name().removeprefix("aten::").partition(".")[0]
        in_place = name.endswith("_") and not name.endswith("__")
        kind = name.rstrip("_").removeprefix("_foreach_")
        if kind in _EXACT or func.is_view or name.startswith("_local_scalar"):
            return func(*args, **kwargs)
        magnitudes = None
        if kind in _LINEAR and not in_place:
            magnitudes = func(*_magnitudes(args), **_magnitudes(kwargs))
        elif kind in _CANCELLING:
            magnitudes = _CANCELLING[kind](*args)
        results = func(*args, **kwargs)
        inputs = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        sizes = tree_flatten(results if magnitudes is None else magnitudes)[0]
        for number, (result, size) in enumerate(zip(tree_flatten(results)[0], sizes, strict=True)):
            if isinstance(result, torch.Tensor) and result.dtype == torch.float64:
                terms = _terms(kind, inputs, result, number)
                self._disturb(result, size, self._unit * math.sqrt(terms))
                if kind in _FRACTIONS:
                    result.clamp_(0, 1)
        return results

    def _disturb(self, result: torch.Tensor, size: torch.Tensor, unit: float) -> None:
        noise = torch.randn(result.shape, generator=self._generator, dtype=torch.float64)
        # Infinity, as in a mask, is exact.
        finite = size.abs().nan_to_num(nan=0.0, posinf=0.0)
        result.add_(noise.to(result.device) * finite, alpha=unit)


def _of_log_softmax(grad: torch.Tensor, output: torch.Tensor, dim: int, *_: Any) -> torch.Tensor:
    return grad.abs() + output.exp() * grad.abs().sum(dim, keepdim=True)


def _of_softmax(grad: torch.Tensor, output: torch.Tensor, dim: int, *_: Any) -> torch.Tensor:
    return output * (grad.abs() + (grad * output).abs().sum(dim, keepdim=True))


_FRACTIONS = ("sigmoid", "_softmax")
"""Operations whose results no rounding takes out of 0 to 1, where a loss may ask for that."""

_CANCELLING: dict[str, Callable[..., torch.Tensor]] = {
    "_log_softmax_backward_data": _of_log_softmax,
    "_softmax_backward_data": _of_softmax,
    "tanh_backward": lambda grad, output: grad.abs() * (1 + output**2),
    "sigmoid_backward": lambda grad, output: grad.abs() * output,
}
"""Operations that subtract inside, and the magnitude of what they subtract."""


def _magnitudes(value: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda t: t.abs() if t.is_floating_point() else t, value)


def _terms(kind: str, inputs: Sequence[torch.Tensor], result: torch.Tensor, number: int) -> int:
    """How many terms an element of a result sums."""
    special = _TERMS.get(kind)
    if special is not None:
        return max(1, special(inputs, number))
    if kind in ("add", "sub"):
        return 1
    # A reduction, or a loss: as many inputs as there are for each result.
    largest = max((x.numel() for x in inputs), default=0)
    return max(1, largest // max(1, result.numel()))


def _of_convolution(inputs: Sequence[torch.Tensor], number: int) -> int:
    weight = inputs[1]
    return weight.numel() // weight.shape[0]


def _of_convolution_backward(inputs: Sequence[torch.Tensor], number: int) -> int:
    grad, _, weight = inputs[:3]
    if number == 0:
        return weight.numel() // weight.shape[1]
    return grad.numel() // grad.shape[1]


_TERMS: dict[str, Callable[[Sequence[torch.Tensor], int], int]] = {
    "mm": lambda inputs, _: inputs[0].shape[-1],
    "bmm": lambda inputs, _: inputs[0].shape[-1],
    "addmm": lambda inputs, _: inputs[1].shape[-1] + 1,
    "baddbmm": lambda inputs, _: inputs[1].shape[-1] + 1,
    "convolution": _of_convolution,
    "convolution_backward": _of_convolution_backward,
    "_softmax": lambda inputs, _: inputs[0].shape[-1],
    "_log_softmax": lambda inputs, _: inputs[0].shape[-1],
    "_softmax_backward_data": lambda inputs, _: inputs[0].shape[-1],
    "_log_softmax_backward_data": lambda inputs, _: inputs[0].shape[-1],
}
