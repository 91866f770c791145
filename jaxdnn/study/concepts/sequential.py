"""a fold: apply one function after the other; an activation has no parameters.

`jaxdnn.models.mlp` is this, with torch's names.
"""

import jax
import jax.numpy as jnp


def apply(params, x):
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"]


sizes = ((3, 5), (5, 2))
params = [{"kernel": jnp.ones(size), "bias": jnp.zeros(size[1])} for size in sizes]
print(jax.tree.map(jnp.shape, params))
print(apply(params, jnp.ones((4, 3))).shape)
