"""the default device: JAX takes an accelerator if it finds one; `device_put` overrides it.

A computation runs where its arguments are. A sharding puts an array on several devices at once.
"""

import jax
import jax.numpy as jnp

print("devices:", jax.devices())
x = jnp.ones((4, 3))
print("x:", x.device)
moved = jax.device_put(x, jax.devices()[0])
print("moved:", moved.device)
