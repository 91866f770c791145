"""Backpropagation and momentum on three classes, by hand and under an optimiser.

The mirror of `reference_torch.workflows.momentum_sgd`. The document's notebook ran some cells more
often than it shows: two backward passes whose gradients torch added up, four steps of momentum, and
a pair of loops that overwrote their own limits. With ``as_printed`` its figures come out; without,
what the text means. JAX's gradients are returned, so there is nothing that could add up unseen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdnn import models, torch_compat, training
from jaxdnn.errors import ConfigError
from jaxdnn.losses import cross_entropy
from jaxdnn.models import Params
from jaxdnn.runs.result import Result
from jaxdnn.training import TrainState
from jaxdnn.workflows.config import (
    Real,
    register,
    require_count,
    require_nonnegative,
    require_seed,
)

__all__ = [
    "MODEL",
    "SEED",
    "Config",
    "Data",
    "data",
    "draw_network",
    "full_batch_steps",
    "gradient_step",
    "loss",
    "momentum_step",
    "optimizer",
    "orders",
    "run",
    "start",
    "train_full_batch",
    "train_mini_batches",
]

SEED = 420

SAMPLES = 500

MODEL = models.three_layer()


@register(numbers=["lr", "momentum", "plain_lr"])
@dataclass(frozen=True)
class Config:
    """The document's settings."""

    plain_lr: Real = 10.0
    """Learning rate of the one step without momentum."""

    lr: Real = 0.1
    """Learning rate of the steps with momentum."""

    momentum: Real = 0.9
    """Share of the last velocity that the next step keeps."""

    steps: int = 17
    """Full-batch steps of the optimiser before its weights are shown."""

    epochs: int = 60
    """Passes of the mini-batch loop over the data."""

    batches: int = 10
    """Mini-batches an epoch."""

    as_printed: bool = True
    """Repeat what the notebook ran: twice the gradient, four steps of momentum, 55 steps in the
    mini-batch loop, each on all the data."""

    def __post_init__(self) -> None:
        for name in ("plain_lr", "lr", "momentum"):
            require_nonnegative(name, getattr(self, name))
        for name in ("steps", "epochs", "batches"):
            require_count(name, getattr(self, name))
        if not self.as_printed and SAMPLES % self.batches:
            raise ConfigError(
                f"batches must divide the {SAMPLES} samples into equal ones; got {self.batches!r}."
            )


class Data(NamedTuple):
    """500 samples of 20 features, in three classes."""

    inputs: Float[Array, "samples 20"]
    labels: Int[Array, " samples"]


def data(seed: int) -> Data:
    """The samples as torch draws them after a seed: uniform features up to 100, random labels."""
    generator = torch_compat.Generator(seed)
    inputs = generator.rand(SAMPLES, 20) * np.float32(100)
    labels = generator.randint(0, 3, (SAMPLES,))
    return Data(jnp.asarray(inputs), jnp.asarray(labels, jnp.int32))


def draw_network(generator: torch_compat.Generator) -> dict[str, Float[np.ndarray, "..."]]:
    """The network's tensors by torch's names, as torch draws them."""
    layers = {
        "linear1": generator.linear(20, 13, bias=False),
        "linear2": generator.linear(13, 8, bias=False),
        "output": generator.linear(8, 3),
    }
    return {f"{name}.{leaf}": a for name, layer in layers.items() for leaf, a in layer.items()}


def start(seed: int) -> Params:
    """The network as torch starts it after a seed."""
    tensors = draw_network(torch_compat.Generator(seed))
    return torch_compat.from_torch(tensors, like=jax.eval_shape(MODEL.init, jax.random.key(0)))


def loss(
    params: Params, inputs: Float[Array, "batch 20"], labels: Int[Array, " batch"]
) -> Float[Array, ""]:
    """Mean cross-entropy."""
    return cross_entropy(MODEL.apply(params, inputs), labels)


def gradient_step(
    w: Float[Array, "..."], dw: Float[Array, "..."], *, lr: Real
) -> Float[Array, "..."]:
    r"""Plain gradient descent.

    .. math:: w \leftarrow w - \eta\, \partial L / \partial w

    Args:
      w: weights.
      dw: the loss's gradient, of the same shape.
      lr: the learning rate :math:`\eta`.

    Returns:
      The weights after the step.
    """
    return w - lr * dw


def momentum_step(
    w: Float[Array, "..."], v: Float[Array, "..."], dw: Float[Array, "..."], config: Config
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Momentum by hand, with the learning rate inside the velocity.

    .. math:: v \leftarrow \gamma v - \eta\, \partial L / \partial w, \quad w \leftarrow w + v

    While the learning rate is constant this equals the optimiser's form, which keeps
    :math:`u = -v / \eta`: :math:`u \leftarrow \gamma u + \partial L / \partial w, w \leftarrow w -
    \eta u`.

    Args:
      w: weights.
      v: velocity.
      dw: the loss's gradient.
      config: learning rate and momentum.

    Returns:
      Weights and velocity after the step.
    """
    v = config.momentum * v - config.lr * dw
    return w + v, v


def optimizer(config: Config) -> optax.GradientTransformation:
    """SGD with momentum, in torch's form."""
    return optax.sgd(config.lr, config.momentum)


def train_full_batch(
    state: TrainState, config: Config, data: Data, *, steps: int
) -> tuple[TrainState, Float[Array, " steps"]]:
    """Steps on all the data; the state at the end, and the loss before each."""
    return training.train_full_batch(loss, optimizer(config), state, data, steps=steps)


def full_batch_steps(epochs: int, batches: int) -> int:
    r"""How many steps the document's loop takes, whose variables overwrite its own limits.

    The outer loop takes its limit once. The inner one is given what its last round left, one batch
    fewer every time, until there is none:

    .. math:: \sum_{k=0}^{n-1} (b - k) = n b - \frac{n (n - 1)}{2}, \quad n = \min(e, b)

    Args:
      epochs: the outer limit :math:`e`.
      batches: the inner limit :math:`b`.

    Returns:
      The number of steps; the mirror counts them by running the loop.

    Example:
      >>> full_batch_steps(60, 10)
      55
    """
    rounds = min(epochs, batches)
    return rounds * batches - rounds * (rounds - 1) // 2


def orders(seed: int, epochs: int, samples: int = SAMPLES) -> Int[np.ndarray, "epochs samples"]:
    """The orders of a torch DataLoader that shuffles, for each epoch after a seed."""
    generator = torch_compat.Generator(seed)
    return np.stack([generator.loader_order(samples, shuffle=True) for _ in range(epochs)])


def train_mini_batches(
    state: TrainState, orders: Int[Array, "epochs samples"], config: Config, data: Data
) -> tuple[TrainState, Float[Array, "epochs batches"]]:
    """Each epoch's samples once, in its order, in batches of equal size.

    Args:
      state: where the run starts.
      orders: for each epoch, the samples' indices in the order of use.
      config: how fast, and in how many batches.
      data: the samples.

    Returns:
      The state at the end, and the loss before every step.
    """
    batch_size = orders.shape[1] // config.batches

    def epoch(
        state: TrainState, order: Int[Array, " samples"]
    ) -> tuple[TrainState, Float[Array, " batches"]]:
        return training.train_epoch(
            loss, optimizer(config), state, data, order, batch_size=batch_size
        )

    return jax.lax.scan(epoch, state, orders)


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run momentum-sgd`` does: the notebook's cells, in their order.

    Args:
      seed: of torch's generator, for the data and again for the network.
      config: how fast, how long, and whether to repeat the notebook's accidents.

    Returns:
      The loss, the gradient and the weights that the document prints, and the losses of the runs.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    require_seed(seed)
    samples, params = data(seed), start(seed)
    first_loss, grads = jax.jit(jax.value_and_grad(loss))(params, *samples)
    w = params["linear1"]["kernel"]
    backward_passes, momentum_steps = (2, 4) if config.as_printed else (1, 1)
    dw = backward_passes * grads["linear1"]["kernel"]

    stepped = gradient_step(w, dw, lr=config.plain_lr)
    moved, v = stepped, jnp.zeros_like(w)
    for _ in range(momentum_steps):
        moved, v = momentum_step(moved, v, dw, config)

    train_full = jax.jit(train_full_batch, static_argnames="steps")
    state = TrainState(params, optimizer(config).init(params))
    state, losses = train_full(state, config, samples, steps=config.steps)
    shown = state.params["linear1"]["kernel"][:10, 0]
    loop_steps = full_batch_steps(config.epochs, config.batches)
    if config.as_printed:
        state, loop_losses = train_full(state, config, samples, steps=loop_steps)
    else:
        order = jnp.asarray(orders(seed, config.epochs))
        state, loop_losses = jax.jit(train_mini_batches)(state, order, config, samples)
        loop_losses = loop_losses.ravel()

    figures = {
        "momentum_sgd.first_loss": {"value": first_loss},
        "momentum_sgd.linear1_grad": _torch_layout(grads["linear1"]["kernel"]),
        "momentum_sgd.linear1_weight_after_gd": _torch_layout(stepped),
        "momentum_sgd.linear1_weight_after_momentum": _torch_layout(moved),
        "momentum_sgd.optimizer": {
            f"loss_before_step_{config.steps}": losses[-1],
            f"linear1_weight_row0_first10_after_step_{config.steps}": shown,
        },
        "momentum_sgd.loop": {
            "steps": len(loop_losses),
            "first_loss": loop_losses[0],
            "last_loss": loop_losses[-1],
        },
    }
    once, twice = (
        gradient_step(w, passes * grads["linear1"]["kernel"], lr=config.plain_lr)
        for passes in (1, 2)
    )
    taken = "as printed" if config.as_printed else "as meant"
    # Of n steps on one gradient the k-th is 1 + γ + … + γᵏ⁻¹ times as long as the first.
    momentum = float(np.asarray(config.momentum))
    four = sum(momentum**j for k in range(4) for j in range(k + 1))
    first_move = float(jnp.abs(config.lr * dw).max())
    remarks = (
        f"{taken}, backward passes before the step: {backward_passes}. The document's second one "
        f"doubles the gradient: the weight moves by up to {jnp.abs(twice - once).max():.4f} more",
        f"{taken}, steps of momentum by hand on that gradient: {momentum_steps}. The first moves "
        f"the weight by up to {first_move:.4f}, the document's four by up to "
        f"{four * first_move:.4f}",
        f"the optimiser's cell had run 17 times and stands once; here {config.steps}: the loss "
        f"before its step goes from {losses[0]:.4f} to {losses[-1]:.4f}",
        f"{taken}, steps of the loop: {len(loop_losses)}. It overwrites its limits, and takes "
        f"{loop_steps} steps on all {SAMPLES} samples where {config.epochs * config.batches} on "
        "mini-batches are meant",
    )
    curve = "the loop as printed" if config.as_printed else "mini-batches"
    curves = {"full batch": losses, f"{curve}, from there": loop_losses}
    return Result("momentum-sgd", seed, config, figures, remarks, curves=curves)


def _torch_layout(kernel: Float[Array, "in out"]) -> dict[str, object]:
    return {"shape": list(kernel.T.shape), "rows": kernel.T}
