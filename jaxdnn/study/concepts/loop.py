"""`scan`: the loop is part of the program; the state is carried, the reports are stacked.

One step is compiled, however many are taken.
"""

import jax
import jax.numpy as jnp


def step(w, _):
    loss, gradient = jax.value_and_grad(lambda w: w**2)(w)
    return w - 0.1 * gradient, loss


w, losses = jax.lax.scan(step, jnp.array(1.0), length=5)
print("weight:", w)
print("losses:", losses)
