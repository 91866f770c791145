"""Right ports of small torch runs, and the pieces they are made of."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from torch import nn

from jaxdnn import losses, optim
from jaxdnn.parity import Port
from reference_torch import TorchRun
from tests.parity.mutations.case import Batches, Case


def dense(params: Any, x: jax.Array) -> jax.Array:
    """Torch's Linear."""
    return x @ params["kernel"] + params["bias"]


def normalise(params: Any, x: jax.Array) -> jax.Array:
    """Torch's LayerNorm over the features."""
    mean = x.mean(1, keepdims=True)
    variance = ((x - mean) ** 2).mean(1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"]


def picked(x: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy of each row."""
    return optax.softmax_cross_entropy_with_integer_labels(x, y)


def mse(x: jax.Array, y: jax.Array) -> jax.Array:
    """Torch's MSELoss."""
    return jnp.mean((x - y) ** 2)


def multi_steps(
    optimizer: optax.GradientTransformation, every: int
) -> optax.GradientTransformation:
    """A step for the mean of several gradients, which are added in their own type."""
    steps = optax.MultiSteps(optimizer, every, accumulator_dtype=None)  # type: ignore[arg-type]
    return steps.gradient_transformation()


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal numbers in float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pairs(x: np.ndarray, y: np.ndarray) -> Batches:
    """Batches of inputs and targets."""
    return list(zip(x, y, strict=True))


def features(scale: float = 1.0) -> Batches:
    """Eight batches of eight rows of five numbers, with one number for a target."""
    return pairs(scale * numbers(8, 8, 5), numbers(8, 8, 1, seed=1))


SGD = partial(torch.optim.SGD, lr=0.1)


def build(
    module: Callable[[], nn.Module],
    apply: Callable[..., Any],
    torch_loss: Callable[..., Any] | None = None,
    loss: Callable[..., Any] = losses.mse,
    batches: Batches | None = None,
    *,
    torch_optimizer: Callable[..., torch.optim.Optimizer] = SGD,
    optimizer: optax.GradientTransformation | None = None,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    **settings: Any,
) -> Case:
    """A case from how its parts are made; further settings are fields of the run or the port."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = module()
    built = torch_optimizer(network.parameters())
    ported = {name: settings.pop(name) for name in Port._fields if name in settings}
    run = TorchRun(
        network,
        torch_loss or nn.MSELoss(),
        built,
        batches or features(),
        scheduler=scheduler(built) if scheduler else None,
        **settings,
    )
    return Case(run, Port(apply, loss, optimizer or optim.from_torch(built), **ported))


def named(
    module: Callable[[], nn.Module],
    apply: Callable[..., Any],
    x: np.ndarray,
    y: np.ndarray,
    **settings: Any,
) -> Case:
    """A case whose parameters are a dictionary by torch's names, in torch's layout."""
    return build(module, apply, batches=pairs(x, y), from_torch=dict, **settings)


def linear(params: Any, name: str, x: jax.Array) -> jax.Array:
    """Torch's Linear, with parameters by torch's names."""
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def two_layers(activation: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """An activation between two layers."""
    return lambda params, x: dense(params["2"], activation(dense(params["0"], x)))


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
    batches = pairs(numbers(steps, 8, 5), numbers(steps, 8, outputs, seed=1))
    return build(
        lambda: nn.Sequential(nn.Linear(5, 6), torch_activation(), nn.Linear(6, outputs)),
        two_layers(activation),
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
    return build(
        lambda: nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)),
        two_layers(jnp.tanh),
        torch_loss or nn.CrossEntropyLoss(),
        loss,
        pairs(numbers(steps, 8, 5), labels),
        **settings,
    )


def under(name: str, lr: float, **settings: Any) -> Callable[..., Case]:
    """Regression under an optimiser of torch's."""
    return partial(
        regression, torch_optimizer=partial(getattr(torch.optim, name), lr=lr, **settings)
    )


def sgd(lr: float = 0.1, **settings: Any) -> Callable[..., Case]:
    """Regression under torch.optim.SGD."""
    return under("SGD", lr, **settings)
