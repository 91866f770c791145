"""The state of an optax transformation, under the names that torch gives its tensors."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import PyTree

from jaxdnn import optim

__all__ = ["optimizer_tensors", "parts", "restore"]

Arrays = dict[str, np.ndarray]

# For each state, the torch optimisers that have the same one, and their names for its fields. Other
# pairs cannot be compared directly: optax's momentum under RMSprop, for example, has already been
# multiplied by the learning rate.
_OPTAX_FIELDS: dict[type, tuple[set[str], dict[str, str]]] = {
    optax.TraceState: ({"SGD"}, {"trace": "momentum_buffer"}),
    optax.ScaleByAdamState: ({"Adam", "AdamW"}, {"mu": "exp_avg", "nu": "exp_avg_sq"}),
    optax.ScaleByAmsgradState: ({"Adam", "AdamW"}, {"mu": "exp_avg", "nu": "exp_avg_sq"}),
    optax.ScaleByRmsState: ({"RMSprop"}, {"nu": "square_avg"}),
    optax.ScaleByRStdDevState: ({"RMSprop"}, {"mu": "grad_avg", "nu": "square_avg"}),
    optax.ScaleByRssState: ({"Adagrad"}, {"sum_of_squares": "sum"}),
}
_OURS = {
    optim.SGDState: {"SGD"},
    optim.AdamState: {"Adam", "AdamW"},
    optim.RMSpropState: {"RMSprop"},
    optim.AdagradState: {"Adagrad"},
}
_KNOWN = (*_OPTAX_FIELDS, *_OURS)


def optimizer_tensors(
    opt_state: optax.OptState,
    to_torch: Callable[[PyTree], Mapping[str, np.ndarray]],
    *,
    like: PyTree,
    optimizer: str | None = None,
) -> Arrays:
    """The tensors that can be compared with the state of a torch optimiser.

    Args:
      opt_state: of any optax transformation, `jaxdnn.optim`'s included.
      to_torch: from a tree like the parameters to arrays by torch name.
      like: the parameters; states that are not trees like them are left out.
      optimizer: the class of torch's optimiser, ``"SGD"``; None for whichever fits.

    Returns:
      Arrays called ``optimizer/<parameter>/<torch's field>``; empty if nothing is known.
    """
    tensors = {}
    for part in parts(opt_state):
        for field, torch_name in _fields(part, optimizer).items():
            for name, array in _covered(getattr(part, field), to_torch, like).items():
                tensors[f"optimizer/{name}/{torch_name}"] = array
    return tensors


def _covered(
    tree: PyTree, to_torch: Callable[[PyTree], Mapping[str, np.ndarray]], like: PyTree
) -> Mapping[str, np.ndarray]:
    """The tensors of a tree like the parameters, of which optax may have masked some."""
    if jax.tree.structure(tree) == jax.tree.structure(like):
        return to_torch(tree)
    masked = _masks(tree, like)
    if masked is None:
        return {}
    leaves, structure = jax.tree.flatten(like)
    filled = [
        np.full(np.shape(leaf), np.nan) if own is None else own
        for own, leaf in zip(masked, leaves, strict=True)
    ]
    arrays = to_torch(jax.tree.unflatten(structure, filled))
    marks = [
        np.full(np.shape(x), float(own is None)) for own, x in zip(masked, leaves, strict=True)
    ]
    absent = to_torch(jax.tree.unflatten(structure, marks))
    return {name: array for name, array in arrays.items() if not np.any(absent[name])}


def _masks(tree: PyTree, like: PyTree) -> list[Any] | None:
    """The leaves of a tree with masks, None for each mask; None if it is of another shape."""

    def is_mask(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    marked = jax.tree.map(lambda node: None if is_mask(node) else node, tree, is_leaf=is_mask)
    leaves, structure = jax.tree.flatten(marked, is_leaf=lambda node: node is None)
    return leaves if structure == jax.tree.structure(like) else None


def restore(
    opt_state: optax.OptState,
    moments: Mapping[str, np.ndarray],
    from_torch: Callable[[Arrays], PyTree],
    to_torch: Callable[[PyTree], Mapping[str, np.ndarray]],
    *,
    like: PyTree,
    tensors: Mapping[str, np.ndarray],
    optimizer: str | None,
) -> optax.OptState:
    """The state with the tensors of a torch optimiser in it, where they correspond.

    Args:
      opt_state: of any optax transformation; its counts stay as they are.
      moments: arrays called ``optimizer/<parameter>/<torch's field>``; those of parameters that
        torch does not train are absent, and stay as they are.
      from_torch: from arrays by torch name to a tree like the parameters.
      to_torch: its inverse.
      like: the parameters.
      tensors: torch's parameters by name.
      optimizer: the class of torch's optimiser.

    Returns:
      A state like ``opt_state``.
    """

    def replaced(tree: PyTree, found: Mapping[str, np.ndarray]) -> PyTree:
        masked = _masks(tree, like)
        if masked is None:
            return tree
        known = dict(found)
        if known.keys() != tensors.keys():
            known = {**_covered(tree, to_torch, like), **known}
        full = {
            name: np.asarray(known.get(name, np.zeros_like(array)), array.dtype)
            for name, array in tensors.items()
        }
        leaves, structure = jax.tree.flatten(from_torch(full))
        new = [
            optax.MaskedNode() if own is None else leaf
            for own, leaf in zip(masked, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, new)

    def restored(part: Any) -> Any:
        trees = {}
        for field, torch_name in _fields(part, optimizer).items():
            suffix = f"/{torch_name}"
            found = {
                key.removeprefix("optimizer/").removesuffix(suffix): array
                for key, array in moments.items()
                if key.endswith(suffix)
            }
            if found:
                trees[field] = replaced(getattr(part, field), found)
        return part._replace(**trees) if trees else part

    return jax.tree.map(restored, opt_state, is_leaf=_is_known)


def parts(opt_state: optax.OptState) -> list[Any]:
    """Those states inside a transformation's state that a torch optimiser has too."""
    return list(filter(_is_known, jax.tree.leaves(opt_state, is_leaf=_is_known)))


def _is_known(node: Any) -> bool:
    return isinstance(node, _KNOWN)


def _fields(part: Any, optimizer: str | None) -> dict[str, str]:
    if type(part) in _OPTAX_FIELDS:
        optimizers, fields = _OPTAX_FIELDS[type(part)]
    elif type(part) in _OURS:
        optimizers, fields = _OURS[type(part)], {f: f for f in part._fields if f != "count"}
    else:
        return {}
    return fields if optimizer is None or optimizer in optimizers else {}
