"""Retracing: every new shape, and every new static value, is compiled anew.

A ragged last batch costs one more program. A Python number that is made static, because it looks
like a setting, costs one for each of its values: a learning rate should be traced.
"""

from functools import partial

import jax
import jax.numpy as jnp

traced = []


@partial(jax.jit, static_argnames="lr")
def step(w, x, lr):
    traced.append((x.shape, lr))
    return w - lr * x.mean()


w = jnp.ones(())
for batch in (64, 64, 64, 32):
    w = step(w, jnp.ones(batch), lr=0.1)
for lr in (0.1, 0.05, 0.025):
    w = step(w, jnp.ones(64), lr=lr)
print(*traced, sep="\n")
