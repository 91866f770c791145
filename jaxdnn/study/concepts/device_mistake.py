"""timing the dispatch: JAX returns before the device is done.

The same holds for torch on a GPU. Ask for the result with `block_until_ready` before the clock is
read.
"""

import time

import jax
import jax.numpy as jnp

product = jax.jit(lambda a: jnp.linalg.matrix_power(a, 64))
a = jnp.eye(1000)
product(a).block_until_ready()  # compiled
began = time.perf_counter()
result = product(a)
dispatched = time.perf_counter() - began
result.block_until_ready()
finished = time.perf_counter() - began
print("the dispatch takes less than half of the time:", dispatched < finished / 2)
