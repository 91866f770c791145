"""mutating the tree: a function that changes its argument changes it for the caller, too.

The arrays are immutable, but the dictionary around them is not. Return a new one, as `tree.map`
does.
"""

import jax.numpy as jnp


def halve(params):
    params["w"] = 0.5 * params["w"]
    return params


before = {"w": jnp.array(1.0)}
after = halve(before)
print("after:", after["w"])
print("before, which should still be 1:", before["w"])
