"""A table and a text file in step, as in torch's mirror."""

from pathlib import Path

import pytest

from jaxdnn.data.batches import DataLoader
from jaxdnn.data.paired_files import PairedFiles
from jaxdnn.errors import DataError
from reference_torch.data import paired_files as reference


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    table, text = tmp_path / "a.csv", tmp_path / "a.txt"
    table.write_text("width,name\n1.5,x\n2.5,y\n3.5,z\n", encoding="utf-8")
    text.write_text("one\ntwo\nthree\n", encoding="utf-8")
    return table, text


def test_samples_are_torchs(pair: tuple[Path, Path]) -> None:
    ours, theirs = PairedFiles(*pair), reference.PairedFiles(*pair)
    assert len(ours) == len(theirs) == 3
    assert [ours[i] for i in range(3)] == [theirs[i] for i in range(3)]
    assert ours[1] == ({"width": 2.5, "name": "y"}, "two")


def test_loader_takes_it(pair: tuple[Path, Path]) -> None:
    batches = list(DataLoader(PairedFiles(*pair), batch_size=2))
    assert [lines for _, lines in batches] == [["one", "two"], ["three"]]


def test_windows_line_ends_and_byte_order_mark(pair: tuple[Path, Path]) -> None:
    for path in pair:
        text = path.read_text(encoding="utf-8").replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert PairedFiles(*pair)[0] == ({"width": 1.5, "name": "x"}, "one")


@pytest.mark.parametrize(
    ("which", "content", "says"),
    [
        (1, b"one\ntwo\n", "has 3 rows and .* has 2 lines"),
        (1, b"one\n\nthree\nfour\n", "has 3 rows and .* has 4 lines"),
        (0, b"", "is not a readable CSV file"),
        (0, b"a\n1,2\n1,2,3\n", "is not a readable CSV file"),
        (1, b"\xff\xfe", "is not a readable text file"),
        (1, None, "is not a readable text file"),
        (0, None, "is not a readable CSV file"),
    ],
)
def test_files_that_do_not_fit_are_named(
    pair: tuple[Path, Path], which: int, content: bytes | None, says: str
) -> None:
    if content is None:
        pair[which].unlink()
    else:
        pair[which].write_bytes(content)
    with pytest.raises(DataError, match=says):
        PairedFiles(*pair)
