"""What every test runs under: two simulated CPU devices, no silent rank promotion, real MNIST."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)

import hypothesis
import jax
import pytest
import torch

from jaxdnn import xla_flags
from jaxdnn.data import mnist
from jaxdnn.errors import DataError

xla_flags.set_flags()

jax.config.update("jax_numpy_rank_promotion", "raise")

# No test is timed, a first example compiles, and precision is set by a fixture that may be shared.
hypothesis.settings.register_profile(
    "jaxdnn",
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("jaxdnn")

# Workers that run beside each other must not fight over the cores.
torch.set_num_threads(1)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision, for this test only."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def mnist_data() -> mnist.MNIST:
    """The real data set. A machine without it may skip; CI may not."""
    try:
        return mnist.load()[0]
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mnist_folder(mnist_data: mnist.MNIST, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four plain IDX files, which no test changes."""
    from jaxdnn.data import idx

    folder = tmp_path_factory.mktemp("mnist")
    for name, array in zip(mnist.FILES, mnist_data, strict=True):
        (folder / name).write_bytes(idx.encode(array))
    return folder
