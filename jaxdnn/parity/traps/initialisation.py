"""Mistakes in the distribution of the initial parameters."""

from jaxdnn.parity.traps.trap import Trap

__all__ = ["TRAPS"]

TRAPS: dict[str, Trap] = {
    "init-lecun-normal": Trap(
        "initialisation",
        "flax draws weights from a truncated normal distribution of variance 1 / fan_in",
        "uniform in +-1 / sqrt(fan_in)",
        "truncated normal, standard deviation sqrt(3) times torch's",
        "variance_scaling(1/3, 'fan_in', 'uniform'); the bias likewise",
    ),
    "init-kaiming-uniform": Trap(
        "initialisation",
        "JAX's kaiming_uniform has the gain of a relu, torch's layers do not",
        "uniform in +-1 / sqrt(fan_in)",
        "uniform in +-sqrt(6 / fan_in)",
        "variance_scaling(1/3, 'fan_in', 'uniform')",
    ),
    "init-glorot": Trap(
        "initialisation",
        "the port draws by both fans, torch's layers by the inputs alone",
        "uniform in +-1 / sqrt(fan_in)",
        "uniform in +-sqrt(6 / (fan_in + fan_out))",
        "variance_scaling(1/3, 'fan_in', 'uniform')",
    ),
    "init-fan-out": Trap(
        "initialisation",
        "the port counts the outputs instead of the inputs, as for a transposed kernel",
        "uniform in +-1 / sqrt(fan_in)",
        "uniform in +-1 / sqrt(fan_out)",
        "variance_scaling(1/3, 'fan_in', 'uniform') of a kernel (in, out)",
    ),
    "init-normal-std": Trap(
        "initialisation",
        "jax.nn.initializers.normal() has a standard deviation of 0.01, torch's normal_ of 1",
        "standard deviation 1",
        "standard deviation 0.01",
        "jax.nn.initializers.normal(1.0)",
    ),
    "init-zero-bias": Trap(
        "initialisation",
        "flax initialises biases to 0, torch's layers do not",
        "uniform in +-1 / sqrt(fan_in)",
        "0",
        "a bias_init that draws uniformly in +-1 / sqrt(fan_in)",
    ),
    "init-key-reuse": Trap(
        "initialisation",
        "the port draws several parameters from one key, so they hold the same numbers",
        "every parameter its own numbers",
        "two parameters the same",
        "a key of its own for each, by jax.random.split",
    ),
}
