"""indices: a permutation cut into rows; the program selects the samples.

Rows must have one length, so the smaller last batch takes a step of its own.
"""

import jax
import jax.numpy as jnp

data = jnp.arange(10)
for epoch, key in enumerate(jax.random.split(jax.random.key(0), 2)):
    order = jax.random.permutation(key, len(data))
    batches, tail = order[:8].reshape(2, 4), order[8:]
    print("epoch", epoch, data[batches].tolist(), data[tail].tolist())
