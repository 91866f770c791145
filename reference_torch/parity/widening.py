"""Torch in float64 throughout: narrower floating-point types replaced wherever they appear.

A network that is run in float64 may still compute a part in float32: ``x.float()``, a table that a
module made in float32, a softmax of another type. What it computes there depends on the order of
its sums, and not on its mathematics alone. `Widening` evaluates such operations in float64.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

__all__ = ["Widening"]

_NARROW = (torch.float32, torch.bfloat16, torch.float16)

_SOFTMAXES = ("aten::_softmax", "aten::_log_softmax")


class Widening(TorchDispatchMode):
    """Evaluates every operation in float64, whatever narrower type it was asked for.

    Attributes:
      used: whether anything was narrower.

    Example:
      >>> with Widening() as widening:
      ...     y = torch.tensor([1e-12], dtype=torch.float64).float() + 1
      >>> y.dtype, (y - 1).item() > 0, widening.used
      (torch.float64, True, True)
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in _NARROW:
            self.used = True
            kwargs["dtype"] = torch.float64
        written = {a.name for a in func._schema.arguments if a.alias_info and a.alias_info.is_write}
        names = [argument.name for argument in func._schema.arguments]
        args = tuple(
            arg if name in written else self._widened(arg)
            for name, arg in zip(names, args, strict=False)
        )
        kwargs = {k: arg if k in written else self._widened(arg) for k, arg in kwargs.items()}
        name = func.name().partition(".")[0]
        if name in _SOFTMAXES and len(args) > 2 and args[2]:
            args = (*args[:2], False)  # float16 in, float32 out: it no longer applies
        return func(*args, **kwargs)

    def _widened(self, value: Any) -> Any:
        return tree_map_only(torch.Tensor, self._wide, value)

    def _wide(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype not in _NARROW:
            return tensor
        # A number alone narrows nothing: torch keeps an optimiser's count in float32.
        self.used = self.used or tensor.dim() > 0
        return tensor.to(torch.float64)
