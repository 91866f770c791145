"""The command line: what it prints, writes and refuses."""

import dataclasses
import importlib.resources
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib.image
import numpy as np
import pytest
import rich.console
import safetensors.numpy
import safetensors.torch
import torch

from jaxdnn import cli, torch_compat
from jaxdnn.cli import terminal
from jaxdnn.data import mnist, tabular
from jaxdnn.data.mnist import MNIST
from jaxdnn.runs import catalogue, checkpoint
from jaxdnn.runs.workflow import NoInputs
from jaxdnn.runtime import startup
from jaxdnn.workflows import momentum_sgd, tabular_dnn
from reference_torch.workflows import mnist_dnn as reference

FIGURES_ONLY = {"autograd", "data-loading"}
NETWORKS = {"linear-regression", "lenet", "sum-classifier", "tabular-dnn", "mnist-dnn"}
DOCUMENTED = json.loads((importlib.resources.files("jaxdnn.runs") / "documented.json").read_text())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no table is folded."""
    monkeypatch.setenv("COLUMNS", "200")


def measured(*arguments: str) -> dict[str, Any]:
    """What a run in the current folder writes with ``--json``."""
    assert run("run", *arguments, "--json", "run.json") == 0
    return json.loads(Path("run.json").read_text(), parse_constant=pytest.fail)


def numbers(value: Any) -> int:
    """How many numbers a figure holds."""
    return sum(map(numbers, value)) if isinstance(value, list) else 1


def printed(family: str) -> dict[str, Any]:
    """A family's entries of the oracle, without what they say about themselves."""
    about = {
        "cell",
        "document",
        "digits",
        "significant",
        "after",
        "state",
        "note",
        "reachable",
        "why",
    }
    return {
        name: {
            {"printed": "w"}.get(key, key): value
            for key, value in entry.items()
            if key not in about
        }
        for name, entry in DOCUMENTED.items()
        if name.startswith(f"{family}.")
    }


def test_list_names_every_workflow_its_rows_and_its_figures(
    wide: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    output = capsys.readouterr().out
    rows = {line.split()[0]: line for line in output.splitlines() if line}
    assert list(catalogue.WORKFLOWS) == [word for word in rows if word in catalogue.WORKFLOWS]
    for workflow in catalogue.WORKFLOWS.values():
        assert workflow.summary in rows[workflow.id]
        entries = printed(workflow.family).items()
        per_entry = {name: sum(map(numbers, entry.values())) for name, entry in entries}
        total = sum(per_entry.values())
        reached = total - per_entry.get("gradient_descent.linear_layer", 0)
        status = f"{reached} of {total}" if total else "none printed"
        assert rows[workflow.id].rstrip().endswith(f"  {status}")
    for document, title in catalogue.DOCUMENTS.items():
        assert rows[document] == f"{document}  {title}"


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == list(catalogue.WORKFLOWS)
    for row in rows:
        assert row["rows"] == catalogue.WORKFLOWS[row["id"]].rows
        assert set(row["documents"]) <= set(catalogue.DOCUMENTS)
        assert 0 <= row["figures_replayed"] <= row["figures_printed"]
    assert sum(row["figures_printed"] for row in rows) == 526
    assert sum(row["figures_replayed"] for row in rows) == 525


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--help",), "Run a workflow"),
        ((), "Run a workflow"),
        (("run", "--help"), "'jaxdnn run WORKFLOW --help' lists its flags"),
        (("run", "-h"), "WORKFLOW"),
        (("predict", "--help"), "--images"),
        (("--version",), "jaxdnn 0."),
    ],
)
def test_help(arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0
    assert says in capsys.readouterr().out


@pytest.mark.parametrize("workflow_id", catalogue.WORKFLOWS)
def test_help_of_a_workflow_lists_its_flags_with_their_defaults(
    workflow_id: str, wide: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run", workflow_id, "--help") == 0
    _, _, options = capsys.readouterr().out.partition(" options ")
    output = " ".join(options.replace("│", " ").split())
    module = catalogue.report(workflow_id)
    defaults: dict[str, Any] = {"seed": module.SEED, "json": None, "full": False}
    if workflow_id in {"lenet", "mnist-dnn", "tabular-dnn"}:
        defaults["torch_seed"] = None
    sources = [module.Config, getattr(module, "Inputs", NoInputs), startup.Machine]
    if workflow_id in {"lenet", "mnist-dnn"}:
        sources.append(startup.Processes)
        defaults["resume"] = None
    for settings in sources:
        defaults |= {field.name: field.default for field in dataclasses.fields(settings)}
    if workflow_id not in FIGURES_ONLY:
        defaults["plot"] = f"{workflow_id}.png"
    if workflow_id in NETWORKS:
        defaults["checkpoint"] = None
    flags = re.findall(r" --(?!no-)([a-z][a-z-]*)(?=[ ,])", output)
    assert sorted(flags) == sorted(["help", *(name.replace("_", "-") for name in defaults)])
    described = re.split(r" --(?=[a-z])(?!no-)", output)
    for name, default in defaults.items():
        [flag] = [
            text for text in described if text.split()[0].strip(",") == name.replace("_", "-")
        ]
        assert f"(default: {default})" in flag


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("walk",), "Unrecognized options: walk"),
        (("run",), "Missing from jaxdnn run"),
        (("run", "mnist-cnn"), "There is no workflow 'mnist-cnn'; there are autograd"),
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
            "--json and --plot both name",
        ),
        (("run", "mnist-dnn", "--epochs", "3000000000"), "less than 2**31"),
        (("run", "mnist-dnn", "--lr", "1e39"), "lr must be finite"),
        (("run", "mnist-dnn", "--data-dir", "/nowhere"), "/nowhere is not a folder"),
        (("run", "autograd", "--norm-limit", "0"), "norm_limit must be above 0"),
        (("run", "autograd", "--plot", "a.png"), "Unrecognized options: --plot"),
        (("run", "gradient-descent", "--layer-lr", "nan"), "layer_lr must be finite"),
        (("run", "two-layer-net", "--epochs", "0"), "epochs must be a whole number"),
        (("run", "momentum-sgd", "--batches", "0"), "batches must be a whole number"),
        (("run", "momentum-sgd", "--plain-lr", "-1"), "plain_lr must be finite"),
        (("run", "momentum-sgd", "--seed", "2147483648"), "seed must be a whole number"),
        (("run", "data-loading", "--train-share", "1.5"), "train_share must be from 0 to 1"),
        (("run", "data-loading", "--batch-size", "0"), "batch_size must be a whole number"),
        (("run", "linear-regression", "--samples", "0"), "samples must be a whole number"),
        (
            ("run", "sum-classifier", "--samples", "1"),
            "samples must be a whole number of at least 2",
        ),
        (("run", "lenet", "--momentum", "-1"), "momentum must be finite"),
        (("run", "tabular-dnn", "--lr", "-1"), "lr must be finite and at least 0"),
        (("run", "tabular-dnn", "--csv", "/nowhere.csv"), "/nowhere.csv cannot be read"),
        (("predict",), "Missing from jaxdnn predict"),
        (("predict", "a.safetensors"), "Give the new samples with one of --csv and --images"),
        (
            ("predict", "a.safetensors", "--csv", "a.csv", "--images", "b.png"),
            "Give the new samples with one of --csv and --images",
        ),
        (("predict", "/nowhere", "--csv", "a.csv"), "/nowhere does not exist"),
        (
            ("predict", "/nowhere", "--csv", "a.csv", "--output", "/no/a.csv"),
            "--output /no/a.csv: the folder /no does not exist",
        ),
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


def set_aside(*ids: str) -> list[str]:
    """The workflows but these."""
    return [workflow_id for workflow_id in catalogue.WORKFLOWS if workflow_id not in ids]


def few_digits(data: MNIST) -> MNIST:
    return MNIST(
        data.train_images[:640],
        data.train_labels[:640],
        data.test_images[:100],
        data.test_labels[:100],
    )


FAST = {"tabular-dnn": ["--epochs", "100"], "sum-classifier": ["--epochs", "200"]}


@pytest.mark.parametrize(
    "workflow_id",
    [
        *set_aside("mnist-dnn", "lenet", "linear-regression", "sum-classifier"),
        *(
            pytest.param(workflow_id, marks=pytest.mark.slow)
            for workflow_id in ("lenet", "linear-regression", "sum-classifier")
        ),
    ],
)
def test_every_workflow_runs_and_leaves_what_it_computed(
    workflow_id: str,
    wide: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    if workflow_id == "lenet":
        few = few_digits(request.getfixturevalue("mnist_data"))
        monkeypatch.setattr(mnist, "load", lambda *_, **__: (few, "a test"))
    kind = catalogue.WORKFLOWS[workflow_id].kind
    checkpoint_flags = ["--checkpoint", "model"] if workflow_id in NETWORKS else []
    result = measured(workflow_id, *FAST.get(workflow_id, []), *checkpoint_flags)
    output = capsys.readouterr().out

    assert output.startswith(f"{workflow_id} on cpu, float32")
    assert result["workflow"] == workflow_id
    module = catalogue.report(workflow_id)
    assert result["config"]["seed"] == module.SEED
    settings = {field.name for field in dataclasses.fields(module.Config)}
    assert set(result["config"]) == settings | {"seed"}
    family = catalogue.WORKFLOWS[workflow_id].family
    assert result["figures"]
    for name, figures in printed(family).items():
        assert result["figures"][name].keys() >= figures.keys()
    assert ("printed_figures" in result) == (workflow_id not in FAST)
    for figure in result.get("printed_figures", []):
        assert figure["place"] in output
        assert figure["printed"] == printed(family)[figure["entry"]][figure["name"]]
    for remark in result["remarks"]:
        assert f"- {remark}\n" in output
    assert (kind == "figures") == (workflow_id in FIGURES_ONLY)
    assert ("losses" in result) == (kind != "figures")
    files = {"run.json"}
    if kind != "figures":
        files.add(f"{workflow_id}.png")
        assert matplotlib.image.imread(f"{workflow_id}.png").shape[0] >= 630
        assert result["losses"] == next(iter(result["curves"].values()))
        assert min(result["losses"]) < result["losses"][0]
        assert f"picture in {workflow_id}.png" in output
    if kind in ("network", "long"):
        files.add("model")
        assert checkpoint.read_metadata("model")["workflow"] == workflow_id
        assert checkpoint.read_metadata("model")["config"] == result["config"]
        assert result["samples"] > 0
        assert "test_accuracy" in result
    assert {path.name for path in tmp_path.iterdir()} == files


def test_figures_are_unrounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON file holds the very numbers that were computed, not what a table shows."""
    monkeypatch.chdir(tmp_path)
    result = measured("momentum-sgd", "--plot", "None")
    gradient = np.array(result["figures"]["momentum_sgd.linear1_grad"]["rows"])
    assert gradient.shape == (13, 20)
    params, data = (f(torch_compat.Generator(420)) for f in (momentum_sgd.init, momentum_sgd.data))
    grads = jax.jit(jax.grad(momentum_sgd.loss))(params, *data)
    np.testing.assert_array_equal(gradient, np.array(grads["linear1"]["kernel"]).T)
    assert result["figures"]["momentum_sgd.loop"]["steps"] == 55
    assert "as printed, steps of the loop: 55." in "".join(result["remarks"])


@pytest.mark.parametrize(
    ("arguments", "entry", "key", "value"),
    [
        (("momentum-sgd", "--no-as-printed"), "momentum_sgd.loop", "steps", 600),
        (
            ("two-layer-net", "--no-as-printed"),
            "two_layer_net.by_hand",
            "relative_error_w1",
            0,
        ),
    ],
)
def test_as_meant(
    arguments: Sequence[str],
    entry: str,
    key: str,
    value: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = measured(*arguments, "--plot", "None")
    assert result["figures"][entry][key] == value
    said = "".join(result["remarks"])
    assert "as meant" in said
    assert "as printed" not in said


def test_clamped_gradient_is_said_to_be_wrong_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = measured("two-layer-net", "--plot", "None")
    by_hand = result["figures"]["two_layer_net.by_hand"]
    assert by_hand["relative_error_w1"] == pytest.approx(0.775, abs=0.001)
    assert by_hand["relative_error_w2"] < 1e-6
    assert by_hand["wrongly_zeroed"] > 1000
    assert by_hand["wrongly_passed"] > 1000
    first = result["remarks"][0]
    assert f"{by_hand['relative_error_w1']:.0%}" in first
    assert f"{by_hand['wrongly_zeroed']:,} " in first


def test_documented_figures_are_shown_beside_the_printed_ones(
    wide: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the document's settings only: with others they are not to be expected."""
    monkeypatch.chdir(tmp_path)
    assert run("run", "gradient-descent") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "by hand: x 004 In [6] -0.8926258176 -0.8926258176 yes" in output
    assert "linear layer: w 004 In [72] 1.9871 1.9063 no, out of reach" in output
    assert "epoch 3 loss 1.6384 gradient 2.5600" in output
    assert "1.9871 is out of reach" in output
    for other in (["--lr", "0.2"], ["--seed", "3"]):
        assert run("run", "gradient-descent", *other) == 0
        output = capsys.readouterr().out
        assert "printed in" not in output
        assert " yes" not in output
    assert "1.9871 is out of reach: from this seed's initial weight" in output


@pytest.mark.parametrize(
    "arguments",
    [
        ("gradient-descent", "--lr", "1e20", "--layer-lr", "1e30"),
        ("two-layer-net", "--epochs", "150", "--lr", "1e-3"),
        ("linear-regression", "--lr", "1e10"),
        ("sum-classifier", "--lr", "1e10", "--epochs", "120"),
    ],
)
def test_run_that_diverges_ends_well(
    arguments: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback and no warning: numbers that are not finite are null, and the losses say so."""
    monkeypatch.chdir(tmp_path)
    result = measured(*arguments)
    captured = capsys.readouterr()
    assert captured.err == ""
    if None in result["losses"]:
        step, curve = result["losses"].index(None) + 1, next(iter(result["curves"]))
        assert f"the loss is not finite from step {step} of {curve} on; lower" in captured.out
    assert Path(f"{arguments[0]}.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ("linear-regression", "--samples", "1"),
        pytest.param(("sum-classifier", "--samples", "2", "--epochs", "1"), marks=pytest.mark.slow),
        ("momentum-sgd", "--no-as-printed", "--batches", "500", "--epochs", "1", "--steps", "1"),
        ("data-loading", "--batch-size", "501", "--drop-last", "--train-share", "0"),
        ("tabular-dnn", "--epochs", "1", "--batch-size", "1000"),
    ],
)
def test_smallest_run_ends_well(
    arguments: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    measured(*arguments)
    assert capsys.readouterr().err == ""


TABLE = "name,height,weight,age,grown\n" + "".join(
    f"row {i},{1 + i % 7 / 10:.1f},{40 + i},{i},{int(i > 20)}\n" for i in range(40)
)


@pytest.mark.parametrize(
    ("flags", "features", "label"),
    [
        ([], ["height", "weight", "age"], "grown"),
        (
            ["--standardise", "--label", "grown", "--index-column", "name"],
            ["height", "weight", "age"],
            "grown",
        ),
        (["--batch-size", "8"], ["height", "weight", "age"], "grown"),
        (["--index-column", "age"], None, "'name': 'row 0' is not a number"),
        (["--label", "height"], None, "is not a label"),
        (["--label", "size"], None, "has no column 'size'"),
    ],
)
def test_table_of_ones_own(
    flags: list[str],
    features: list[str] | None,
    label: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The network is as wide as the file, and the checkpoint carries names and scale."""
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(TABLE)
    arguments = ["tabular-dnn", "--csv", "people.csv", "--epochs", "3", *flags]
    if features is None:
        assert run("run", *arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("jaxdnn: people.csv")
        assert label in captured.err
        assert captured.err.count("\n") == 1
        assert "Traceback" not in captured.err
        assert not Path("tabular-dnn.png").exists()
        return
    result = measured(*arguments, "--checkpoint", "model")
    said = (
        "people.csv: 40 rows, 3 features ('height', 'weight', 'age'), label 'grown', index 'name'"
    )
    assert result["data_source"] == said
    assert f"tabular-dnn on cpu, float32, {said}\n" in capsys.readouterr().out
    rows = 28  # of 40
    assert len(result["losses"]) == 3 * (4 if "--batch-size" in flags else 1)
    assert result["samples"] == 3 * rows
    [curve] = result["curves"]
    assert curve == ("4 mini-batches an epoch" if "--batch-size" in flags else "all training rows")
    assert any("section 5" in remark for remark in result["remarks"]) == ("--batch-size" in flags)
    tensors = safetensors.numpy.load_file("model")
    assert tensors["net.0.weight"].shape == (32, 3)
    preprocessing = checkpoint.read_metadata("model")["preprocessing"]
    assert preprocessing["feature_names"] == features
    assert preprocessing["label_name"] == label
    assert ("mean" in preprocessing) == ("--standardise" in flags)
    if "--standardise" in flags:
        table = tabular.read_csv("people.csv")
        split, _, _ = tabular_dnn.data_and_params(1, table)
        scale = tabular.standardisation(split.train_features)
        np.testing.assert_array_equal(np.float32(preprocessing["mean"]), scale.mean)
        np.testing.assert_array_equal(np.float32(preprocessing["std"]), scale.std)


def test_bad_table_is_one_line_from_the_installed_command(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("name,a,label\nx,1,0\ny,two,1\n")
    command = [sys.executable, "-m", "jaxdnn", "run", "tabular-dnn", "--csv", "bad.csv"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        "jaxdnn: bad.csv, line 3, column 'a': 'two' is not a number; write plain numbers such as "
        "1234.5, without units or thousands separators.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_what_can_be_written_is_written_before_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    arguments = ["run", "linear-regression", "--json", "run.json", "--checkpoint", "model"]
    assert run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "jaxdnn: the checkpoint could not be written to model: [Errno 28] No space left on device\n"
    )
    assert "measurements in run.json" in captured.out
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "linear-regression.png"}


def test_device_that_is_missing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise RuntimeError("Unable to initialize backend 'tpu'\nmore")

    monkeypatch.setattr(jax, "devices", none)
    assert run("run", "autograd") == 2
    assert capsys.readouterr().err == (
        "jaxdnn: JAX finds no device (Unable to initialize backend 'tpu'); check JAX_PLATFORMS.\n"
    )


def test_real_run_of_the_installed_command(mnist_data: MNIST, tmp_path: Path) -> None:
    """As a user starts it: what it says, writes and draws, and torch gets the same accuracy."""
    command = [sys.executable, "-m", "jaxdnn", "run", "mnist-dnn", "--epochs", "1", "--seed", "1"]
    command += ["--json", "run.json", "--checkpoint", "model.safetensors", "--lr", "0.05"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    output, result = finished.stdout, json.loads((tmp_path / "run.json").read_text())

    first, *_ = output.splitlines()
    assert first.startswith("mnist-dnn on ")
    assert "float32, MNIST from " in first
    accuracy = f"{result['test_accuracy']:.2%}"
    assert f"epoch 1/1  loss {result['losses'][-1]:.4f}  test accuracy {accuracy}" in output
    assert f"\ntest accuracy {accuracy}\n" in output
    assert "compiling " in output
    for name in ("mnist-dnn.png", "model.safetensors", "run.json"):
        assert f" in {name}\n" in output
        assert (tmp_path / name).stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 3

    assert result["config"] == {
        "epochs": 1,
        "lr": 0.05,
        "momentum": 0.5,
        "batch_size": 64,
        "seed": 1,
        "weight_decay": 0.0,
        "initial_scale": 1.0,
    }
    assert len(result["losses"]) == 938
    assert result["losses"][0] == pytest.approx(np.log(10), abs=0.05)
    assert np.mean(result["losses"][-100:]) < 0.4
    assert result["curves"] == {"mini-batches": result["losses"]}
    assert result["figures"]["mnist_dnn.test_accuracy"] == {"value": result["test_accuracy"]}
    assert result["figures"]["mnist_dnn.parameters"]["net.1.weight"] == [512, 784]
    assert result["test_accuracy_by_epoch"] == [result["test_accuracy"]]
    assert result["test_accuracy"] > 0.9
    assert result["samples"] == 60_000
    assert result["compile_seconds"] > 0
    assert result["train_seconds"] > 0
    assert result["precision"] == "float32"

    height, width, _ = (picture := matplotlib.image.imread(tmp_path / "mnist-dnn.png")).shape
    assert (width, height) == (1050, 660)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 50

    model = reference.init()
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert set(tensors) == {
        f"net.{i}.{leaf}" for i in (1, 3, 5, 7, 9) for leaf in ("weight", "bias")
    }
    model.load_state_dict(tensors, strict=True)
    with torch.no_grad():
        outputs = reference.predict(model, torch.tensor(mnist_data.test_images))
    share = (outputs.argmax(1).numpy() == mnist_data.test_labels).mean()
    assert share == pytest.approx(result["test_accuracy"], abs=2e-4)


def test_damaged_data_is_one_sentence(
    mnist_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in mnist.FILES:
        (tmp_path / name).write_bytes((mnist_folder / name).read_bytes()[:1000])
    assert run("run", "mnist-dnn", "--data-dir", str(tmp_path)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"jaxdnn: {tmp_path / next(iter(mnist.FILES))} has 1,000 bytes")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("name", "when"), [("SIGTERM", "starting"), ("SIGINT", "training")])
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


@pytest.mark.slow
def test_reader_that_leaves_does_not_stop_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jaxdnn", "run", "sum-classifier", "--epochs", "100"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("sum-classifier on ")
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=120)
    assert errors == ""
    assert process.returncode == 0
    assert (tmp_path / "sum-classifier.png").stat().st_size > 1000


def test_progress_bar_shows_epoch_loss_and_rate() -> None:
    output = io.StringIO()
    console = rich.console.Console(file=output, force_terminal=True, width=120)
    with terminal.RunProgress(console) as progress:
        progress.on_start(epochs=4, samples=1000)
        progress.on_epochs(1, 2.5, None)
        time.sleep(0.2)
        progress.on_epochs(3, 1.25, 0.875)
        time.sleep(0.2)
    shown = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert re.search(r"epoch 3/4 .* 3000/4000 samples loss 1\.2500  [\d,]+ samples/s", shown)
    assert "epoch 3/4  loss 1.2500  test accuracy 87.50%" in shown
    assert "epoch 1/4  test accuracy" not in shown


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
@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"]], ids=" ".join)
def test_full_disk_is_said(arguments: list[str]) -> None:
    """Of a table, and of what stays in Python's buffer to the end."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        result = subprocess.run(
            [sys.executable, "-m", "jaxdnn", *arguments],
            env=buffered,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 1
    assert result.stderr == "jaxdnn: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("flag", ["--json", "--checkpoint", "--plot", "--resume"])
def test_a_result_does_not_replace_the_data(
    flag: str, mnist_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = mnist_folder / list(mnist.FILES)[3]
    before = file.read_bytes()
    assert run("run", "mnist-dnn", "--data-dir", str(mnist_folder), flag, str(file)) == 2
    assert "is also an input; name another file." in capsys.readouterr().err
    assert file.read_bytes() == before
