"""differentiating a vector: `jax.grad` needs a function that returns one number.

In torch `y.backward()` refuses, too, and `y.backward(torch.ones_like(y))` sums. Here, say what you
mean: sum, or take the Jacobian.
"""

import jax
import jax.numpy as jnp


def errors(w):
    return (w - 1) ** 2


w = jnp.array([3.0, 4.0])
print("of the sum:", jax.grad(lambda w: errors(w).sum())(w))
print("Jacobian:", jax.jacrev(errors)(w).tolist())
print(jax.grad(errors)(w))
