"""JAX's start-up settings: device, precision, compilation cache, and number of processes.

They have to be made before JAX initialises a device.
"""

import os
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from jaxdnn.errors import ConfigError, RunError
from jaxdnn.runtime import compilation_cache

if TYPE_CHECKING:
    from jax.sharding import Mesh

__all__ = [
    "Machine",
    "Processes",
    "end_with",
    "many_processes",
    "prepare_environment",
    "start",
    "start_processes",
    "two_cpu_devices",
]

Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["float32", "tf32", "bfloat16", "float64"]

_PRODUCTS = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "BF16_BF16_F32"}
"""Values of ``jax_default_matmul_precision``. JAX's own default on a GPU is TF32, not float32."""

_joining = threading.Event()

_START_SECONDS = 120
"""Processes wait this long for each other; schedulers may start them a minute apart."""

_HEARTBEAT_SECONDS = 20
"""A process that is silent for longer counts as dead. JAX's default of 100 delays a restart."""


@dataclass(frozen=True)
class Machine:
    """Device, precision and compilation cache."""

    device: Device = "auto"
    """The device; auto takes a GPU if JAX finds one."""

    precision: Precision | None = None
    """Precision of all numbers: float64, or float32, the default unless JAX_ENABLE_X64 is set.
    Or, on a GPU, of the factors of matrix products: tf32 or bfloat16.
    Convolutions then use the GPU's fastest mode."""

    compile_cache: bool = True
    """Cache compiled programs in the user's cache folder for the next start."""


@dataclass(frozen=True)
class Processes:
    """Sharding over devices and processes."""

    data_parallel: bool = False
    """Shard every batch over all local devices."""

    distributed: bool = False
    """Shard every batch over the processes that Slurm, Open MPI or Kubernetes started."""

    coordinator: str | None = None
    """HOST:PORT of process 0, if you start the processes by hand."""

    processes: int | None = None
    """Number of processes, if a coordinator is given."""

    process: int | None = None
    """Index of this process, from 0, if a coordinator is given."""


def prepare_environment(machine: Machine) -> None:
    """Put JAX's settings into the environment, for child processes and a later import of JAX.

    Args:
      machine: device, precision and cache.

    Raises:
      ConfigError: the folder of the compilation cache cannot be written.
    """
    for name, value in _settings(machine).items():
        os.environ[name.upper()] = str(value)


def start(machine: Machine) -> None:
    """Make JAX's settings in this process, and check that the device exists.

    Args:
      machine: device, precision and cache.

    Raises:
      ConfigError: there is no such device, or it has no such precision.
    """
    _configure(machine)
    _check(machine)


def _configure(machine: Machine) -> None:
    import jax

    for name, value in _settings(machine).items():
        jax.config.update(name, value)


def _settings(machine: Machine) -> dict[str, Any]:
    """Settings under their names in `jax.config`; in upper case, in the environment."""
    settings: dict[str, Any] = {"jax_enable_compilation_cache": False}
    if machine.compile_cache:
        settings = compilation_cache.settings()
    if machine.device == "cpu":
        settings["jax_platforms"] = "cpu"
    if machine.precision is not None:
        settings["jax_enable_x64"] = machine.precision == "float64"
    if machine.precision is not None or not os.environ.get("JAX_DEFAULT_MATMUL_PRECISION"):
        products = _PRODUCTS.get(machine.precision or "float32", "highest")
        settings["jax_default_matmul_precision"] = products
    return settings


def _check(machine: Machine) -> None:
    import jax

    from jaxdnn.runtime.device import device_and_precision

    device_and_precision()  # raises where there is none at all
    backend = jax.default_backend()
    if machine.device == "gpu" and backend != "gpu":
        raise ConfigError(
            "--device gpu: JAX finds no GPU here. Install JAX for it, jax[cuda13] for instance, "
            "or leave out --device."
        )
    if machine.precision in ("tf32", "bfloat16") and backend != "gpu":
        raise ConfigError(
            f"--precision {machine.precision} is for a GPU: on this {backend.upper()} XLA computes "
            "matrix products in float32 whatever is asked for. Leave out --precision."
        )


def start_processes(processes: Processes, machine: Machine) -> "Mesh | None":
    """Make JAX's settings, and join the other processes of the run, if any.

    Args:
      processes: sharding over devices and processes.
      machine: device, precision and cache.

    Returns:
      The mesh over which batches are sharded; None if no flag asks for it.

    Raises:
      ConfigError: the flags contradict each other, or there is no such device.
      RunError: the other processes do not answer.

    Reference:
      `jax.distributed.initialize
      <https://docs.jax.dev/en/latest/_autosummary/jax.distributed.initialize.html>`_
    """
    from jaxdnn.runtime import sharding

    _check_flags(processes)
    _configure(machine)
    many = processes.distributed or processes.coordinator is not None
    if many:
        _join(processes)
    _check(machine)
    return sharding.data_mesh() if many or processes.data_parallel else None


def two_cpu_devices() -> None:
    """Give JAX two simulated CPU devices, which a sharded step needs, unless a number is set."""
    count = "--xla_force_host_platform_device_count"
    if count not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}=2".strip()


def end_with(parent: int) -> None:
    """Make this worker process exit when its parent does, which an interruption ends at once.

    Args:
      parent: the parent's process number.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def many_processes() -> bool:
    """Whether this process has joined others, or has tried to."""
    return _joining.is_set()


def _join(processes: Processes) -> None:
    """Connect to the other processes, in a thread: on a timeout JAX would abort the process."""
    import jax

    _joining.set()
    joined: Future[None] = Future()

    def join() -> None:
        try:
            jax.distributed.initialize(
                processes.coordinator,
                processes.processes,
                processes.process,
                initialization_timeout=2 * _START_SECONDS,  # ours expires first, with a message
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=_HEARTBEAT_SECONDS,
            )
            joined.set_result(None)
        except Exception as error:
            joined.set_exception(error)

    threading.Thread(target=join, daemon=True).start()
    try:
        joined.result(_START_SECONDS)
    except TimeoutError as error:
        raise RunError(
            f"The other processes of the run did not answer for {_START_SECONDS} s: see that all "
            "are started, and that the coordinator's host and port can be reached from here."
        ) from error
    except (RuntimeError, ValueError) as error:
        if processes.distributed and "coordinator_address" in str(error):
            raise ConfigError(
                "--distributed finds neither Slurm nor Open MPI nor Kubernetes around this "
                "process; give --coordinator, --processes and --process."
            ) from error
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(f"The run's processes did not find together: {reason}.") from error


def _check_flags(processes: Processes) -> None:
    by_hand = (processes.coordinator, processes.processes, processes.process)
    if processes.distributed and any(value is not None for value in by_hand):
        raise ConfigError(
            "--distributed finds the processes by itself; leave out --coordinator, --processes and "
            "--process, or leave out --distributed."
        )
    if all(value is None for value in by_hand):
        return
    if any(value is None for value in by_hand):
        raise ConfigError("--coordinator, --processes and --process go together; give all three.")
    assert processes.coordinator is not None
    assert processes.processes is not None
    assert processes.process is not None
    host, _, port = processes.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator must be HOST:PORT; got {processes.coordinator!r}.")
    if processes.processes < 1:
        raise ConfigError(f"--processes must be at least 1; got {processes.processes}.")
    if not 0 <= processes.process < processes.processes:
        raise ConfigError(
            f"--process must be from 0 to {processes.processes - 1}, one below --processes; "
            f"got {processes.process}."
        )
    try:
        socket.getaddrinfo(host, int(port))
    except OSError as error:
        raise ConfigError(
            f"--coordinator: there is no host {host!r} ({error.strerror})."
        ) from error
