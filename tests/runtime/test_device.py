"""What is said of the device and its precision."""

from types import SimpleNamespace

import jax
import pytest

from jaxdnn.runtime.device import device_and_precision


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("highest", "float32 with highest matrix products"),
        ("tensorfloat32", "float32 with tensorfloat32 matrix products"),
        (None, "float32 with default (TF32 where the GPU has it) matrix products"),
    ],
)
def test_a_gpus_matrix_products_are_said(
    asked: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SimpleNamespace(platform="gpu", device_kind="NVIDIA H200")
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", asked)
    try:
        assert device_and_precision() == ("gpu (NVIDIA H200)", said)
    finally:
        jax.config.update("jax_default_matmul_precision", before)
