"""A leaked tracer: a value of the trace is kept outside of it.

It stands for no number. The line that uses it fails, perhaps far from the one that kept it.
"""

import jax

history = []


@jax.jit
def step(w):
    loss = w**2
    history.append(loss)
    return 0.9 * w


step(1.0)
print(history[0] + 1)
