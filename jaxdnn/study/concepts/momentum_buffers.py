"""`opt_state`: a value, which goes in and comes out.

It can be printed, saved, donated, sharded and vmapped like any other.
"""

import jax
import jax.numpy as jnp
import optax

optimizer = optax.sgd(0.1, momentum=0.9)
w = jnp.array(1.0)
state = optimizer.init(w)
for _step in range(3):
    gradient = jax.grad(lambda w: w**2)(w)
    updates, state = optimizer.update(gradient, state, w)
    w = optax.apply_updates(w, updates)
    (buffer,) = jax.tree.leaves(state)
    print(f"weight {w:.4f}, buffer {buffer:.4f}")
