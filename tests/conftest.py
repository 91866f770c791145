"""What every test runs under: two simulated CPU devices, no silent rank promotion, real MNIST."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests' own processes, and later runs of them, need not compile the same programs again.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
)
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(2**31))  # which also makes it lock
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
)

import hypothesis
import jax
import pytest
import torch

from jaxdnn.data import mnist
from jaxdnn.errors import DataError
from jaxdnn.runtime import xla_flags

jax.config.update("jax_numpy_rank_promotion", "raise")

# No test is timed, a first example compiles, and precision is set by a fixture that may be shared.
# The examples are always the same: a tolerance of a few roundings must not fail by chance.
hypothesis.settings.register_profile(
    "jaxdnn",
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("jaxdnn")

# Workers that run beside each other must not fight over the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX as it was, whatever a command has set."""
    # A command called in this process would say what importing jaxdnn has done to the tests.
    monkeypatch.setattr(xla_flags, "set_flags", lambda: None)
    names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_enable_compilation_cache")
    before = {name: jax.config.values[name] for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision, for this test only."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment of a user's own process: no settings of the tests, of JAX or of XLA."""
    system = ("PATH", "SYSTEMROOT", "TEMP", "TMPDIR")
    folders = ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME", "JAXDNN_DATA_DIR")
    return {name: os.environ[name] for name in (*system, *folders) if name in os.environ}


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
