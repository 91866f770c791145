"""A torch run in a file: complete or absent, and as good as torch itself to compare with."""

import inspect
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from torch import nn

import reference_torch
from jaxdnn import parity
from jaxdnn.errors import CheckpointError
from jaxdnn.parity import naming, source
from reference_torch.parity import recording

STEPS, SAMPLES = 4, 6


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pixels and labels, in the types in which they are read."""
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, size=(STEPS, 6, 3), dtype=np.uint8)
    return [(x[i], generator.integers(0, 2, size=6, dtype=np.int64)) for i in range(STEPS)]


class Pixels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.a.weight.dtype) / 256
        return self.b(nn.functional.gelu(self.a(x)))


def settings() -> dict[str, Any]:
    module = Pixels()
    return {
        "module": module,
        "loss": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9),
        "batches": batches(),
    }


def ports() -> dict[str, tuple[Any, Any, Any]]:
    """Ports of `Pixels`, one right and two wrong; this source also runs where there is no torch."""
    import jax

    from jaxdnn import losses, optim

    def net(approximate):
        def apply(params, x):
            first = params["a"]
            hidden = x.astype(first["kernel"].dtype) / 256 @ first["kernel"] + first["bias"][None]
            return jax.nn.gelu(hidden, approximate=approximate) @ params["b"]["kernel"]

        return apply

    right = net(False), losses.cross_entropy, optim.sgd(0.1, momentum=0.9)
    return {
        "right": right,
        "loss": (right[0], lambda x, y: 6 * losses.cross_entropy(x, y), right[2]),
        "layer": (net(True), *right[1:]),
    }


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "run.safetensors"
    reference_torch.record(path, reference_torch.TorchRun(**settings(), samples=SAMPLES))
    return path


@pytest.fixture(scope="module")
def live() -> dict[str, parity.Report]:
    """The reports beside torch itself, without names, which take long and are tested elsewhere."""
    run = settings()
    given = run["module"], run["loss"], run["optimizer"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "name", lambda *_, **__: naming.Names())
        return {
            name: parity.check_port(*given, *port, run["batches"], samples=SAMPLES)
            for name, port in ports().items()
        }


@pytest.fixture(scope="module")
def replayed(file: Path) -> dict[str, dict[str, Any]]:
    """The reports beside the recording, where torch cannot be imported."""
    program = f"""
import json, sys
sys.modules["torch"] = sys.modules["safetensors.torch"] = None
import jax
jax.config.update("jax_numpy_rank_promotion", "raise")
{inspect.getsource(ports)}
from jaxdnn import parity
found = {{name: parity.replay({str(file)!r}, *port).to_dict() for name, port in ports().items()}}
assert "reference_torch" not in sys.modules
json.dump(found, sys.stdout, allow_nan=False)
"""
    # The flags of the tests are in the environment.
    result = subprocess.run(
        [sys.executable, "-c", program.replace("Any", "object")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("name", "verdict", "phase", "trap"),
    [
        ("right", "pass", None, None),
        ("loss", "fail", "loss", "reduction-sum"),
        ("layer", "fail", "output", None),
    ],
)
def test_without_torch_the_same_is_proved(
    name: str,
    verdict: str,
    phase: str | None,
    trap: str | None,
    live: dict[str, parity.Report],
    replayed: dict[str, dict[str, Any]],
) -> None:
    ours, theirs = replayed[name], live[name].to_dict()
    assert ours["verdict"] == theirs["verdict"] == verdict
    # To name a layer's mistake, torch would have to run.
    assert ours["trap"] == trap
    agree = f"the two agree over {STEPS} steps, to "
    assert (ours["mended"] or "").startswith(agree if trap else "")
    assert ours["first_divergence"] == theirs["first_divergence"]
    assert phase == (ours["first_divergence"] or {"phase": None})["phase"]
    assert ours["tiers"] == theirs["tiers"]
    assert ours["environment"]["torch"] == theirs["environment"]["torch"]


def test_fewer_steps_and_other_batches_of_the_port(file: Path) -> None:
    right = ports()["right"]
    [tier] = parity.replay(file, *right, steps=3, precisions=("float64",)).tiers
    assert tier.steps == 3
    other = batches()
    other[2][1][0] ^= 1
    report = parity.replay(file, *right, precisions=("float64",), port_batches=other)
    assert report.first_divergence is not None
    found = report.first_divergence
    assert (found.phase, found.step, found.tensor, found.index) == ("batch", 2, "y", (0,))


def test_any_reader_of_safetensors_reads_it(file: Path) -> None:
    tensors = safetensors.numpy.load_file(file)
    with safetensors.safe_open(file, framework="numpy") as opened:
        contents = json.loads(opened.metadata()["recording"])
    assert contents["format"] == "jaxdnn recording 1"
    header = contents["runs"]["run"]
    assert header["steps"] == STEPS
    assert header["optimizer"]["name"] == "SGD"
    assert header["loss"] == {
        "name": "cross_entropy",
        "settings": header["loss"]["settings"],
    }
    module = Pixels()
    for name, param in module.named_parameters():
        start = tensors[f"run/start/param/{name}"]
        np.testing.assert_array_equal(start, param.detach().double().numpy(), strict=True)
    for i, (x, y) in enumerate(batches()):
        # Pixels and labels keep their types.
        np.testing.assert_array_equal(tensors[f"run/{i:06d}/batch/x"], x, strict=True)
        np.testing.assert_array_equal(tensors[f"run/{i:06d}/batch/y"], y, strict=True)
        assert tensors[f"run/{i:06d}/grad/a.weight"].dtype == np.float64
        assert tensors[f"run/{i:06d}/optimizer/a.weight/momentum_buffer"].shape == (4, 3)
    samples = {key.split("/")[1:4:2][0] for key in tensors if "/sample/" in key}
    assert samples == {f"{i:06d}" for i in range(STEPS)}
    assert tensors["run/000000/sample/0/state/param/a.weight"].dtype == np.float32
    assert tensors["run/000000/sample/0/float64/param/a.weight"].dtype == np.float64


@pytest.mark.parametrize("dtype", [bool, "u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8"])
def test_every_type_survives(dtype: Any, tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3).T.astype(dtype)
    header = {"steps": 0}
    steps = [{"grad/w": array}, {"grad/w": array[:0]}, {"loss": array[0, 0]}]
    steps = [step | {"param/w": array} for step in steps]
    recording.write(tmp_path / "a", {"run": recording.Recorded(header, {"param/w": array}, steps)})
    found = source.recording(tmp_path / "a")
    assert found.header["steps"] == 3
    np.testing.assert_array_equal(found.initial["param/w"], array)
    first, second, third = found.steps()
    assert first["grad/w"].dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(first["grad/w"], array)
    assert second["grad/w"].shape == (0, 2)
    assert third["loss"].shape == ()


# Killed halfway, there is nothing, or what was there before.


@pytest.mark.slow
def test_a_recording_that_is_killed_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "run.safetensors"
    target.write_bytes(b"before")
    program = f"""
import time, numpy as np, torch, reference_torch
model = torch.nn.Linear(300, 300)
def before_step(params):
    if params[0].grad.norm() < 1e5:  # a step of training, not the look at what this does
        print("step", flush=True)
        time.sleep(0.05)
batches = [(np.ones((2, 300), np.float32), np.ones((2, 300), np.float32))] * 500
sgd = torch.optim.SGD(model.parameters(), lr=0.001)
reference_torch.record({str(target)!r}, reference_torch.TorchRun(
    model, torch.nn.MSELoss(), sgd, batches, before_step=before_step, samples=0))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        try:
            assert process.stdout is not None
            for _ in range(6):
                assert process.stdout.readline() == "step\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
    assert target.read_bytes() == b"before"


def raising() -> Iterator[dict[str, np.ndarray]]:
    yield {"loss": np.zeros(())}
    raise KeyboardInterrupt


def full_disk(*args: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("before", [None, b"before"])
@pytest.mark.parametrize("function", [None, "fsync", "chmod", "replace"])
def test_a_recording_that_fails_leaves_what_was_there(
    before: bytes | None, function: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "run"
    if before is not None:
        target.write_bytes(before)
    steps: Any = [{"loss": np.zeros(())}]
    if function is None:
        steps = raising()
    else:
        monkeypatch.setattr(os if function == "fsync" else Path, function, full_disk)
    expected = KeyboardInterrupt if function is None else OSError
    with pytest.raises(expected):
        recording.write(target, {"run": recording.Recorded({}, {}, steps)})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {} if before is None else {"run": before}
    )


def test_a_new_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    recording.write(tmp_path / "run", {"run": recording.Recorded({}, {}, [])})
    assert (tmp_path / "run").stat().st_mode == (tmp_path / "other").stat().st_mode


# What is no recording is refused, in one sentence.


def with_metadata(recorded: str | None) -> Callable[[Path, bytes], None]:
    def write(path: Path, whole: bytes) -> None:
        metadata = None if recorded is None else {"recording": recorded}
        safetensors.numpy.save_file({"run/start/param/w": np.zeros(2)}, path, metadata)

    return write


FORMAT = '{"format": "jaxdnn recording 1"'
FOREIGN: dict[str, Callable[[Path, bytes], Any]] = {
    "missing": lambda path, whole: None,
    "a folder": lambda path, whole: path.mkdir(),
    "empty": lambda path, whole: path.write_bytes(b""),
    "text": lambda path, whole: path.write_text("not a recording\n" * 10),
    "half": lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    "without its last byte": lambda path, whole: path.write_bytes(whole[:-1]),
    "with a byte too many": lambda path, whole: path.write_bytes(whole + b"\0"),
    "with a damaged length": lambda path, whole: path.write_bytes(b"\xff" * 8 + whole[8:]),
    "with a damaged header": lambda path, whole: path.write_bytes(whole[:8] + b"}" + whole[9:]),
    "a checkpoint": with_metadata(None),
    "not JSON": with_metadata("{"),
    "a list": with_metadata("[1]"),
    "without runs": with_metadata(FORMAT + "}"),
    "of another format": with_metadata('{"format": "jaxdnn recording 2", "runs": {"run": {}}}'),
    "of another run": with_metadata(FORMAT + ', "runs": {"W10": {}}}'),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_recording_is_refused(name: str, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    FOREIGN[name](path, file.read_bytes())
    with pytest.raises(CheckpointError) as raised:
        parity.replay(path, *ports()["right"])
    assert str(raised.value).startswith(f"{path} ")
    assert "\n" not in str(raised.value)
