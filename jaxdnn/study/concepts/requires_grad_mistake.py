"""forgetting `argnums`: the gradient is that of the first argument, whichever is meant.

Nothing fails if both have the same shape: the step then moves the weights by the gradient of the
inputs. Put what is trained first.
"""

import jax


def loss(x, w):
    return (w * x - 6.0) ** 2


x, w = 2.0, 1.0
print("by x, unintended:", jax.grad(loss)(x, w))
print("by w:            ", jax.grad(loss, argnums=1)(x, w))
