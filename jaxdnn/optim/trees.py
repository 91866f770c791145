"""Operations of the optimisers on trees of parameters and gradients."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float

from jaxdnn.optim.hyperparameters import Number, is_zero

__all__ = ["full_like", "like", "prepare", "require_params"]


def like(value: ArrayLike, leaf: Float[Array, "..."]) -> Float[Array, ""]:
    """A scalar in the dtype of a leaf, so that their product is not promoted."""
    return jnp.asarray(value, leaf.dtype)


def full_like(params: optax.Params, value: Number = 0.0) -> optax.Params:
    """A tree of the structure, shapes and dtypes of the parameters, filled with a value."""

    def fill(leaf: ArrayLike) -> Array:
        leaf = jnp.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"Parameters must be real floating-point arrays; got {leaf.dtype}.")
        return jnp.full_like(leaf, value)

    return jax.tree.map(fill, params)


def prepare(
    updates: optax.Updates,
    params: optax.Params | None,
    *,
    weight_decay: Number,
    maximize: bool,
) -> optax.Updates:
    """The gradients, negated if ``maximize``, plus ``weight_decay`` times the parameters."""
    if maximize:
        updates = jax.tree.map(jnp.negative, updates)
    if is_zero(weight_decay):
        return updates
    return jax.tree.map(lambda g, p: g + like(weight_decay, g) * p, updates, require_params(params))


def require_params(params: optax.Params | None) -> optax.Params:
    """The parameters; raises ValueError if the caller of ``update`` omitted them."""
    if params is None:
        raise ValueError("Weight decay needs the parameters: call update(grads, state, params).")
    return params
