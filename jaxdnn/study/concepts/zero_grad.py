"""nothing: a gradient that is returned has no past.

The line is missing because there is nothing to reset.
"""

import jax

w = 1.0
for step in range(3):
    gradient = jax.grad(lambda w: w**2)(w)
    w = w - 0.1 * gradient
    print("step", step, "gradient", round(gradient.item(), 3), "weight", round(w.item(), 3))
