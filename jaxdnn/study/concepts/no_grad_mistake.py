"""stopping too much: a `stop_gradient` around the network gives a gradient of zero.

torch raises if a loss depends on no recorded tensor. JAX returns zeros, and the network does not
train.
"""

import jax


def loss(w, x, y):
    prediction = jax.lax.stop_gradient(w * x)
    return (prediction - y) ** 2


w = 1.0
for _step in range(3):
    w = w - 0.1 * jax.grad(loss)(w, 2.0, 6.0)
print("after three steps:", w)
