"""an argument: the call says whether it trains, and brings the key for the dropout."""

import jax
import jax.numpy as jnp


def dropout(x, key=None, rate=0.5):
    if key is None:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


x = jnp.ones(6)
print("train:", dropout(x, jax.random.key(0)))
print("eval: ", dropout(x))
