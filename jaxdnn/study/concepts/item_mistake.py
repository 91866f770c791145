"""`item()` under `jit`: while a function is traced there is no number yet."""

import jax


@jax.jit
def step(w):
    loss = w**2
    print("loss:", loss.item())
    return w - 0.2 * w


step(1.0)
