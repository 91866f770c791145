"""mapping over the wrong axis: `vmap` takes the first axis of every argument, unless it is told.

Here the weights are mapped, too: each example meets one weight of its own. Nothing fails, since
both have three entries. Say `in_axes=(None, 0)` for what all examples share.
"""

import jax
import jax.numpy as jnp


def predict(w, x):
    return (w * x).sum()


w, x = jnp.array([1.0, 2.0, 3.0]), jnp.ones((3, 3))
print("as meant: ", jax.vmap(predict, in_axes=(None, 0))(w, x))
print("unnoticed:", jax.vmap(predict)(w, x))
