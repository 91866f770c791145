"""`value_and_grad`: a function in, a function out; it returns the loss and its gradient.

There is no graph to keep or to free: the function is traced and transformed.
"""

import jax
import jax.numpy as jnp


def loss(w, x):
    return ((w * x - 1) ** 2).mean()


w, x = jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0])
value, gradient = jax.value_and_grad(loss)(w, x)
print("loss:", value)
print("gradient:", gradient)
