"""Data parallelism: batches sharded over a mesh of devices, parameters replicated on each.

The training step is unchanged. A sharding constraint on the batch, inside the loss, is enough: XLA
partitions the matrix products and inserts the all-reduce of the gradients.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PyTree

__all__ = ["data_mesh", "data_parallel", "network_mesh", "replicate"]

T = TypeVar("T")

Loss = Callable[..., Float[Array, ""]]


def data_mesh(devices: int | None = None) -> Mesh:
    """A one-dimensional mesh with the axis ``data``.

    Args:
      devices: how many; by default all, those of other processes included.

    Returns:
      The mesh.

    Raises:
      ValueError: there are not so many.

    Example:
      >>> dict(data_mesh(1).shape)
      {'data': 1}
    """
    found = jax.devices()
    count = len(found) if devices is None else devices
    if not 1 <= count <= len(found):
        raise ValueError(f"devices must be from 1 to {len(found)}; got {count}.")
    return _row(found[:count], "data")


def network_mesh(devices: Sequence[Any]) -> Mesh:
    """A one-dimensional mesh over which the networks of an ensemble are divided.

    Args:
      devices: of JAX.

    Returns:
      A mesh with the axis ``networks``.
    """
    return _row(devices, "networks")


def data_parallel(loss: Loss, mesh: Mesh) -> Loss:
    r"""Shard every batch of a loss over the devices of a mesh.

    .. math:: L(\theta; B), \quad B = B_1 \cup \dots \cup B_n, \quad
              \text{where device } d \text{ computes the examples } B_d

    The value and the gradient are unchanged, except for the order of summation. The batch size need
    not be divisible by the number of devices.

    Args:
      loss: ``loss(params, *batch) -> scalar``, of arrays whose first axis counts the examples.
      mesh: with an axis ``data``.

    Returns:
      A function like ``loss``, to be jitted with parameters that `replicate` placed.

    Example:
      >>> def loss(w, x):
      ...     return ((w - x) ** 2).mean()
      >>> import jax.numpy as jnp
      >>> mesh = data_mesh()
      >>> w, x = replicate(jnp.array(3.0), mesh), jnp.arange(5.0)
      >>> value, gradient = jax.jit(jax.value_and_grad(data_parallel(loss, mesh)))(w, x)
      >>> print(value, gradient)
      3.0 2.0

    Reference:
      `Distributed arrays and automatic parallelization
      <https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html>`_
    """
    shared = NamedSharding(mesh, PartitionSpec("data"))

    def loss_of_shared(params: PyTree, *batch: Array) -> Float[Array, ""]:
        return loss(params, *(jax.lax.with_sharding_constraint(array, shared) for array in batch))

    return loss_of_shared


def replicate(tree: T, mesh: Mesh) -> T:
    """Replicate arrays on every device of a mesh; every process must have the same values.

    Args:
      tree: arrays.
      mesh: of any axes.

    Returns:
      The tree on the devices.
    """
    sharding = NamedSharding(mesh, PartitionSpec())

    def place(array: Array | np.ndarray) -> Array:
        values = np.asarray(array)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(place, tree)


def _row(devices: Sequence[Any], axis: str) -> Mesh:
    return jax.make_mesh(
        (len(devices),),
        (axis,),
        axis_types=(AxisType.Auto,),
        devices=devices,  # type: ignore[arg-type]
    )
