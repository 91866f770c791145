"""`argnums`: the call says which arguments are differentiated.

An array has no such mark; the same function can be differentiated with respect to either.
"""

import jax


def z(x, y):
    return x**2 * y


by_y = jax.grad(z, argnums=1)
by_both = jax.grad(z, argnums=(0, 1))
print("dz/dy:", by_y(1.0, 2.0))
print("dz/dx, dz/dy:", *by_both(1.0, 2.0))
