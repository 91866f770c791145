"""The device and precision of a run, in words."""

import jax

from jaxdnn.errors import ConfigError

__all__ = ["device_and_precision"]


def device_and_precision() -> tuple[str, str]:
    """The default device and the floating-point precision, in words.

    Except on a CPU, float32 matrix products may round their factors: unless
    ``jax_default_matmul_precision`` says otherwise, JAX uses the device's fastest mode.

    Raises:
      ConfigError: JAX finds no device.

    Example:
      >>> device_and_precision()
      ('cpu', 'float32')
    """
    try:
        device = jax.devices()[0]
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0] or "the plugin is not installed"
        raise ConfigError(f"JAX finds no device ({reason}); check JAX_PLATFORMS.") from error
    kind = "" if device.device_kind == device.platform else f" ({device.device_kind})"
    precision = str(jax.numpy.result_type(float))
    if device.platform != "cpu":
        products = jax.config.values["jax_default_matmul_precision"] or "default"
        if products == "default" and device.platform == "gpu":
            products += " (TF32 where the GPU has it)"
        precision += f" with {products} matrix products"
    return f"{device.platform}{kind}", precision
