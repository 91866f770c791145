"""The report of ``jaxdnn run momentum-sgd``: the notebook's cells, in their order."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.torch_compat import Generator
from jaxdnn.training import TrainState
from jaxdnn.workflows import momentum_sgd as lesson
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.momentum_sgd import SAMPLES, Config, gradient_step, momentum_step

__all__ = ["SEED", "Config", "Inputs", "full_batch_steps", "run"]

SEED = 420

Inputs = NoInputs


def run(request: Request) -> Result:
    """Report the loss, gradient and weights that the document prints, and the losses of its runs.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    # The document seeds torch's generator twice, before the data and before the network.
    samples, params = lesson.data(Generator(seed)), lesson.init(Generator(seed))
    first_loss, grads = jax.jit(jax.value_and_grad(lesson.loss))(params, *samples)
    w, gradient = params["linear1"]["kernel"], grads["linear1"]["kernel"]
    backward_passes, momentum_steps = (2, 4) if config.as_printed else (1, 1)
    dw = backward_passes * gradient

    stepped = gradient_step(w, dw, lr=config.plain_lr)
    moved, v = stepped, jnp.zeros_like(w)
    for _ in range(momentum_steps):
        moved, v = momentum_step(moved, v, dw, config)

    train_full = jax.jit(lesson.train_full_batch, static_argnames="steps")
    state = TrainState(params, lesson.optimizer(config).init(params))
    state, losses = train_full(state, config, samples, steps=config.steps)
    shown = state.params["linear1"]["kernel"][:10, 0]
    loop_steps = full_batch_steps(config.epochs, config.batches)
    if config.as_printed:
        _, loop_losses = train_full(state, config, samples, steps=loop_steps)
    else:
        batches = jnp.asarray(lesson.batches(Generator(seed), config))
        _, loop_losses = jax.jit(lesson.train_mini_batches)(state, batches, config, samples)

    figures = {
        "momentum_sgd.first_loss": {"value": first_loss},
        "momentum_sgd.linear1_grad": _torch_layout(gradient),
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
    once, twice = (gradient_step(w, k * gradient, lr=config.plain_lr) for k in (1, 2))
    taken = "as printed" if config.as_printed else "as meant"
    # Of n steps on one gradient the k-th is 1 + γ + … + γᵏ⁻¹ times as long as the first.
    momentum = float(np.asarray(config.momentum))
    four = sum(momentum**j for k in range(4) for j in range(k + 1))
    first_move = float(jnp.abs(config.lr * dw).max())
    remarks = (
        f"{taken}, backward passes before the step: {backward_passes}. The document's second pass "
        "doubles the gradient, which moves the weight by up to "
        f"{jnp.abs(twice - once).max():.4f} more",
        f"{taken}, steps of momentum by hand on that gradient: {momentum_steps}. The first moves "
        f"the weight by up to {first_move:.4f}, the document's four by up to "
        f"{four * first_move:.4f}",
        f"the notebook had run the optimiser's cell 17 times, here {config.steps}: the loss before "
        f"the step falls from {losses[0]:.4f} to {losses[-1]:.4f}",
        f"{taken}, steps of the loop: {len(loop_losses)}. The document's loop overwrites its "
        f"limits: it takes {loop_steps} steps on all {SAMPLES} samples instead of "
        f"{config.epochs * config.batches} on mini-batches",
    )
    curve = "the loop as printed" if config.as_printed else "mini-batches"
    curves = {"full batch": losses, f"{curve}, from there": loop_losses}
    return Result("momentum-sgd", seed, config, figures, remarks, curves=curves)


def full_batch_steps(epochs: int, batches: int) -> int:
    r"""The number of steps of the document's loop, whose variables overwrite its own limits.

    The outer loop reads its limit once. The inner loop reads the number of batches, which each
    round reduces by one, until none is left:

    .. math:: \sum_{k=0}^{n-1} (b - k) = n b - \frac{n (n - 1)}{2}, \quad n = \min(e, b)

    Args:
      epochs: the limit of the outer loop, :math:`e`.
      batches: the initial limit of the inner loop, :math:`b`.

    Example:
      >>> full_batch_steps(60, 10)
      55
    """
    rounds = min(epochs, batches)
    return rounds * batches - rounds * (rounds - 1) // 2


def _torch_layout(kernel: Float[Array, "in out"]) -> dict[str, object]:
    return {"shape": list(kernel.T.shape), "rows": kernel.T}
