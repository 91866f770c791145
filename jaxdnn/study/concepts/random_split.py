"""a permutation: cut it once, and index every array of the data set with the parts."""

import jax
import jax.numpy as jnp

x, y = jnp.arange(10), jnp.arange(10) ** 2
order = jax.random.permutation(jax.random.key(0), len(x))
train, test = order[:7], order[7:]
print("train:", x[train], y[train])
print("test: ", x[test], y[test])
