"""A saved network on new samples: from files to a table."""

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
"""Samples at once, which bounds the memory."""

_IMAGE_SIZE = 28


class SavedNetwork(NamedTuple):
    """What a checkpoint holds, ready for use.

    Attributes:
      workflow: id of the workflow that trained it.
      apply: outputs of a batch of inputs, preprocessing included.
      preprocessing: what the workflow wrote of its data.
    """

    workflow: str
    apply: Callable[[Any], jax.Array]
    preprocessing: dict[str, Any]


def load(path: str | os.PathLike[str]) -> SavedNetwork:
    """Load a checkpoint that ``jaxdnn run`` wrote.

    Args:
      path: the file.

    Returns:
      The network.

    Raises:
      CheckpointError: the file is missing or damaged, says nothing of its workflow, holds numbers
        that are not finite, or its tensors are not those of that workflow's network; each is named.
      ConfigError: JAX finds no device.
    """
    device_and_precision()  # says in words if there is no device
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


# What each network says, and how many features it takes; None for as many as have names.
_NETWORKS = {
    "linear-regression": ("number", 2),
    "lenet": ("digits", 0),
    "sum-classifier": ("classes", 3),
    "tabular-dnn": ("probability", None),
    "mnist-dnn": ("digits", 0),
}


def _is_complete(workflow: Any, preprocessing: Any) -> bool:
    """Whether metadata, anything that JSON holds, are what ``jaxdnn run`` writes."""
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

    return are_numbers(mean, -largest) and are_numbers(std, 1e-45)


def predict_csv(
    network: SavedNetwork, path: str | os.PathLike[str], *, index_column: str | None = None
) -> str:
    """Predict for each row of a CSV file.

    Args:
      network: trained on a table.
      path: a file with the features that the network was trained on, by name.
      index_column: see `jaxdnn.data.tabular.read_samples`.

    Returns:
      CSV text: for each row its name, and the number, the class and its scores, or the probability
      and the class that the network gives it.

    Raises:
      DataError: the file is not such a table.
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
            f"{path}: row {samples.row_names[int(finite.argmin())]!r} is so large that the network "
            "overflows; check its numbers."
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
      network: trained on MNIST.
      paths: image files, or IDX files of many images; images of another size than 28 by 28 pixels
        are resampled.
      invert: the images are dark on light, where MNIST is light on dark.

    Returns:
      CSV text: for each image its file, its number in an IDX file, the digit and its probability.

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
        # What Pillow warns of, a strange tag, is no concern of who has the image.
        with warnings.catch_warnings(action="ignore"), PIL.Image.open(io.BytesIO(content)) as image:
            return _grey(image)[None]
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is not an image that Pillow reads; save it as PNG, or name an IDX file."
        ) from error


def _grey(image: Any) -> UInt8[np.ndarray, "28 28"]:
    """An image of any kind as 28 by 28 bytes; what is transparent shows a dark ground."""
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
