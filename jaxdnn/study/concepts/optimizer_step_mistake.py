"""dropping the result: a pure step whose return value is not used does nothing.

No error, no warning; the loss stays where it is.
"""

import jax
import jax.numpy as jnp
import optax

optimizer, w = optax.sgd(0.1), jnp.array(1.0)
state = optimizer.init(w)
for step in range(3):
    loss, gradient = jax.value_and_grad(lambda w: w**2)(w)
    updates, state = optimizer.update(gradient, state, w)
    optax.apply_updates(w, updates)
    print("step", step, "loss", loss)
