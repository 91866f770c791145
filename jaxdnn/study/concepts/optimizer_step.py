"""`update` and `apply_updates`: from gradients to updates, from old parameters to new ones.

Both are pure, so the old parameters are still there.
"""

import jax
import jax.numpy as jnp
import optax

w = jnp.array([1.0, -2.0])
optimizer = optax.sgd(0.1)
state = optimizer.init(w)
gradient = jax.grad(lambda w: (w**2).sum())(w)
updates, state = optimizer.update(gradient, state, w)
new = optax.apply_updates(w, updates)
print("before:", w)
print("after:", new)
