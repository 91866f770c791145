"""Cephes' functions: near the true ones, and rounded as fused instructions round."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxdnn.torch_compat import cephes


def test_fused_multiply_add_rounds_once() -> None:
    """Just below the middle of two neighbours, where rounding to float64 lands."""
    step = 2.0**-23
    x, y, z = (np.float32(value) for value in (1 + step, (1 - step) / 2**24, 1 + step))
    fused = cephes.fused_multiply_add(np.array([x]), y, z)
    assert fused == z
    assert np.float32(np.float64(x) * y + z) != z


@given(st.floats(2**-24, 1, width=32))
def test_log_is_within_rounding(x: float) -> None:
    [value] = cephes.log(np.array([x], np.float32))
    assert abs(float(value) - np.log(x)) <= np.spacing(np.float32(abs(np.log(x))))


@given(st.floats(0, 6.28125, width=32))
def test_sine_and_cosine_are_within_rounding(angle: float) -> None:
    sine, cosine = cephes.sine_and_cosine(np.array([angle], np.float32))
    np.testing.assert_allclose([sine[0], cosine[0]], [np.sin(angle), np.cos(angle)], atol=1.2e-7)
