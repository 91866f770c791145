"""return it: losses are stacked by the scan and fetched once, at the end.

`.item()` and `float()` exist outside of compiled functions; inside, `jax.debug.print` prints.
"""

import jax
import jax.numpy as jnp


def step(w, _):
    return w - 0.2 * w, w**2


_, losses = jax.lax.scan(step, jnp.array(1.0), length=3)
print(losses.tolist())
