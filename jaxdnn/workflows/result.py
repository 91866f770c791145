"""What a training run leaves: for the terminal, the plot, the checkpoint and the JSON file."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdnn.errors import ConfigError
from jaxdnn.models import Params

__all__ = ["TrainingResult", "device_and_precision"]


def device_and_precision() -> tuple[str, str]:
    """The default device in words, and the float type that JAX computes in.

    Off the CPU, matrix products of float32 may be less precise than float32; unless
    ``jax_default_matmul_precision`` says otherwise, JAX takes the device's fastest.

    Raises:
      ConfigError: JAX finds no device.
    """
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "the plugin is not installed"
        raise ConfigError(f"JAX finds no device ({reason}); check JAX_PLATFORMS.") from error
    kind = "" if device.device_kind == device.platform else f" ({device.device_kind})"
    precision = str(jax.numpy.result_type(float))
    if device.platform != "cpu":
        products = jax.config.values["jax_default_matmul_precision"] or "default"
        precision += f" with {products} matrix products"
    return f"{device.platform}{kind}", precision


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
      workflow: its id.
      seed: what decided everything that is random.
      config: the workflow's configuration.
      data_source: where the data came from, in words.
      params: the trained parameters.
      losses: of every step of the run, in order.
      test_accuracy_by_epoch: after every epoch, between 0 and 1.
      compile_seconds: wall time spent compiling.
      train_seconds: wall time spent training and evaluating.
    """

    workflow: str
    seed: int
    config: Any
    data_source: str
    params: Params
    losses: Float[np.ndarray, " steps"]
    test_accuracy_by_epoch: Float[np.ndarray, " epochs"]
    compile_seconds: float
    train_seconds: float

    @property
    def test_accuracy(self) -> float:
        """After the last epoch."""
        return float(self.test_accuracy_by_epoch[-1])

    @property
    def diverged_at(self) -> int | None:
        """The first step, from 1, with a loss, or at last parameters, that are not finite."""
        steps = np.flatnonzero(~np.isfinite(self.losses))
        if len(steps):
            return int(steps[0]) + 1
        leaves = (np.asarray(leaf) for leaf in jax.tree.leaves(self.params))
        return None if all(np.isfinite(leaf).all() for leaf in leaves) else len(self.losses)

    def to_dict(self) -> dict[str, Any]:
        """All but the parameters, as JSON holds it; a loss that is not finite becomes None."""
        device, precision = device_and_precision()
        return {
            "workflow": self.workflow,
            "test_accuracy": self.test_accuracy,
            "test_accuracy_by_epoch": self.test_accuracy_by_epoch.tolist(),
            "losses": [x if np.isfinite(x) else None for x in self.losses.tolist()],
            "compile_seconds": self.compile_seconds,
            "train_seconds": self.train_seconds,
            "device": device,
            "precision": precision,
            "data_source": self.data_source,
            "config": {**dataclasses.asdict(self.config), "seed": self.seed},
        }
