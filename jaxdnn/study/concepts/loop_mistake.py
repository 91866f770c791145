"""a Python loop under `jit`: it is unrolled, and compiled step by step.

The program grows with the number of steps, and so does the time to compile it.
"""

import jax


def step(w, _=None):
    return w - 0.2 * w, None


def unrolled(w):
    for _step in range(1000):
        w, _ = step(w)
    return w


def scanned(w):
    return jax.lax.scan(step, w, length=1000)[0]


for run in (unrolled, scanned):
    program = jax.jit(run).lower(1.0).as_text()
    print(f"{run.__name__}: {len(program.splitlines())} lines")
