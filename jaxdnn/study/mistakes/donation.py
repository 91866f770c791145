"""Reading a donated buffer: donation gives an argument's memory to the result.

It saves the second copy of parameters and optimiser state. The old value is gone, and whoever still
holds it gets an error.
"""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.jit, donate_argnums=0)
def step(w):
    return 0.9 * w


old = jnp.ones(3)
new = step(old)
print("new:", new)
print("old:", old)
