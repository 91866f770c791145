"""Predictions of a saved network for new samples, from files to CSV text."""

import csv
import io
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from jaxdnn.data import idx, tabular
from jaxdnn.errors import CheckpointError, ConfigError, DataError
from jaxdnn.models import Model, Params
from jaxdnn.runs import catalogue, checkpoint
from jaxdnn.runs.workflow import NetworkReport
from jaxdnn.runtime.device import device_and_precision

__all__ = ["SavedNetwork", "load", "predict_csv", "predict_images"]

_BATCH = 8192
"""The number of samples per batch, which bounds the memory."""

_IMAGE_SIZE = 28


class SavedNetwork(NamedTuple):
    """A trained network, loaded from a checkpoint.

    Attributes:
      workflow: the id of the workflow that trained it.
      apply: ``apply(inputs) -> outputs`` of a batch, including the preprocessing of the inputs.
      preprocessing: the checkpoint's metadata about inputs and outputs.
    """

    workflow: str
    apply: Callable[[Any], jax.Array]
    preprocessing: dict[str, Any]


def load(path: str | os.PathLike[str]) -> SavedNetwork:
    """Load a network from a checkpoint that ``jaxdnn run`` wrote.

    Args:
      path: the checkpoint, a safetensors file.

    Returns:
      The network.

    Raises:
      CheckpointError: the file is missing or damaged, has no metadata of ``jaxdnn run``, holds
        numbers that are not finite, or its tensors are not those of the workflow's network.
      ConfigError: JAX finds no device.
    """
    device_and_precision()  # raises ConfigError, with a remedy, if there is no device
    metadata = checkpoint.read_metadata(path)
    workflow: Any = metadata.get("workflow")
    preprocessing: Any = metadata.get("preprocessing")
    if not _is_complete(workflow, preprocessing):
        raise CheckpointError(
            f"{path} does not say which workflow made it and how its data are prepared; use a "
            "checkpoint that 'jaxdnn run' wrote."
        )
    report = cast("NetworkReport", catalogue.report(workflow))
    model = report.network(len(preprocessing.get("feature_names", [])))
    params, _ = checkpoint.load(path, like=jax.eval_shape(model.init, jax.random.key(0)))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise CheckpointError(
            f"{path} holds numbers that are not finite: its training diverged; train it again with "
            "a lower --lr."
        )
    scale = None
    if "mean" in preprocessing:
        moments = (np.array(preprocessing[name], np.float32) for name in ("mean", "std"))
        scale = tabular.Standardisation(*moments)
    if preprocessing["outputs"] == "digits":
        return SavedNetwork(
            workflow, lambda images: model.apply(params, jnp.asarray(images)), preprocessing
        )
    return SavedNetwork(workflow, _table_network(model, params, scale), preprocessing)


# The kind of output of each network, and its number of features; None if the metadata give it.
_NETWORKS = {
    "linear-regression": ("number", 2),
    "lenet": ("digits", 0),
    "sum-classifier": ("classes", 3),
    "tabular-dnn": ("probability", None),
    "mnist-dnn": ("digits", 0),
}


def _is_complete(workflow: Any, preprocessing: Any) -> bool:
    """Whether metadata, which may be any JSON, have the form that ``jaxdnn run`` writes."""
    if not isinstance(workflow, str) or workflow not in _NETWORKS:
        return False
    outputs, features = _NETWORKS[workflow]
    fixed = features is not None
    if not isinstance(preprocessing, dict) or preprocessing.get("outputs") != outputs:
        return False
    names = preprocessing.get("feature_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    if len(set(names)) < len(names) or (len(names) != features if fixed else not names):
        return False
    if not isinstance(preprocessing.get("label_name", ""), str):
        return False
    if not {"mean", "std"} & preprocessing.keys():
        return True
    mean, std = preprocessing.get("mean"), preprocessing.get("std")
    largest = float(np.finfo(np.float32).max)

    def are_numbers(values: Any, smallest: float) -> bool:
        return (
            isinstance(values, list)
            and len(values) == len(names)
            and all(type(v) in (int, float) and smallest <= v <= largest for v in values)
        )

    # 1e-45 is the smallest positive float32: a deviation of 0 would divide by zero.
    return are_numbers(mean, -largest) and are_numbers(std, 1e-45)


def predict_csv(
    network: SavedNetwork, path: str | os.PathLike[str], *, index_column: str | None = None
) -> str:
    """Predict for each row of a CSV file.

    Args:
      network: a network that was trained on a table.
      path: a CSV file that has the network's features as columns.
      index_column: the name of the column of row names; see `jaxdnn.data.tabular.read_samples`.

    Returns:
      CSV text with the name of each row and its prediction: a number, a class with the scores of
      all classes, or a class with its probability.

    Raises:
      DataError: the file lacks a feature or cannot be read, or the network overflows for a row.
      ConfigError: the network was trained on images.
    """
    if network.preprocessing["outputs"] == "digits":
        raise ConfigError(f"This network ({network.workflow}) takes images; use --images.")
    samples = tabular.read_samples(
        path,
        feature_names=network.preprocessing["feature_names"],
        label_name=network.preprocessing.get("label_name"),
        index_column=index_column,
    )
    outputs = _in_batches(network.apply, samples.features)
    finite = np.isfinite(outputs).all(1)
    if not finite.all():
        raise DataError(
            f"{path}: the numbers in row {samples.row_names[int(finite.argmin())]!r} are so large "
            "that the network overflows; check them."
        )
    match network.preprocessing["outputs"]:
        case "number":
            header, rows = ["prediction"], ([value] for value in outputs[:, 0])
        case "probability":
            header = ["prediction", "probability"]
            rows = ([int(p >= 0.5), p] for p in outputs[:, 0])
        case _:
            header = ["prediction", *(f"score_{i}" for i in range(outputs.shape[1]))]
            rows = ([scores.argmax(), *scores] for scores in outputs)
    return _csv(["row", *header], zip(samples.row_names, rows, strict=True))


def predict_images(network: SavedNetwork, paths: Sequence[Path], *, invert: bool = False) -> str:
    """Predict the digit on each image.

    Args:
      network: a network that was trained on MNIST.
      paths: image files, or IDX files of several images. Image files are resampled to 28 by 28
        pixels.
      invert: whether to invert the images. MNIST's digits are light on a dark background.

    Returns:
      CSV text with the file of each image, its index in an IDX file, the digit and its probability.

    Raises:
      DataError: a file cannot be read as images.
      ConfigError: the network was trained on a table.
    """
    if network.preprocessing["outputs"] != "digits":
        raise ConfigError(f"This network ({network.workflow}) takes a table; use --csv.")
    table = []
    for path in paths:
        images = _read_images(path)
        images = 255 - images if invert else images
        scores = _in_batches(network.apply, images)
        probabilities = np.asarray(jax.nn.softmax(jnp.asarray(scores)))
        rows = ([i, p.argmax(), p.max()] for i, p in enumerate(probabilities))
        table += [(str(path), row) for row in rows]
    return _csv(["file", "image", "prediction", "probability"], table)


def _table_network(
    model: Model, params: Params, scale: tabular.Standardisation | None
) -> Callable[[Any], jax.Array]:
    def apply(features: Float[np.ndarray, "rows features"]) -> jax.Array:
        if scale is not None:
            features = tabular.standardise(features, scale)
        return model.apply(params, jnp.asarray(features))

    return apply


def _in_batches(apply: Callable[[Any], jax.Array], inputs: np.ndarray) -> np.ndarray:
    batches = [inputs[i : i + _BATCH] for i in range(0, len(inputs), _BATCH)]
    return np.concatenate([np.asarray(apply(batch)) for batch in batches])


def _read_images(path: Path) -> UInt8[np.ndarray, "images 28 28"]:
    import PIL.Image

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name an image.") from error
    decompressed = idx.decompress(content, name=str(path))
    if decompressed[:3] == b"\x00\x00\x08":
        images = idx.decode(decompressed, name=str(path))
        if images.ndim != 3 or images.shape[1:] != (_IMAGE_SIZE, _IMAGE_SIZE) or not len(images):
            raise DataError(f"{path} holds no images of 28 by 28 pixels, but {images.shape}.")
        return images
    try:
        # Pillow warns about unknown tags, which do not affect the pixels.
        with warnings.catch_warnings(action="ignore"), PIL.Image.open(io.BytesIO(content)) as image:
            return _grey(image)[None]
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is not an image that Pillow reads; save it as PNG, or name an IDX file."
        ) from error


def _grey(image: Any) -> UInt8[np.ndarray, "28 28"]:
    """An image of any mode as 28 by 28 bytes, on a black background where it is transparent."""
    import PIL.Image

    if image.mode.startswith("I"):  # 16 bits a pixel
        image = PIL.Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    elif image.mode not in ("L", "1"):
        rgba = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", rgba.size, "black")
        image = PIL.Image.alpha_composite(ground, rgba)
    grey = image.convert("L")
    if grey.size != (_IMAGE_SIZE, _IMAGE_SIZE):
        grey = grey.resize((_IMAGE_SIZE, _IMAGE_SIZE), PIL.Image.Resampling.LANCZOS)
    return np.asarray(grey)


def _csv(header: Sequence[str], table: Iterable[tuple[str, Iterable[Any]]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([name, *row] for name, row in table)
    return text.getvalue()
