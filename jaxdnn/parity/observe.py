"""What a JAX training step saw and did, as NumPy arrays under torch's names."""

from collections.abc import Iterable, Iterator

import jax
import numpy as np
import optax

from jaxdnn import torch_compat
from jaxdnn.parity.compare import Observation
from jaxdnn.parity.states import optimizer_tensors
from jaxdnn.training import Batch, Loss, TrainState, train_step

__all__ = ["observe"]


def observe(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batches: Iterable[Batch],
) -> Iterator[Observation]:
    """Train, one jitted step a batch, and yield what each step computed.

    Args:
      loss: ``loss(params, *batch) -> scalar``.
      optimizer: any optax transformation; of its state, what torch has too is observed.
      state: where the run starts.
      batches: arrays with one first axis.

    Yields:
      For each step an ordered mapping ``phase/tensor -> array``, as
      `reference_torch.parity.observe.observe` yields it for the same step in torch.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"line": {"kernel": jnp.ones((1, 1))}}
      >>> sgd = optax.sgd(0.1, momentum=0.9)
      >>> def loss(params, x, y):
      ...     return ((x @ params["line"]["kernel"] - y) ** 2).mean()
      >>> state = TrainState(params, sgd.init(params))
      >>> [step] = observe(loss, sgd, state, [(jnp.ones((4, 1)), jnp.zeros((4, 1)))])
      >>> list(step)
      ['batch/0', 'batch/1', 'loss', 'grad/line.weight', \
'optimizer/line.weight/momentum_buffer', 'param/line.weight']
    """
    for batch in batches:
        state, info = _compiled_step(loss, optimizer, state, batch)
        seen = {f"batch/{i}": np.array(array) for i, array in enumerate(batch)}
        seen["loss"] = np.asarray(info.loss)
        grads = torch_compat.to_torch(info.grads)
        seen |= {f"grad/{name}": array for name, array in grads.items()}
        seen |= optimizer_tensors(state.opt_state, torch_compat.to_torch, like=state.params)
        params = torch_compat.to_torch(state.params)
        seen |= {f"param/{name}": array for name, array in params.items()}
        yield seen


_compiled_step = jax.jit(train_step, static_argnums=(0, 1))
