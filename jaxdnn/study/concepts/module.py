"""`init` and `apply`: architecture is code, parameters are data.

`init` makes the parameters from a key, `apply` is given them.
"""

import jax
import jax.numpy as jnp


def init(key):
    kernel = jax.random.uniform(key, (3, 2), minval=-1, maxval=1) / 3**0.5
    return {"linear": {"kernel": kernel, "bias": jnp.zeros(2)}}


def apply(params, x):
    linear = params["linear"]
    return jax.nn.relu(x @ linear["kernel"] + linear["bias"])


params = init(jax.random.key(0))
print(jax.tree.map(jnp.shape, params))
print(apply(params, jnp.ones((4, 3))).shape)
