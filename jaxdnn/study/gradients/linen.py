"""flax linen: the module describes the layers; its parameters are a pytree that you hold.

The lessons on this site use it where the tutorials write an `nn.Module`.
"""

import jax
import jax.numpy as jnp
from flax import linen


class Net(linen.Module):
    @linen.compact
    def __call__(self, x):
        hidden = jax.nn.relu(linen.Dense(5, use_bias=False, name="first")(x))
        return linen.Dense(1, use_bias=False, name="second")(hidden)


def loss(params, x, y):
    return ((Net().apply({"params": params}, x) - y) ** 2).mean()


x, y = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.ones((4, 1))
params = {
    "first": {"kernel": jnp.linspace(-1, 2, 15).reshape(3, 5)},
    "second": {"kernel": jnp.linspace(-2, 1, 5).reshape(5, 1)},
}
gradient = jax.grad(loss)(params, x, y)
print(gradient["first"]["kernel"])
print(gradient["second"]["kernel"].ravel())
