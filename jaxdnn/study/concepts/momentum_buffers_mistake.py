"""a fresh state at every step: the momentum never builds up.

It happens where `init` is called inside the step. The numbers are those of plain SGD.
"""

import jax
import jax.numpy as jnp
import optax

optimizer = optax.sgd(0.1, momentum=0.9)


def step(w):
    state = optimizer.init(w)
    updates, _ = optimizer.update(jax.grad(lambda w: w**2)(w), state, w)
    return optax.apply_updates(w, updates)


w = jnp.array(1.0)
for _step in range(3):
    w = step(w)
    print(f"weight {w:.4f}")
