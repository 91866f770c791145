"""Logarithm, sine and cosine in float32, from the Cephes library with fused multiply-adds.

torch's vectorised kernels evaluate these polynomials, and NumPy's functions differ from them in the
last bits. Every operation here is rounded where torch's instructions round.

Reference:
  S. L. Moshier, Methods and Programs for Mathematical Functions, 1989; the Cephes library,
  https://www.netlib.org/cephes/.
"""

import math

import numpy as np
from jaxtyping import Float32

__all__ = ["fused_multiply_add", "log", "sine_and_cosine"]

# Cephes' polynomials for float32, highest power first.
_LOG = (
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
)
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
# Constants as sums. All parts but the last have so few bits that small multiples of them are exact.
_LOG_OF_2 = (0.693359375, -2.12194440e-4)
_HALF_PI = (1.5703125, 4.837512969970703125e-4, 7.54978995489188216e-8)

_Values = Float32[np.ndarray, " n"]


def log(x: _Values) -> _Values:
    """Natural logarithm of positive numbers, bitwise equal to Cephes' ``logf``.

    Example:
      >>> log(np.array([1, 10], np.float32))
      array([0.       , 2.3025851], dtype=float32)
    """
    fraction, exponent = np.frexp(x)
    # The polynomial is accurate for x from sqrt(1/2) - 1 to sqrt(2) - 1.
    is_small = fraction < np.float32(math.sqrt(0.5))
    exponent = (exponent - is_small).astype(np.float32)
    x = fraction - 1 + np.where(is_small, fraction, np.float32(0))
    high, low = _LOG_OF_2
    rest = fused_multiply_add(_polynomial(_LOG, x) * x, x * x, exponent * np.float32(low))
    return fused_multiply_add(exponent, np.float32(high), x + (rest - x * x / 2))


def sine_and_cosine(angle: _Values) -> tuple[_Values, _Values]:
    """Sine and cosine of angles in [0, 2π], bitwise equal to Cephes' ``sinf`` and ``cosf``.

    Example:
      >>> sine, cosine = sine_and_cosine(np.array([0, 1], np.float32))
      >>> sine, cosine
      (array([0.        , 0.84147096], dtype=float32), array([1.       , 0.5403023], dtype=float32))
    """
    # The nearest multiple of π/2, subtracted in three parts, leaves at most π/4.
    quarters = ((angle * np.float32(4 / math.pi)).astype(np.int32) + 1) // 2
    for part in _HALF_PI:
        angle = fused_multiply_add(quarters.astype(np.float32), np.float32(-part), angle)
    square = angle * angle
    sine = fused_multiply_add(_polynomial(_SINE, square) * square, angle, angle)
    cosine = fused_multiply_add(_polynomial(_COSINE, square) * square, square, -square / 2) + 1
    in_turn = [sine, cosine, -sine, -cosine]
    return np.choose(quarters % 4, in_turn), np.choose((quarters + 1) % 4, in_turn)


def _polynomial(coefficients: tuple[float, ...], x: _Values) -> _Values:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = fused_multiply_add(value, x, np.float32(coefficient))
    return value


def fused_multiply_add(x: _Values, y: _Values | np.float32, z: _Values | np.float32) -> _Values:
    """``x · y + z``, rounded to float32 only once.

    The product of two float32 numbers is exact in float64. The sum is rounded to odd in float64, so
    that rounding it again, to float32, gives the correctly rounded result.

    Example:
      >>> x = np.array([1 + 2**-23], np.float32)
      >>> fused_multiply_add(x, x, np.float32(-1)) == np.float32(2**-22 + 2**-46)
      array([ True])

    Reference:
      Boldo & Melquiond, Emulation of a FMA, IEEE Transactions on Computers 57, 2008.
    """
    product = x * np.float64(y)
    total = product + z
    rounded_z = total - product
    error = (product - (total - rounded_z)) + (z - rounded_z)
    odd = np.nextafter(total, np.copysign(np.inf, error))
    is_even = total.view(np.int64) % 2 == 0
    return np.where(is_even & (error != 0), odd, total).astype(np.float32)
