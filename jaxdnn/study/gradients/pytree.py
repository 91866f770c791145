"""Bare pytrees: a dictionary of arrays, and a function of it.

Nothing is hidden, and there is nothing to learn but JAX.
"""

import jax
import jax.numpy as jnp


def loss(params, x, y):
    hidden = jax.nn.relu(x @ params["first"]["kernel"])
    return ((hidden @ params["second"]["kernel"] - y) ** 2).mean()


x, y = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.ones((4, 1))
params = {
    "first": {"kernel": jnp.linspace(-1, 2, 15).reshape(3, 5)},
    "second": {"kernel": jnp.linspace(-2, 1, 5).reshape(5, 1)},
}
gradient = jax.grad(loss)(params, x, y)
print(gradient["first"]["kernel"])
print(gradient["second"]["kernel"].ravel())
