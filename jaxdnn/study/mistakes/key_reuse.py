"""A key used twice: the two draws are not independent; of one shape, they are equal.

Here the noise of the data is the initial weight. JAX does not mind, unless it is asked to:
`jax.debug_key_reuse` makes the second use an error.
"""

import jax

key = jax.random.key(0)
weight = jax.random.normal(key, (3,))
noise = jax.random.normal(key, (3,))
print("weight:", weight)
print("noise: ", noise)
with jax.debug_key_reuse(True):
    key = jax.random.key(1)
    weight = jax.random.normal(key, (3,))
    noise = jax.random.normal(key, (3,))
