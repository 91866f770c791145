"""porting a forgotten `zero_grad`: torch's loop then steps along the sum of all gradients.

If the original leaves the line out, a faithful port must add the sum to its state; a correct one
computes something else. `jaxdnn.parity.check_port` shows which of the two you have.
"""

import jax

forgotten, correct, total = 1.0, 1.0, 0.0
gradient = jax.grad(lambda w: w**2)
for _step in range(3):
    total = total + gradient(forgotten)
    forgotten = forgotten - 0.1 * total
    correct = correct - 0.1 * gradient(correct)
print(f"without zero_grad: {forgotten:.3f}")
print(f"as meant:          {correct:.3f}")
