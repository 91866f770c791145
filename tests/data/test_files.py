"""Files that are either whole or not there."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdnn.data.files import check_writable, refuse_to_replace, write_atomically
from jaxdnn.errors import ConfigError


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    target.write_text("old")

    def write_half() -> None:
        with write_atomically(target) as file:
            file.write(b"half of the new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_shows_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    with write_atomically(target) as file:
        file.write(b"new")
        file.flush()
        assert not target.exists()
    assert target.read_text() == "new"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with write_atomically(tmp_path / "atomic"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_permissions_of_a_replaced_file_are_kept(tmp_path: Path) -> None:
    target = tmp_path / "private"
    target.touch(mode=0o600)
    with write_atomically(target) as file:
        file.write(b"secret")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with write_atomically(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_pipe_is_written_to(tmp_path: Path) -> None:
    read, write = os.pipe()
    with write_atomically(Path(f"/dev/fd/{write}")) as file:
        file.write(b"through")
    os.close(write)
    assert os.read(read, 10) == b"through"
    os.close(read)


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    check_writable(tmp_path / "new", option="--json")
    with pytest.raises(ConfigError, match=r"--json .* is a folder"):
        check_writable(tmp_path, option="--json")
    with pytest.raises(ConfigError, match="nowhere does not exist; create it first"):
        check_writable(tmp_path / "nowhere" / "new", option="--json")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / ("long" * 100)):
        with pytest.raises(ConfigError, match=r"--json .* cannot be written"):
            check_writable(path, option="--json")
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_standard_output_behind_a_file_keeps_what_it_holds(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom jaxdnn.data.files import write_atomically\n"
        "print('before', flush=True)\n"
        "with write_atomically(Path('/dev/stdout')) as file: file.write(b'through ')\n"
    )
    log = tmp_path / "log"
    with log.open("w") as stdout:
        subprocess.run([sys.executable, "-c", program], stdout=stdout, check=True)
    assert log.read_text() == "before\nthrough "


def test_bytes_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a machine that stops may leave a complete name for an incomplete file."""
    order = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        order.append(f"fsync of {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> Path:
        order.append(f"rename to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    with write_atomically(tmp_path / "numbers") as file:
        file.write(b"1 2 3")
    assert order == ["fsync of 5 bytes", "rename to numbers"]


def test_input_is_recognised_under_another_name(tmp_path: Path) -> None:
    source, hard, soft = (tmp_path / name for name in ("data", "hard", "soft"))
    source.write_text("data")
    os.link(source, hard)
    soft.symlink_to(source)
    for path in (hard, soft, tmp_path / "folder/../data"):
        with pytest.raises(ConfigError, match="is also an input"):
            refuse_to_replace(path, [source], option="--json")
    refuse_to_replace(tmp_path / "other", [source], option="--json")
