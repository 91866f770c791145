"""What the classifiers of handwritten digits share: where MNIST comes from, and a timed run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdnn.data import mnist
from jaxdnn.data.mnist import MNIST
from jaxdnn.execution import Progress, compile_and_run
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.result import Network, Training

__all__ = ["Inputs", "run"]


@dataclass(frozen=True)
class Inputs:
    """What is read."""

    data_dir: Path | None = None
    """Folder with the four MNIST files, plain or .gz; by default the cache, then a download."""

    def load(self, seed: int, progress: Any = None) -> tuple[MNIST, str]:
        """MNIST, and where it came from; see `jaxdnn.data.mnist.load`."""
        data, source = mnist.load(self.data_dir, progress=progress)
        return data, f"MNIST from {source}"


def run(
    seed: int,
    config: Any,
    data: MNIST,
    *,
    init: Callable[..., Any],
    train: Callable[..., Any],
    data_source: str,
    progress: Progress | None,
) -> tuple[Training, Network, Float[np.ndarray, " steps"]]:
    """A workflow's ``fit``, in its two parts: the state donated, and the times taken.

    Args:
      seed: of the key that decides everything that is random.
      config: the workflow's.
      data: MNIST.
      init: the workflow's ``init(key, config) -> state``.
      train: the workflow's ``train(state, key, config, data) -> (state, history)``.
      data_source: where the data came from, in words.
      progress: told how the run goes while it goes on.

    Returns:
      How the run went, the network, and the loss of every step.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.
    """
    require_seed(seed)
    if progress is not None:
        progress.on_start(
            epochs=config.epochs, samples=len(data.train_labels), batch_size=config.batch_size
        )
    data = jax.device_put(data)
    shuffle_key, init_key = jax.random.split(jax.random.key(seed))
    state, starting = compile_and_run(init, init_key, config)
    (state, history), training_time = compile_and_run(
        partial(train, progress=progress), state, shuffle_key, config, data, donate_argnums=0
    )
    # A share in float32 is a little off its decimal; the count behind it is exact.
    test_samples = len(data.test_labels)
    correct = np.rint(np.asarray(history.test_accuracy, np.float64) * test_samples)
    training = Training(
        data_source=data_source,
        samples=config.epochs * len(data.train_labels),
        compile_seconds=starting.compile_seconds + training_time.compile_seconds,
        train_seconds=starting.run_seconds + training_time.run_seconds,
        test_accuracy_by_epoch=correct / test_samples,
    )
    return training, Network(state.params, {"outputs": "digits"}), np.ravel(history.losses)
