"""Conversion between flax parameter trees and torch's ``state_dict``, strict in both directions.

======================  ==================  ==============================
flax                    torch               layout
======================  ==================  ==============================
``kernel`` (in, out)    ``weight``          transposed to (out, in)
``kernel`` HWIO         ``weight``          transposed to OIHW
``scale``               ``weight``          unchanged (normalisation layers)
``bias``                ``bias``            unchanged
======================  ==================  ==============================
"""

import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxdnn.errors import CheckpointError
from jaxdnn.torch_compat.rng import Generator

__all__ = ["from_torch", "initial_params", "to_torch"]

_TORCH_LEAF = {"kernel": "weight", "scale": "weight", "bias": "bias"}
# By the rank of a kernel: the axes to transpose to (out, in) or OIHW, and back.
_TO_TORCH_AXES = {2: (1, 0), 4: (3, 2, 0, 1)}
_FROM_TORCH_AXES = {2: (1, 0), 4: (2, 3, 1, 0)}


def to_torch(params: PyTree) -> dict[str, np.ndarray]:
    """Convert a parameter tree to arrays as in torch's ``state_dict``.

    Args:
      params: nested dictionaries whose leaves have flax's names. A tree of the same structure, such
        as gradients or momentum, is also accepted.

    Returns:
      C-contiguous NumPy arrays by torch name, as torch orders them where modules are named in the
      order in which they are made: ``net.9`` before ``net.10``, a weight before its bias. They are
      copies.

    Raises:
      ValueError: a leaf has a name or a rank with no counterpart in the table above.

    Example:
      >>> tensors = to_torch({"net.1": {"kernel": jnp.ones((784, 32)), "bias": jnp.ones(32)}})
      >>> {name: tensor.shape for name, tensor in tensors.items()}
      {'net.1.weight': (32, 784), 'net.1.bias': (32,)}
    """
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, axes = _torch_name_and_axes(path, np.ndim(leaf), _TO_TORCH_AXES)
        tensors[name] = np.array(np.transpose(np.asarray(leaf), axes), order="C", copy=True)
    return {name: tensors[name] for name in sorted(tensors, key=_torch_order_of_leaf)}


def from_torch(tensors: Mapping[str, np.ndarray], like: PyTree | None = None) -> PyTree:
    """Convert the arrays of torch's ``state_dict`` to a parameter tree.

    Args:
      tensors: arrays by torch name, for instance ``{name: tensor.numpy() for name, tensor in
        module.state_dict().items()}``.
      like: a tree of the wanted structure, shapes and dtypes, whose leaves may be
        `jax.ShapeDtypeStruct`, as from ``jax.eval_shape(model.init, key)``. By default the tree has
        one dictionary for each module, under its dotted name, and a weight of rank 1 is a
        ``scale``, any other a ``kernel``.

    Returns:
      A tree like ``like`` with the values of ``tensors``, copied and cast to its dtypes.

    Raises:
      CheckpointError: a tensor is missing, unexpected, of another shape or not floating-point; the
        error names all such tensors.

    Example:
      >>> like = {"net.1": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}
      >>> params = from_torch({"net.1.weight": np.ones((2, 3)), "net.1.bias": np.ones(2)}, like)
      >>> params["net.1"]["kernel"].shape
      (3, 2)
      >>> from_torch({"net.1.weight": np.ones((3, 2))}, like)
      Traceback (most recent call last):
      jaxdnn.errors.CheckpointError: net.1.bias is missing; net.1.weight is (3, 2), not (2, 3).
    """
    if like is None:
        like = _flax_tree(tensors)
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = [
        (*_torch_name_and_axes(path, leaf.ndim, _FROM_TORCH_AXES), leaf) for path, leaf in leaves
    ]
    faults, values = [], []
    for name, axes, leaf in wanted:
        if name not in tensors:
            faults.append(f"{name} is missing")
            continue
        tensor = np.asarray(tensors[name])
        shape = tuple(leaf.shape[axes.index(i)] for i in range(leaf.ndim))
        if tensor.shape != shape:
            faults.append(f"{name} is {tensor.shape}, not {shape}")
        elif tensor.dtype.kind != "f":
            faults.append(f"{name} is {tensor.dtype}, not of floats")
        else:
            values.append(jnp.array(np.transpose(tensor, axes), leaf.dtype, copy=True))
    known = {name for name, _, _ in wanted}
    faults += [f"{name} is not in the model" for name in tensors if name not in known]
    if faults:
        raise CheckpointError("; ".join(faults) + ".")
    return structure.unflatten(values)


def _torch_order(module: str) -> list[tuple[int, str]]:
    """A key to sort modules by, which orders the numbers in their names by size."""
    parts = re.split(r"(\d+)", module)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _torch_order_of_leaf(name: str) -> tuple[list[tuple[int, str]], bool]:
    module, _, leaf = name.rpartition(".")
    return _torch_order(module), leaf == "bias"


def _flax_tree(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """The tree of shapes and dtypes that flax's layers would have for these tensors."""
    tree: dict[str, dict[str, jax.ShapeDtypeStruct]] = {}
    for name, tensor in tensors.items():
        module, _, leaf = name.rpartition(".")
        rank = np.ndim(tensor)
        if leaf not in ("weight", "bias") or (leaf == "weight" and rank not in (1, 2, 4)):
            raise CheckpointError(
                f"{name} of rank {rank} has no counterpart in flax's layers; give a from_torch."
            )
        if leaf == "weight":
            leaf = "scale" if rank == 1 else "kernel"
        axes = _FROM_TORCH_AXES[rank] if leaf == "kernel" else tuple(range(rank))
        shape = tuple(np.shape(tensor)[axis] for axis in axes)
        tree.setdefault(module, {})[leaf] = jax.ShapeDtypeStruct(shape, np.asarray(tensor).dtype)
    return tree


def initial_params(generator: Generator, like: PyTree) -> PyTree:
    """Draw the initial parameters of torch's linear and convolutional layers.

    Args:
      generator: torch's generator; advanced.
      like: a tree with one dictionary for each layer, as in `from_torch`. torch must make the
        layers in the order of their names: ``net.2`` before ``net.10``, ``conv1`` before ``fc1``.

    Returns:
      A tree like ``like``.

    Example:
      >>> like = {"fc": {"kernel": jax.ShapeDtypeStruct((3, 2), jnp.float32)}}
      >>> initial_params(Generator(0), like)["fc"]["kernel"].shape
      (3, 2)
    """
    tensors = {}
    for layer in sorted(like, key=_torch_order):
        kernel, bias = like[layer]["kernel"], "bias" in like[layer]
        if kernel.ndim == 2:
            drawn = generator.linear(*kernel.shape, bias=bias)
        else:
            *size, channels, out = kernel.shape
            drawn = generator.conv2d(channels, out, tuple(size), bias=bias)
        tensors |= {f"{layer}.{name}": values for name, values in drawn.items()}
    return from_torch(tensors, like=like)


def _torch_name_and_axes(
    path: tuple, ndim: int, axes_by_rank: Mapping[int, tuple[int, ...]]
) -> tuple[str, tuple[int, ...]]:
    if not path or not all(isinstance(entry, jax.tree_util.DictKey) for entry in path):
        raise ValueError(
            f"parameter {jax.tree_util.keystr(path) or 'without a name'}: parameters must be "
            "leaves of nested dictionaries, as flax makes them."
        )
    *modules, leaf = (str(entry.key) for entry in path)
    if leaf not in _TORCH_LEAF:
        raise ValueError(f"{'.'.join([*modules, leaf])}: torch has no counterpart of {leaf!r}.")
    axes = tuple(range(ndim))
    if leaf == "kernel":
        if ndim not in axes_by_rank:
            raise ValueError(f"{'.'.join(modules)}: a kernel of rank {ndim} is not supported.")
        axes = axes_by_rank[ndim]
    return ".".join([*filter(None, modules), _TORCH_LEAF[leaf]]), axes
