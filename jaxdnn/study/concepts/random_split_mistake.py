"""permuting each array by itself: inputs and labels no longer belong together.

Both lines run, with different keys; the network then learns noise. Draw one permutation.
"""

import jax
import jax.numpy as jnp

x, y = jnp.arange(6), jnp.arange(6) ** 2
key_x, key_y = jax.random.split(jax.random.key(0))
x_shuffled = jax.random.permutation(key_x, x)
y_shuffled = jax.random.permutation(key_y, y)
print("x: ", x_shuffled)
print("x²:", x_shuffled**2)
print("y: ", y_shuffled)
