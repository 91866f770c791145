"""one key for every epoch: all epochs then have the same order.

torch's loader draws anew by itself. Here, split the key, or fold the epoch's number in.
"""

import jax

key = jax.random.key(0)
for epoch in range(2):
    print("same key:", jax.random.permutation(key, 5), end="   ")
    own = jax.random.fold_in(key, epoch)
    print("folded in:", jax.random.permutation(own, 5))
