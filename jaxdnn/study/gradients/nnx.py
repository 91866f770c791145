"""flax nnx: the module holds its parameters, as in torch.

`nnx.grad` takes it apart and puts it back together.

It reads like torch. The state is there all the same: `nnx.split` shows it as a pytree.
"""

import jax
import jax.numpy as jnp
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 5, use_bias=False, rngs=rngs)
        self.second = nnx.Linear(5, 1, use_bias=False, rngs=rngs)

    def __call__(self, x):
        return self.second(jax.nn.relu(self.first(x)))


def loss(net, x, y):
    return ((net(x) - y) ** 2).mean()


x, y = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.ones((4, 1))
net = Net(nnx.Rngs(0))
net.first.kernel[...] = jnp.linspace(-1, 2, 15).reshape(3, 5)
net.second.kernel[...] = jnp.linspace(-2, 1, 5).reshape(5, 1)
gradient = nnx.grad(loss)(net, x, y)
print(gradient["first"]["kernel"][...])
print(gradient["second"]["kernel"][...].ravel())
