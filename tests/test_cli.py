"""The command line: what it prints, writes and refuses."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rich.console
import safetensors.torch
import torch

from jaxdnn import cli, terminal
from jaxdnn.data import mnist
from jaxdnn.data.mnist import MNIST
from reference_torch.workflows import mnist_dnn as reference


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert "mnist-dnn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--help",), "run a workflow"),
        ((), "run a workflow"),
        (("run", "--help"), "mnist-dnn"),
        (("run", "mnist-dnn", "--help"), "Learning rate of SGD"),
        (("--version",), "jaxdnn 0."),
    ],
)
def test_help(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("walk",), "invalid choice: 'walk'"),
        (("run",), "required: WORKFLOW"),
        (("run", "mnist-cnn"), "invalid choice: 'mnist-cnn'"),
        (("run", "mnist-dnn", "--learning-rate", "1"), "Unrecognized options: --learning-rate"),
        (("run", "mnist-dnn", "--epochs", "0"), "epochs must be a whole number of at least 1"),
        (("run", "mnist-dnn", "--epochs", "two"), "--epochs"),
        (("run", "mnist-dnn", "--batch-size", "-64"), "batch_size must be a whole number"),
        (("run", "mnist-dnn", "--lr", "nan"), "lr must be finite"),
        (("run", "mnist-dnn", "--lr", "-1"), "lr must be finite and at least 0"),
        (("run", "mnist-dnn", "--momentum", "inf"), "momentum must be finite"),
        (("run", "mnist-dnn", "--seed", "-1"), "seed must be a whole number from 0"),
        (("run", "mnist-dnn", "--plot", "loss.txt"), "name a file that ends in .png"),
        (("run", "mnist-dnn", "--plot", "/nowhere/a.png"), "/nowhere does not exist"),
        (("run", "mnist-dnn", "--json", "/"), "--json / is a folder"),
        (
            ("run", "mnist-dnn", "--json", "a.png", "--plot", "./a.png"),
            "--plot and --json both name",
        ),
        (("run", "mnist-dnn", "--epochs", "3000000000"), "less than 2**31"),
        (("run", "mnist-dnn", "--lr", "1e39"), "lr must be finite"),
        (("run", "mnist-dnn", "--data-dir", "/nowhere"), "/nowhere is not a folder"),
    ],
)
def test_bad_input(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert says in " ".join(captured.err.replace("│", " ").split())
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.fixture(scope="module")
def finished_run(
    mnist_data: MNIST, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, dict]:
    """One real run of the installed command, as a user starts it: its folder, output and JSON."""
    folder = tmp_path_factory.mktemp("run")
    command = [sys.executable, "-m", "jaxdnn", "run", "mnist-dnn", "--epochs", "1", "--seed", "1"]
    command += ["--json", "run.json", "--checkpoint", "model.safetensors", "--lr", "0.05"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return folder, result.stdout, json.loads((folder / "run.json").read_text())


def test_run_says_what_it_did(finished_run: tuple[Path, str, dict]) -> None:
    folder, output, measured = finished_run
    first, *_ = output.splitlines()
    assert first.startswith("mnist-dnn on ")
    assert "float32, MNIST from " in first
    accuracy = f"{measured['test_accuracy']:.2%}"
    assert f"epoch 1/1  test accuracy {accuracy}" in output
    assert f"\ntest accuracy {accuracy}\n" in output
    assert "compiling " in output
    for name in ("mnist-dnn.png", "model.safetensors", "run.json"):
        assert f" in {name}\n" in output
        assert (folder / name).stat().st_size > 1000
    assert len(list(folder.iterdir())) == 3


def test_run_writes_what_it_measured(finished_run: tuple[Path, str, dict]) -> None:
    _, _, measured = finished_run
    assert measured["config"] == {
        "epochs": 1,
        "lr": 0.05,
        "momentum": 0.5,
        "batch_size": 64,
        "seed": 1,
    }
    assert len(measured["losses"]) == 938
    assert measured["losses"][0] == pytest.approx(np.log(10), abs=0.05)
    assert np.mean(measured["losses"][-100:]) < 0.4
    assert measured["test_accuracy_by_epoch"] == [measured["test_accuracy"]]
    assert measured["test_accuracy"] > 0.9
    assert measured["compile_seconds"] > 0
    assert measured["train_seconds"] > 0
    assert measured["precision"] == "float32"


def test_torch_gets_the_same_accuracy_from_the_checkpoint(
    finished_run: tuple[Path, str, dict], mnist_data: MNIST
) -> None:
    folder, _, measured = finished_run
    model = reference.init()
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert set(tensors) == {
        f"net.{i}.{leaf}" for i in (1, 3, 5, 7, 9) for leaf in ("weight", "bias")
    }
    model.load_state_dict(tensors, strict=True)
    with torch.no_grad():
        outputs = reference.predict(model, torch.tensor(mnist_data.test_images))
    accuracy = (outputs.argmax(1).numpy() == mnist_data.test_labels).mean()
    assert accuracy == pytest.approx(measured["test_accuracy"], abs=2e-4)


def test_picture_is_a_picture(finished_run: tuple[Path, str, dict]) -> None:
    import matplotlib.image

    picture = matplotlib.image.imread(finished_run[0] / "mnist-dnn.png")
    height, width, _ = picture.shape
    assert (width, height) == (1050, 630)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 50


def test_damaged_data_is_one_sentence(
    mnist_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in mnist.FILES:
        (tmp_path / name).write_bytes((mnist_folder / name).read_bytes()[:1000])
    assert run("run", "mnist-dnn", "--data-dir", str(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"jaxdnn: {tmp_path / next(iter(mnist.FILES))} has 1,000 bytes")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("when", ["starting", "training"])
def test_interruption_leaves_nothing_and_is_prompt(
    mnist_data: MNIST, tmp_path: Path, name: str, when: str
) -> None:
    # A job in the background of a shell inherits that interruptions are ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from jaxdnn import cli; print('started', flush=True)\n"
        "cli.main(['run', 'mnist-dnn', '--epochs', '1000'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            awaited = {"starting": "started", "training": "epoch 1/1000"}[when]
            while awaited not in process.stdout.readline():
                assert process.poll() is None
            if when == "starting":
                time.sleep(0.5)  # in the middle of its imports
            process.send_signal(getattr(signal, name))
            start = time.monotonic()
            _, errors = process.communicate(timeout=60)
            assert time.monotonic() - start < 20
        finally:
            process.kill()
    assert process.returncode == 128 + getattr(signal, name)
    assert errors.splitlines()[-1] == "jaxdnn: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_reader_that_leaves_does_not_stop_the_run(mnist_data: MNIST, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jaxdnn", "run", "mnist-dnn", "--epochs", "1"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("mnist-dnn on ")
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=120)
    assert errors == ""
    assert process.returncode == 0
    assert (tmp_path / "mnist-dnn.png").stat().st_size > 1000


def test_progress_bar_shows_epoch_loss_and_rate() -> None:
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=True, width=120)
    with terminal.RunProgress(console, epochs=2, samples=1000, batch_size=10) as progress:
        progress.on_step(0, 0, 2.5)
        time.sleep(0.2)
        progress.on_step(0, 49, 1.25)
        time.sleep(0.2)
        progress.on_epoch(0, 0.875)
    shown = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert re.search(r"epoch 1/2 .* 500/2000 images loss 1\.2500  [\d,]+ images/s", shown)
    assert "epoch 1/2  test accuracy 87.50%" in shown


def test_download_bar_shows_name_and_amount() -> None:
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=True, width=120)
    with terminal.download_bars(console) as start:
        bar = start("train-images.gz")
        bar.total = 9_912_422
        bar.update(5_000_000)
        time.sleep(0.2)
        bar.close()
    assert "fetching train-images.gz" in output.getvalue()
    assert "5.0 MB of 9.9 MB" in output.getvalue()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")  # noqa: PTH110
def test_full_disk_is_said(mnist_data: MNIST) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-m", "jaxdnn", "list"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert result.returncode == 1
    assert result.stderr == "jaxdnn: [Errno 28] No space left on device\n"
