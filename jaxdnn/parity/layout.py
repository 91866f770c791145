"""The way from a parameter tree back to torch's tensors: the inverse of ``from_torch``."""

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PyTree

__all__ = ["Layout", "checked", "trace"]

Arrays = dict[str, np.ndarray]

_LARGE = 2**15
"""Elements beyond which an array of float64 does not fit the first or second cache (256 kB)."""


class Layout(NamedTuple):
    """How torch's parameters lie in a port's.

    Attributes:
      to_torch: from a tree like the parameters to arrays by torch name.
      only_torch: parameters of torch of which some elements do not reach the port.
      only_port: leaves of the port of which some elements do not come from torch, or do not go
        back to it.
      changed: parameters that come back from the port as other numbers, or in another shape.
    """

    to_torch: Callable[[PyTree], Arrays]
    only_torch: tuple[str, ...]
    only_port: tuple[str, ...]
    changed: tuple[str, ...] = ()


def checked(
    from_torch: Callable[[Arrays], PyTree],
    to_torch: Callable[[PyTree], Arrays],
    shapes: Mapping[str, tuple[int, ...]],
) -> Layout:
    """A ``to_torch`` that the user gives, and what it leaves out.

    Both are tried on random numbers: initial parameters may be 0, which every mistake returns.

    Args:
      from_torch: from arrays by torch name to a parameter tree.
      to_torch: its inverse.
      shapes: of torch's parameters, by name.

    Example:
      >>> layout = checked(dict, lambda p: {"w": p["w"]}, {"w": (2,), "b": (2,)})
      >>> layout.only_torch, layout.only_port
      (('b',), ('b',))
    """
    numbers = np.random.default_rng(0)
    arrays = {name: numbers.normal(size=shape) for name, shape in shapes.items()}
    tree = from_torch(dict(arrays))
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = [np.asarray(leaf) for _, leaf in paths]

    def in_numpy(tree: PyTree) -> Arrays:
        return {name: np.asarray(array) for name, array in to_torch(tree).items()}

    def returned(leaves: list[np.ndarray]) -> Arrays:
        return in_numpy(jax.tree.unflatten(structure, leaves))

    back = returned(leaves)
    only_port = []
    for i, (path, _) in enumerate(paths):
        moved = returned([leaf + (i == j) for j, leaf in enumerate(leaves)])
        read = sum(int(np.sum(moved[name] != back[name])) for name in back)
        if read < leaves[i].size:
            only_port.append(jax.tree_util.keystr(path, simple=True, separator="."))
    changed = tuple(
        name
        for name, array in arrays.items()
        if name in back
        and (back[name].shape != array.shape or not np.allclose(back[name], array, 1e-12, 1e-12))
    )
    missing = tuple(name for name in shapes if name not in back)
    return Layout(in_numpy, missing, tuple(only_port), changed)


def trace(from_torch: Callable[[Arrays], PyTree], shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """Invert ``from_torch``, which may reorder, reshape, split and stack, element by element.

    Args:
      from_torch: from arrays by torch name to a parameter tree. It moves numbers and does not
        change them.
      shapes: of torch's parameters, by name.

    Returns:
      The inverse, and what has no counterpart.

    Raises:
      ValueError: ``from_torch`` changes numbers, or takes one twice, so that its inverse has to be
        given.

    Example:
      >>> layout = trace(lambda t: {"kernel": t["fc.weight"].T}, {"fc.weight": (2, 3)})
      >>> layout.to_torch({"kernel": np.arange(6.0).reshape(3, 2)})
      {'fc.weight': array([[0., 2., 4.],
             [1., 3., 5.]])}
    """
    numbered, count = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=int))
        # From 1, since 0 marks what does not come from torch.
        numbered[name] = np.arange(count + 1, count + size + 1, dtype=np.float64).reshape(shape)
        count += size
    try:
        params = from_torch(dict(numbered))
    except KeyError as error:
        raise ValueError(
            f"from_torch asks for {error}, which torch's module does not have; its parameters are "
            f"{', '.join(shapes)}."
        ) from error
    paths = jax.tree_util.tree_leaves_with_path(params)
    leaves = [(path, np.asarray(leaf, np.float64)) for path, leaf in paths]
    numbers = np.concatenate([np.zeros(0), *(leaf.ravel() for _, leaf in leaves)])
    indices = np.rint(numbers).astype(np.int64)
    if np.any(indices != numbers) or np.any((indices < 0) | (indices > count)):
        raise ValueError(
            "from_torch changes the parameters' values, rather than only moving them; give "
            "to_torch, its inverse, too."
        )
    taken = np.bincount(indices, minlength=count + 1)
    if np.any(taken[1:] > 1):
        twice = ", ".join(name for name, array in numbered.items() if _takes_twice(taken, array))
        raise ValueError(
            f"from_torch uses {twice} more than once. Where torch ties two layers, the port must "
            "have one leaf for both; or give to_torch, its inverse, too."
        )

    positions = np.zeros(count + 1, np.int64)
    positions[indices] = np.arange(len(indices))
    only_torch, moves, offset = [], {}, 1
    for name, array in numbered.items():
        here = slice(offset, offset + array.size)
        offset += array.size
        if np.all(taken[here]):
            moves[name] = _move(
                positions[here].reshape(array.shape), [np.asarray(x) for _, x in leaves]
            )
        else:
            only_torch.append(name)
    only_port = tuple(
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in leaves
        if not np.all(leaf)
    )

    def to_torch(tree: PyTree) -> Arrays:
        leaves = jax.tree.leaves(tree)
        return {name: move(leaves) for name, move in moves.items()}

    return Layout(to_torch, tuple(only_torch), only_port)


def _move(
    positions: np.ndarray, leaves: list[np.ndarray]
) -> Callable[[list[ArrayLike]], np.ndarray]:
    """Read a tensor from the leaves: one leaf with its axes permuted if possible, else a gather."""
    ends = np.cumsum([np.size(leaf) for leaf in leaves])
    first = int(np.searchsorted(ends, positions.flat[0], side="right")) if positions.size else 0
    offset, shape = int(ends[first] - np.size(leaves[first])), np.shape(leaves[first])
    if positions.size == np.size(leaves[first]) and positions.ndim == len(shape):
        ordered = np.arange(positions.size).reshape(shape) + offset
        for axes in itertools.permutations(range(positions.ndim)):
            permuted = ordered.transpose(axes)
            if permuted.shape == positions.shape and np.array_equal(permuted, positions):
                return lambda arrays: _transposed(arrays[first], axes)

    def gather(arrays: list[ArrayLike]) -> np.ndarray:
        return np.asarray(np.concatenate([np.ravel(array) for array in arrays])[positions])

    return gather


def _transposed(array: ArrayLike, axes: tuple[int, ...]) -> np.ndarray:
    # Comparing a transposed view with torch's rows would jump through memory; XLA transposes it
    # block by block.
    if isinstance(array, jax.Array) and array.size > _LARGE and axes != tuple(range(array.ndim)):
        return np.asarray(array.transpose(axes))
    return np.asarray(array).transpose(axes)


def _takes_twice(taken: np.ndarray, numbered: np.ndarray) -> bool:
    return bool(np.any(taken[numbered.astype(np.int64)] > 1))
