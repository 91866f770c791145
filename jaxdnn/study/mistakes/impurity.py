"""An impure function under `jit`: side effects happen while it is traced, and never again.

The counter below counts compilations, not calls, and the printed line appears once. What a
function computes must come back as its result.
"""

import jax

calls = 0


@jax.jit
def step(w):
    global calls
    calls += 1
    print("step is called with", w)
    return 0.9 * w


w = 1.0
for _step in range(5):
    w = step(w)
print("calls counted:", calls)
