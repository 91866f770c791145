"""Time and memory of complete processes, from launch to the trained and evaluated network."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_systems.settings import ROOT, Run, Settings, SkippedError

__all__ = ["imports", "jaxdnn_cold", "jaxdnn_warm", "torch_cold"]

_JAXDNN = """
import json, sys
from pathlib import Path
from jaxdnn.data import mnist
from jaxdnn.runs.reports import mnist_dnn
from jaxdnn.runs.workflow import Request
config, data = mnist_dnn.Config(epochs={epochs}), mnist.load({data_dir!r})[0]
result = mnist_dnn.run(Request(0, config, data, "bench"))
Path({json!r}).write_text(json.dumps(result.to_dict()))
"""
"""The work of `jaxdnn run mnist-dnn`, for a machine without the libraries of the command line."""

_TORCH = """
import json, sys
from pathlib import Path
sys.path.insert(0, {scripts!r})
from bench_systems import torch_digits
from bench_systems.settings import Settings
figures = torch_digits.eager(Settings.from_json({settings!r}))(0)
Path({json!r}).write_text(json.dumps(figures))
"""

_IMPORTS = """
import json, time
start = time.perf_counter()
import jax
import jax.numpy
between = time.perf_counter()
import jaxdnn.training
import jaxdnn.workflows.mnist_dnn
end = time.perf_counter()
print(json.dumps({"jax_seconds": between - start, "seconds": end - between}))
"""


def _data_dir(settings: Settings) -> str:
    """The folder with MNIST, which the timed processes get explicitly."""
    from jaxdnn.data import mnist

    if settings.samples != 60_000:
        raise SkippedError("a complete process uses all of MNIST")
    mnist.load(settings.data_dir)
    return str(settings.data_dir or os.environ.get("JAXDNN_DATA_DIR") or mnist.default_cache())


def _command(settings: Settings, data_dir: str, result: str) -> list[str]:
    values = {"epochs": settings.epochs, "data_dir": data_dir, "json": result}
    needed = ("tyro", "platformdirs", "matplotlib")
    if any(importlib.util.find_spec(module) is None for module in needed):
        return [sys.executable, "-c", _JAXDNN.format(**values)]
    flags = {"epochs": settings.epochs, "data-dir": data_dir, "json": result, "plot": "None"}
    command = [sys.executable, "-m", "jaxdnn", "run", "mnist-dnn"]
    return command + [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]


def _timed(command: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a process, and return its seconds and, where the system reports it, its peak memory."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment
        )
        figures: dict[str, float] = {}
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024  # macOS reports bytes, Linux KiB
            figures["peak_gb"] = usage.ru_maxrss * unit / 1e9
        else:
            process.wait()
        figures["seconds"] = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {process.returncode}")
    return figures


def _jaxdnn(settings: Settings, *, warm: bool) -> Run:
    data_dir = _data_dir(settings)
    caches = tempfile.TemporaryDirectory()

    def run(turn: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory(dir=caches.name) as fresh:
            result = Path(fresh, "result.json")
            # The settings of jaxdnn's own compilation cache, with another folder.
            environment = os.environ | {
                "JAX_COMPILATION_CACHE_DIR": str(Path(caches.name if warm else fresh, "compiled")),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            }
            figures = _timed(_command(settings, data_dir, str(result)), environment)
            seen = json.loads(result.read_text())
        return figures | {
            "accuracy": seen["test_accuracy"],
            "compile_seconds": seen["compile_seconds"],
        }

    return run


def jaxdnn_cold(settings: Settings) -> Run:
    """`jaxdnn run mnist-dnn` with an empty compilation cache."""
    return _jaxdnn(settings, warm=False)


def jaxdnn_warm(settings: Settings) -> Run:
    """`jaxdnn run mnist-dnn` with the compilation cache of an earlier turn."""
    return _jaxdnn(settings, warm=True)


def torch_cold(settings: Settings) -> Run:
    """Eager torch on preloaded tensors, in its own process."""
    inside = dataclasses.replace(settings, data_dir=_data_dir(settings))
    if importlib.util.find_spec("torch") is None:
        raise SkippedError("torch is not installed")

    def run(turn: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            program = _TORCH.format(
                scripts=str(ROOT / "scripts"), settings=inside.to_json(), json=str(result)
            )
            figures = _timed([sys.executable, "-c", program], dict(os.environ))
            return figures | {"accuracy": json.loads(result.read_text())["accuracy"]}

    return run


def imports(settings: Settings) -> Run:
    """The seconds of `import jax`, and of `import jaxdnn` after it, in a new process."""

    def run(turn: int) -> dict[str, float]:
        command = [sys.executable, "-c", _IMPORTS]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    return run
