"""A right port, as the arguments of `parity.check_port`, which the slips change."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

from jaxdnn import losses, optim

__all__ = [
    "Arguments",
    "Forward",
    "Params",
    "batches_of",
    "bfloat16",
    "either",
    "from_step",
    "frozen",
    "layers",
    "linear",
    "network",
    "normal",
    "right",
    "scaled",
    "seeded",
    "sgd",
]

Arguments = dict[str, Any]
Params = Mapping[str, Any]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def batches_of(
    steps: int = 6, rows: int = 6, *, inputs: int = 3, outputs: int = 2, scale: float = 1.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Batches of normal numbers."""
    x, y = normal(steps, rows, inputs), scale * normal(steps, rows, outputs, seed=1)
    return list(zip(x, y, strict=True))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A module with initial parameters that are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def network(between: nn.Module | None = None) -> nn.Sequential:
    """Two layers."""
    return seeded(lambda: nn.Sequential(nn.Linear(3, 4), between or nn.Tanh(), nn.Linear(4, 2)))  # type: ignore[return-value]


class Forward(nn.Module):
    """A network given as a function of itself; its parameters and submodules are attributes."""

    def __init__(self, function: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def linear(params: Params, name: str, x: jax.Array) -> jax.Array:
    """Torch's Linear, whose parameters have torch's names."""
    y = x @ params[f"{name}.weight"].T
    return y + params[f"{name}.bias"] if f"{name}.bias" in params else y


def layers(
    params: Params, x: jax.Array, between: Callable[[jax.Array], jax.Array] = jnp.tanh
) -> jax.Array:
    """The port of `network`."""
    return linear(params, "2", between(linear(params, "0", x)))


def sgd(module: nn.Module, lr: float = 0.1, **settings: Any) -> torch.optim.Optimizer:
    """Torch's SGD of all parameters."""
    return torch.optim.SGD(module.parameters(), lr=lr, **settings)


def right(module: nn.Module | None = None, **changed: Any) -> Arguments:
    """The arguments of a right port, with changes; parameters have torch's names."""
    module = network() if module is None else module
    return {
        "torch_module": module,
        "torch_loss": nn.MSELoss(),
        "torch_optimizer": sgd(module),
        "apply": layers,
        "loss": losses.mse,
        "optimizer": optim.sgd(0.1),
        "batches": batches_of(),
        "from_torch": dict,
        "samples": 8,
        "name": False,
    } | changed


def from_step(first: int, before: float, after: float) -> Callable[[Any], Any]:
    """A schedule that changes at a step."""
    return lambda count: jnp.where(count < first, before, after)


def scaled(factor: Callable[[str], float]) -> optax.GradientTransformation:
    """Multiplies each parameter's gradient by a number for its name."""

    def update(grads: Any, params: Any) -> Any:
        return {name: factor(name) * grad for name, grad in grads.items()}

    return optax.stateless(update)


def frozen(name: str) -> optax.GradientTransformation:
    """Holds one parameter."""
    return scaled(lambda other: float(other != name))


def bfloat16(x: jax.Array) -> jax.Array:
    """Rounded to bfloat16."""
    return x.astype(jnp.bfloat16).astype(x.dtype)


def either(steps: Iterable[int], count: Any) -> Any:
    """Whether a count is one of these."""
    return jnp.isin(count, jnp.asarray(list(steps)))
