"""A Python `if` on a traced value: the program is made before there is a value to ask.

Choose with `jnp.where`, which computes both, or branch with `jax.lax.cond`.
"""

import jax
import jax.numpy as jnp


def relu(x):
    return x if x > 0 else 0 * x


print("not compiled:", relu(jnp.array(-2.0)))
print("where:", jax.jit(lambda x: jnp.where(x > 0, x, 0))(-2.0))
print("compiled:", jax.jit(relu)(-2.0))
