"""`vmap`: write the function for one example; the transformation adds the dimension.

It composes: `vmap` of `grad` gives the gradient of each example, in one program.
"""

import jax
import jax.numpy as jnp


def loss(w, x):
    return (x @ w) ** 2


w = jnp.array([1.0, 2.0])
x = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
print("losses:", jax.vmap(loss, in_axes=(None, 0))(w, x))
print("gradients:", *jax.vmap(jax.grad(loss), in_axes=(None, 0))(w, x).tolist())
