"""adding: each gradient is a value of its own; to accumulate, add them.

With many parts, carry the sum through `jax.lax.scan`, or let `optax.MultiSteps` do it.
"""

import jax
import jax.numpy as jnp

gradient = jax.grad(lambda w, x: w * x)
total = jnp.array(0.0)
for x in (2.0, 3.0):
    total = total + gradient(1.0, x)
    print("after x =", x, "the sum is", total.item())
