"""The report of ``jaxdnn run momentum-sgd``: the notebook's cells, in their order."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdnn.data.synthetic import Noise
from jaxdnn.models import Params
from jaxdnn.runs import documented
from jaxdnn.runs.drawing import Panel
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
    in_two_parts = jax.jit(lesson.loss_in_two_parts)(params, *samples)
    w, gradient = params["linear1"]["kernel"], grads["linear1"]["kernel"]
    backward_passes, momentum_steps = (2, 4) if config.as_printed else (1, 1)
    accumulate = jax.jit(lesson.accumulated_gradients, static_argnames="passes")
    dw = accumulate(params, *samples, passes=backward_passes)["linear1"]["kernel"]

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
        "momentum_sgd.classes": {"count": lesson.class_count(samples.labels)},
        "momentum_sgd.first_loss": {
            "value": first_loss,
            "as_log_softmax_and_nll": in_two_parts,
        },
        "momentum_sgd.linear1_grad": {"shape": gradient.T.shape, "rows": gradient.T},
        "momentum_sgd.second_backward": {"shape": dw.T.shape},
        "momentum_sgd.linear1_weight_after_gd": {"rows": stepped.T},
        "momentum_sgd.linear1_weight_after_momentum": {"rows": moved.T},
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
        f"000 In [24] and [33], {taken}, backward passes before the step: {backward_passes}. The "
        "document's second pass doubles the gradient, which moves the weight by up to "
        f"{jnp.abs(twice - once).max():.4f} more",
        f"000 In [49], {taken}, steps of momentum by hand on that gradient: {momentum_steps}. The "
        f"first moves the weight by up to {first_move:.4f}, the document's four by up to "
        f"{four * first_move:.4f}",
        f"000 In [71]: the notebook had run this cell 17 times, here {config.steps}: the loss "
        f"before the step falls from {losses[0]:.4f} to {losses[-1]:.4f}",
        f"000 In [80], {taken}, steps of the loop: {len(loop_losses)}. The document's loop "
        f"overwrites its limits: it takes {loop_steps} steps on all {SAMPLES} samples instead of "
        f"{config.epochs * config.batches} on mini-batches",
    )
    if (seed, config) == (SEED, Config()):
        remarks += (_rounding(params, samples, gradient),)
    curve = "the loop as printed" if config.as_printed else "mini-batches"
    curves = {"full batch": losses, f"{curve}, from there": loop_losses}
    first, second = curves
    panel = Panel("", (first, second), steps_before={second: config.steps})
    return Result("momentum-sgd", seed, config, figures, remarks, curves=curves, panels=(panel,))


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


def _rounding(params: Params, samples: Noise, gradient: Float[Array, "20 13"]) -> str:
    """How far the printed gradient and this one, both in float32, are from the one in float64.

    Of a printed number, it is known that it was within half a unit of its fifth digit.
    """
    printed = documented.entries()["momentum_sgd.linear1_grad"].figures["rows"]
    with jax.enable_x64(True):
        wide, inputs = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, samples.inputs))
        grads = jax.jit(jax.grad(lesson.loss))(wide, inputs, np.asarray(samples.labels))
        exact = np.asarray(grads["linear1"]["kernel"]).T

    theirs = [
        max(0.0, abs(number - e) - 0.5 * 10.0 ** (np.floor(np.log10(abs(number))) - 4))
        for row, exact_row in zip(printed, exact, strict=False)
        for number, e in zip(row, exact_row, strict=False)
    ]
    ours = np.abs(np.asarray(gradient).T - exact).max()
    return (
        "000 In [22] and [50]: float32 does not settle every printed digit. From the gradient in "
        f"float64, the document's was up to {max(theirs):.1e} away before it was printed, and this "
        f"one is up to {ours:.1e}; the weights after all steps contain it about 22 times"
    )
