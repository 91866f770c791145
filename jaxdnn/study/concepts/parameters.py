"""a pytree: nested dictionaries of arrays, which `jax.tree` maps over.

Gradients, momentum and updates are trees of the same structure.
"""

import jax
import jax.numpy as jnp

params = {
    "0": {"kernel": jnp.ones((3, 5)), "bias": jnp.zeros(5)},
    "2": {"kernel": jnp.ones((5, 2)), "bias": jnp.zeros(2)},
}
print("numbers:", sum(leaf.size for leaf in jax.tree.leaves(params)))
halved = jax.tree.map(lambda leaf: 0.5 * leaf, params)
print("new:", halved["0"]["kernel"].max(), "old:", params["0"]["kernel"].max())
