"""Mistakes in layers, and in derivatives at kinks."""

from jaxdnn.parity.traps.trap import Trap

__all__ = ["TRAPS"]

TRAPS: dict[str, Trap] = {
    "abs-derivative": Trap(
        "layer",
        "at 0 torch's derivative of |x| is 0, JAX's 1",
        "d|x|/dx = sign(x)",
        "1 where x >= 0, else -1",
        "jaxdnn.losses.l1, or x * jax.lax.stop_gradient(jnp.sign(x))",
    ),
    "clamp-derivative": Trap(
        "layer",
        "at a bound torch's derivative of clamp is 1, jax.numpy.clip's 1/2",
        "1 where low <= x <= high",
        "1/2 where x is low or high",
        "jnp.where((low <= x) & (x <= high), x, jax.lax.stop_gradient(jnp.clip(x, low, high)))",
    ),
    "norm-derivative": Trap(
        "layer",
        "at 0 torch's derivative of a norm is 0, jax.numpy's NaN",
        "x / ||x||, and 0 at 0",
        "x / ||x||, which is 0/0 at 0",
        "take the root of jnp.where(square > 0, square, 1), and 0 where square is 0",
    ),
    "max-tie-derivative": Trap(
        "layer",
        "max over a dimension gives its derivative to one of several largest, jnp.max to all",
        "(1, 0) for two equal values",
        "(1/2, 1/2)",
        "take the value at jnp.argmax, with jnp.take_along_axis",
    ),
    "gelu-tanh": Trap(
        "layer",
        "torch's GELU is exact, jax.nn.gelu by default the tanh approximation",
        "x Phi(x)",
        "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
        "jax.nn.gelu(x, approximate=False)",
    ),
    "biased-variance": Trap(
        "layer",
        "torch's std and var divide by n - 1, jax.numpy's by n",
        "sum (x - mean)^2 / (n - 1)",
        "sum (x - mean)^2 / n",
        "ddof=1",
    ),
    "layer-norm-epsilon": Trap(
        "layer",
        "LayerNorm's epsilon is 1e-5 in torch, 1e-6 in flax",
        "(x - mean) / sqrt(var + 1e-5)",
        "(x - mean) / sqrt(var + 1e-6)",
        "flax.linen.LayerNorm(epsilon=1e-5)",
    ),
    "batch-norm-momentum": Trap(
        "layer",
        "torch's momentum is the weight of the new value, flax's that of the old one",
        "running = (1 - m) running + m batch, m = 0.1",
        "running = m running + (1 - m) batch, m = 0.99 by default",
        "flax's momentum is 1 minus torch's; its variance is biased besides",
    ),
    "batch-norm-variance": Trap(
        "layer",
        "torch keeps the unbiased variance of the batch, flax the biased one",
        "running variance of n / (n - 1) var",
        "running variance of var",
        "multiply the batch's variance by n / (n - 1) for the running one",
    ),
    "linear-transposed": Trap(
        "layer",
        "Linear's weight is (out, in); the shape of a square one does not show it",
        "x W^T + b",
        "x W + b",
        "transpose the weight in from_torch",
    ),
    "conv-layout": Trap(
        "layer",
        "Conv2d's weight is (out, in, height, width), flax's kernel (height, width, in, out)",
        "OIHW",
        "HWIO with two of the axes exchanged",
        "weight.transpose(2, 3, 1, 0)",
    ),
    "conv-flipped": Trap(
        "layer",
        "layers of neural networks correlate; a true convolution flips the kernel",
        "sum over i of x[t + i] w[i]",
        "sum over i of x[t - i] w[i]",
        "jax.lax.conv_general_dilated, which does not flip",
    ),
    "conv-padding": Trap(
        "layer",
        "torch does not pad by default, flax.linen.Conv pads to the same size",
        "output smaller by the kernel size minus 1",
        "output of the input's size",
        "flax.linen.Conv(padding='VALID')",
    ),
    "max-pool-stride": Trap(
        "layer",
        "max-pooling's stride is the kernel size in torch, 1 in flax",
        "windows side by side",
        "windows that overlap",
        "flax.linen.max_pool(x, (2, 2), strides=(2, 2))",
    ),
    "flatten-order": Trap(
        "layer",
        "torch flattens (channel, row, column), a channels-last port (row, column, channel)",
        "features by channel first",
        "features by row first",
        "x.transpose(0, 3, 1, 2) before the reshape",
    ),
    "dropout-masks": Trap(
        "layer",
        "the port drops nothing, or drops other elements than torch",
        "x m / (1 - p) with torch's random m",
        "x, or another m",
        "compare in eval mode, or give both sides the same masks",
    ),
}
