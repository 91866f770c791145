"""averaging where torch adds: `optax.MultiSteps` takes the mean of the gradients.

Two backward passes and one step in torch move twice as far as `MultiSteps` does with the same
learning rate. Scale by the number of parts, or divide torch's loss by it.
"""

import jax.numpy as jnp
import optax

gradients = [jnp.array(2.0), jnp.array(3.0)]
optimizer = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)
w = jnp.array(1.0)
state = optimizer.init(w)
for gradient in gradients:
    updates, state = optimizer.update(gradient, state, w)
    w = optax.apply_updates(w, updates)
print("MultiSteps:", w)
print("torch:     ", 1.0 - 0.1 * sum(gradients))
