"""Prediction: what torch says of the same files, and one sentence for what cannot be used."""

import csv
import gzip
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reference_torch.models
from jaxdnn import cli
from jaxdnn.data import idx
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import CheckpointError, DataError
from jaxdnn.runs import catalogue, checkpoint, prediction
from reference_torch.workflows import lenet as torch_lenet
from reference_torch.workflows import mnist_dnn as torch_mnist_dnn
from reference_torch.workflows import tabular_dnn as torch_tabular_dnn

NAMES = ("size", "weight", "age")
SCALE = {"mean": [1.5, 60.0, 30.0], "std": [0.25, 12.0, 9.0]}

# For each network: its preprocessing, and torch's module.
NETWORKS: dict[str, tuple[dict[str, Any], Callable[[], nn.Module]]] = {
    "linear-regression": (
        {"outputs": "number", "feature_names": ["feature_1", "feature_2"]},
        lambda: reference_torch.models.mlp((2, 1)),
    ),
    "sum-classifier": (
        {"outputs": "classes", "feature_names": ["feature_1", "feature_2", "feature_3"]},
        lambda: reference_torch.models.mlp((3, 5, 5, 5, 3)),
    ),
    "tabular-dnn": (
        {"outputs": "probability", "feature_names": list(NAMES), "label_name": "grown"},
        lambda: torch_tabular_dnn.network(3),
    ),
    "lenet": ({"outputs": "digits"}, torch_lenet.init),
    "mnist-dnn": ({"outputs": "digits"}, torch_mnist_dnn.init),
}
DIGITS = ["lenet", "mnist-dnn"]
TABLES = ["linear-regression", "sum-classifier", "tabular-dnn"]


def save(path: Path, workflow: str, **more: Any) -> nn.Module:
    """A checkpoint of a fresh network, and the same network in torch."""
    preprocessing, module = NETWORKS[workflow]
    torch.manual_seed(0)
    network = module()
    metadata = {"workflow": workflow, "preprocessing": {**preprocessing, **more}}
    header = {"format": "pt", "jaxdnn": json.dumps(metadata)}
    safetensors.torch.save_file(network.state_dict(), path, header)
    return network


def predict(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["predict", *map(str, arguments)])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("workflow", TABLES)
def test_table_is_predicted_as_torch_does(
    workflow: str,
    standardised: bool,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = NETWORKS[workflow][0]["feature_names"]
    scale = {key: value[: len(names)] for key, value in SCALE.items()} if standardised else {}
    network = save(model, workflow, **scale)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(9, len(names))).astype(np.float32)
    # In another order than the network's, with names of rows and a label that is not used.
    shuffled = generator.permutation(len(names)).tolist()
    lines = [",".join(["who", *(names[i] for i in shuffled)])]
    lines += [
        ",".join([f"row {i}", *(str(row[j]) for j in shuffled)]) for i, row in enumerate(features)
    ]
    if workflow == "tabular-dnn":
        lines = [f"{line},{'grown' if i == 0 else i % 2}" for i, line in enumerate(lines)]
    (tmp_path / "new.csv").write_text("\n".join(lines) + "\n")

    assert predict(model, "--csv", tmp_path / "new.csv") == 0
    table = rows(capsys.readouterr().out)

    inputs = torch.tensor(features)
    if standardised:
        inputs = (inputs - torch.tensor(scale["mean"])) / torch.tensor(scale["std"])
    with torch.no_grad():
        expected = network(inputs).numpy()
    assert [row["row"] for row in table] == [f"row {i}" for i in range(9)]
    predictions = np.array([float(row["prediction"]) for row in table])
    if workflow == "linear-regression":
        assert list(table[0]) == ["row", "prediction"]
        np.testing.assert_allclose(predictions, expected[:, 0], rtol=1e-4, atol=1e-5)
    elif workflow == "sum-classifier":
        assert list(table[0]) == ["row", "prediction", "score_0", "score_1", "score_2"]
        scores = np.array([[float(row[f"score_{i}"]) for i in range(3)] for row in table])
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(predictions, expected.argmax(1))
    else:
        assert list(table[0]) == ["row", "prediction", "probability"]
        probability = np.array([float(row["probability"]) for row in table])
        np.testing.assert_allclose(probability, expected[:, 0], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(predictions, expected[:, 0] >= 0.5)


@pytest.mark.parametrize("output", ["new.csv", "model.safetensors"])
def test_predictions_replace_no_input(
    output: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(model, "tabular-dnn")
    (tmp_path / "new.csv").write_text(",".join(NAMES) + "\n1,2,3\n")
    before = (tmp_path / output).read_bytes()
    assert predict(model, "--csv", tmp_path / "new.csv", "--output", tmp_path / output) == 2
    assert "is also an input" in capsys.readouterr().err
    assert (tmp_path / output).read_bytes() == before


def test_probability_of_a_half_is_the_second_class(tmp_path: Path) -> None:
    """As in the accuracy of the workflow."""
    (tmp_path / "new.csv").write_text("size\n1\n2\n3\n")
    network = prediction.SavedNetwork(
        "tabular-dnn",
        lambda features: jnp.array([[0.25], [0.5], [0.75]]),
        {"outputs": "probability", "feature_names": ["size"]},
    )
    table = rows(prediction.predict_csv(network, tmp_path / "new.csv", index_column=""))
    assert [row["prediction"] for row in table] == ["0", "1", "1"]


def png(array: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = PIL.Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, "PNG", **options)
    return file.getvalue()


def transparent(digit: np.ndarray) -> bytes:
    """White ink whose opacity is the digit."""
    ink = np.full((*digit.shape, 4), 255, np.uint8)
    ink[..., 3] = digit
    return png(ink)


def palette(digit: np.ndarray) -> bytes:
    image = PIL.Image.fromarray(digit).convert("P", palette=PIL.Image.Palette.ADAPTIVE, colors=256)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# Files that hold the same digit, to so many units of 255, and whether it is dark on light.
FILES: dict[str, tuple[Callable[[np.ndarray], bytes], bool]] = {
    "grey.png": (png, False),
    "inverted.png": (lambda digit: png(255 - digit), True),
    "colour.png": (lambda digit: png(digit, "RGB"), False),
    "transparent.png": (transparent, False),
    "palette.png": (palette, False),
    "deep.png": (lambda digit: png(digit.astype(np.uint16) * 257), False),
    "large.png": (lambda digit: png(digit.repeat(4, 0).repeat(4, 1)), False),
    "image-idx3-ubyte": (lambda digit: idx.encode(digit[None]), False),
    "image-idx3-ubyte.gz": (lambda digit: gzip.compress(idx.encode(digit[None])), False),
}


def test_digit_is_the_same_in_every_kind_of_file(
    mnist_data: MNIST, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = save(model, "mnist-dnn")
    digit = mnist_data.test_images[0]
    with torch.no_grad():
        scores = torch_mnist_dnn.predict(network, torch.tensor(digit[None]))
    expected = scores.softmax(1).max().item()
    for inverted in (False, True):
        names = [name for name, (_, dark) in FILES.items() if dark == inverted]
        for name in names:
            (tmp_path / name).write_bytes(FILES[name][0](digit))
        paths = [str(tmp_path / name) for name in names]
        assert predict(model, "--images", *paths, *["--invert"] * inverted) == 0
        table = rows(capsys.readouterr().out)
        assert [row["file"] for row in table] == paths
        for name, row in zip(names, table, strict=True):
            assert row["image"] == "0"
            # What is enlarged and reduced again is a little smoother.
            close = 2e-2 if name == "large.png" else 1e-5
            assert float(row["probability"]) == pytest.approx(expected, rel=close), name
            assert int(row["prediction"]) == scores.argmax(), name


@pytest.mark.parametrize("workflow", [pytest.param("lenet", marks=pytest.mark.slow), "mnist-dnn"])
def test_many_images_of_a_file_are_predicted_as_torch_does(
    workflow: str,
    mnist_data: MNIST,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In batches, of which the last is smaller."""
    monkeypatch.setattr(prediction, "_BATCH", 8)
    network = save(model, workflow)
    images = mnist_data.test_images[:20]
    (tmp_path / "some-idx3-ubyte").write_bytes(idx.encode(images))
    assert predict(model, "--images", tmp_path / "some-idx3-ubyte") == 0
    table = rows(capsys.readouterr().out)
    side = {"lenet": torch_lenet, "mnist-dnn": torch_mnist_dnn}[workflow]
    with torch.no_grad():
        expected = side.predict(network, torch.tensor(images)).softmax(1)
    assert [int(row["image"]) for row in table] == list(range(20))
    assert [int(row["prediction"]) for row in table] == expected.argmax(1).tolist()
    probabilities = [float(row["probability"]) for row in table]
    np.testing.assert_allclose(probabilities, expected.amax(1), rtol=1e-4)


def grey() -> bytes:
    return png(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize(
    ("workflow", "name", "content", "flags", "says"),
    [
        ("mnist-dnn", "a.png", b"just text", [], "is not an image that Pillow reads"),
        ("mnist-dnn", "a.png", b"", [], "is not an image that Pillow reads"),
        ("mnist-dnn", "a.png", grey()[:45], [], "is not an image that Pillow reads"),
        ("mnist-dnn", "a.png", None, [], "cannot be read (No such file or directory)"),
        (
            "mnist-dnn",
            "a.gz",
            gzip.compress(b"much" * 99, mtime=0)[:-9],
            [],
            "is a damaged gzip file",
        ),
        ("mnist-dnn", "a", idx.encode(np.zeros((2, 5, 5), np.uint8)), [], "no images of 28 by 28"),
        ("mnist-dnn", "a", idx.encode(np.zeros((0, 28, 28), np.uint8)), [], "(0, 28, 28)"),
        ("mnist-dnn", "a", idx.encode(np.zeros(7, np.uint8)), [], "(7,)"),
        ("mnist-dnn", "a.csv", b"a,b\n1,2\n", ["--csv"], "takes images; use --images"),
        ("lenet", "a.csv", b"a,b\n1,2\n", ["--csv"], "(lenet) takes images; use --images"),
        ("tabular-dnn", "a.png", grey(), [], "(tabular-dnn) takes a table; use --csv"),
        (
            "tabular-dnn",
            "a.csv",
            b"size,weight,age\n",
            ["--csv"],
            "has one line only; it needs the names of the columns and rows",
        ),
        ("tabular-dnn", "a.csv", b"", ["--csv"], "is empty"),
        ("tabular-dnn", "a.csv", b"size,age\n1,2\n", ["--csv"], "was trained on: 'weight'"),
        (
            "tabular-dnn",
            "a.csv",
            b"size,weight,age,height\n1,2,3,4\n",
            ["--csv"],
            "has columns that the network was not trained on: 'height'",
        ),
        ("tabular-dnn", "a.csv", b"size,weight,age\n1,2,x\n", ["--csv"], "'x' is not a number"),
        (
            "tabular-dnn",
            "a.csv",
            b"size,weight,age\n1,2,3\n",
            ["--index-column", "size", "--csv"],
            "'size' cannot be both index and feature",
        ),
    ],
    ids=itertools.count(),
)
def test_bad_samples_are_one_sentence(
    workflow: str,
    name: str,
    content: bytes | None,
    flags: list[str],
    says: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save(model, workflow)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert predict(model, *(flags or ["--images"]), tmp_path / name) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("jaxdnn: ")
    assert says in captured.err
    assert captured.err.count("\n") == 1


@given(content=st.binary(max_size=60), cut=st.integers(0, 400), flip=st.integers(0, 10_000))
@settings(max_examples=20)
def test_damaged_image_is_a_data_error(tmp_path: Path, content: bytes, cut: int, flip: int) -> None:
    """Nothing but DataError, whatever the bytes; or they still are an image."""
    kind = ("PNG", "GIF", "BMP", "TIFF", "JPEG")[flip % 5]
    file = io.BytesIO()
    PIL.Image.fromarray(np.arange(784, dtype=np.uint8).reshape(28, 28)).save(file, kind)
    damaged = bytearray(file.getvalue())
    damaged[flip % len(damaged)] ^= 1 + flip % 255
    where = cut % len(damaged)
    (tmp_path / "image").write_bytes(bytes(damaged[:where]) + content + bytes(damaged[where:]))
    try:
        images = prediction._read_images(tmp_path / "image")
    except DataError:
        return
    assert images.shape[1:] == (28, 28)


def test_output_is_written_whole_or_not_at_all(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(model, "linear-regression")
    (tmp_path / "good.csv").write_text("feature_1,feature_2\n1,2\n")
    (tmp_path / "bad.csv").write_text("feature_1,feature_2\n1,x\n")
    output = tmp_path / "out.csv"
    assert predict(model, "--csv", tmp_path / "good.csv") == 0
    shown = capsys.readouterr().out
    assert predict(model, "--csv", tmp_path / "good.csv", "--output", output) == 0
    assert capsys.readouterr().out == ""
    assert output.read_text() == shown
    assert predict(model, "--csv", tmp_path / "bad.csv", "--output", output) == 2
    assert output.read_text() == shown
    assert {path.name for path in tmp_path.iterdir()} == {
        "good.csv",
        "bad.csv",
        "out.csv",
        model.name,
    }


def test_name_that_is_no_text_is_written_too(model: Path, tmp_path: Path) -> None:
    save(model, "mnist-dnn")
    name = b"\xff.png".decode(errors="surrogateescape")
    try:
        (tmp_path / name).write_bytes(grey())
    except OSError:
        pytest.skip("this file system takes no such name")
    assert predict(model, "--images", tmp_path / name, "--output", tmp_path / "out.csv") == 0
    assert "\\udcff.png,0," in (tmp_path / "out.csv").read_text()


# Tensors that are not the network's.
FAULTS: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "missing": (lambda t: t.pop("net.2.bias"), "net.2.bias is missing"),
    "left over": (lambda t: t.update(more=np.ones(3)), "more is not in the model"),
    "misshapen": (
        lambda t: t.update({"net.0.weight": t["net.0.weight"].T.copy()}),
        "net.0.weight is (3, 32), not (32, 3)",
    ),
    "whole numbers": (
        lambda t: t.update({"net.0.bias": np.arange(32)}),
        "net.0.bias is int64, not of floats",
    ),
    "nan": (
        lambda t: t["net.0.bias"].fill(np.nan),
        "holds numbers that are not finite: its training diverged",
    ),
    "infinite": (lambda t: t["net.6.weight"].fill(np.inf), "numbers that are not finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_tensors_are_named(fault: str, model: Path) -> None:
    save(model, "tabular-dnn")
    metadata = {"jaxdnn": json.dumps(checkpoint.read_metadata(model))}
    tensors = safetensors.numpy.load_file(model)
    change, says = FAULTS[fault]
    change(tensors)
    safetensors.numpy.save_file(tensors, model, metadata)
    with pytest.raises(CheckpointError) as caught:
        prediction.load(model)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(model))


def test_foreign_file_is_named(model: Path) -> None:
    network = save(model, "tabular-dnn")
    safetensors.torch.save_file(network.state_dict(), model)
    with pytest.raises(CheckpointError, match="does not say which workflow made it"):
        prediction.load(model)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precision_is_read_or_named(precision: torch.dtype, model: Path) -> None:
    network = save(model, "tabular-dnn")
    metadata = {"jaxdnn": json.dumps(checkpoint.read_metadata(model))}
    safetensors.torch.save_file(network.to(precision).state_dict(), model, metadata)
    if precision == torch.bfloat16:
        with pytest.raises(CheckpointError, match=r"net\.0\.bias is bfloat16, not of floats"):
            prediction.load(model)
        return
    with torch.no_grad():
        expected = network.float()(torch.ones(2, 3))
    outputs = prediction.load(model).apply(np.ones((2, 3), np.float32))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_network_of_another_workflow_is_named(model: Path) -> None:
    save(model, "mnist-dnn")
    tensors = safetensors.numpy.load_file(model)
    metadata = {"workflow": "lenet", "preprocessing": {"outputs": "digits"}}
    safetensors.numpy.save_file(tensors, model, {"jaxdnn": json.dumps(metadata)})
    with pytest.raises(CheckpointError, match=r"conv1\.bias is missing"):
        prediction.load(model)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, *catalogue.WORKFLOWS, "digits", "number", "probability"])
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["workflow", "preprocessing", "outputs", "mean", "std", "?"]), inner
        )
    ),
    max_leaves=8,
)
ALMOST = st.fixed_dictionaries(
    {
        "workflow": st.sampled_from([*catalogue.WORKFLOWS, "config", "os", ""]) | JSON,
        "preprocessing": st.fixed_dictionaries(
            {"outputs": st.sampled_from(["digits", "number", "classes", "probability"]) | JSON},
            optional={
                "feature_names": st.lists(st.sampled_from(["a", "b", "", 3]), max_size=4) | JSON,
                "label_name": st.just("a") | JSON,
                "mean": st.lists(st.floats() | st.integers(), max_size=4) | JSON,
                "std": st.lists(st.floats() | st.integers(), max_size=4) | JSON,
            },
        )
        | JSON,
    },
    optional={"config": JSON},
)


@given(
    workflow=st.sampled_from(["tabular-dnn", "linear-regression", "mnist-dnn"]),
    text=(JSON | ALMOST).map(json.dumps)
    | st.text(max_size=20)
    | st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '{"workflow": NaN}']),
)
@settings(max_examples=40)
def test_damaged_metadata_are_a_checkpoint_error(tmp_path: Path, workflow: str, text: str) -> None:
    """Or a network that can be used."""
    path = tmp_path / "model.safetensors"
    save(path, workflow)
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tensors, path, {"jaxdnn": text})
    try:
        network = prediction.load(path)
    except CheckpointError:
        return
    if network.preprocessing["outputs"] == "digits":
        outputs = network.apply(np.zeros((1, 28, 28), np.uint8))
    else:
        names = network.preprocessing["feature_names"]
        outputs = network.apply(np.ones((1, len(names)), np.float32))
    assert np.isfinite(jax.device_get(outputs)).all()


@pytest.mark.parametrize(
    "more",
    [
        {"mean": [1.0, 2.0], "std": [1.0, 2.0]},
        {"mean": [1.0] * 3},
        {"std": [1.0] * 3},
        {"mean": 1.0, "std": 1.0},
        {"mean": [1.0] * 3, "std": [1.0, 0.0, 1.0]},
        {"mean": [1.0] * 3, "std": [1.0, -1.0, 1.0]},
        {"mean": [1.0, float("nan"), 1.0], "std": [1.0] * 3},
        {"mean": [1.0, 10**400, 1.0], "std": [1.0] * 3},
        {"mean": [1.0, True, 1.0], "std": [1.0] * 3},
        {"feature_names": ["size", "weight", "size"]},
        {"feature_names": ["size", "weight", 3]},
        {"feature_names": "abc"},
        {"feature_names": []},
        {"feature_names": None},
        {"label_name": 3},
        {"outputs": "number"},
        {"outputs": "digits"},
        {"outputs": ["probability"]},
    ],
    ids=itertools.count(),
)
def test_metadata_that_are_almost_right_are_refused(more: dict[str, Any], model: Path) -> None:
    save(model, "tabular-dnn", **SCALE)
    prediction.load(model)
    save(model, "tabular-dnn", **more)
    with pytest.raises(CheckpointError, match="does not say which workflow made it"):
        prediction.load(model)
