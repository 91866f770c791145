"""parameters outside of the arguments: what a function closes over is a constant under `jit`.

The compiled program keeps the parameters it was traced with, however often they are replaced.
"""

import jax
import jax.numpy as jnp

params = {"w": jnp.array(1.0)}


@jax.jit
def predict(x):
    return params["w"] * x


print("w = 1:", predict(10.0))
params = {"w": jnp.array(2.0)}
print("w = 2:", predict(10.0))
