"""a mode that is traced: an argument that decides in Python must be static under `jit`.

`static_argnames` compiles a program for each mode.
"""

import jax
import jax.numpy as jnp


def predict(x, training):
    return 2 * x if training else x


static = jax.jit(predict, static_argnames="training")
print("static:", static(jnp.ones(2), training=True))
print("traced:", jax.jit(predict)(jnp.ones(2), training=True))
