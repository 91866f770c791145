"""keys: a draw is a function of its key; to draw twice, split.

Nothing is advanced, so the order of the lines does not matter, nor does the device.
"""

import jax

key = jax.random.key(0)
first_key, second_key = jax.random.split(key)
print("first: ", jax.random.uniform(first_key, (2,)))
print("second:", jax.random.uniform(second_key, (2,)))
print("again: ", jax.random.uniform(first_key, (2,)))
