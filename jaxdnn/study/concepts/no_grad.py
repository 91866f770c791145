"""`stop_gradient`: mark a value as constant; an update needs no mark at all.

Outside of `jax.grad` nothing is recorded, so there is nothing to suspend.
"""

import jax


def loss(w):
    constant = jax.lax.stop_gradient(w**2)
    return w**2 + constant


gradient = jax.grad(loss)(3.0)
print("gradient:", gradient)
print("weight:", 3.0 - 0.1 * gradient)
