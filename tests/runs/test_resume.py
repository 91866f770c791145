"""The state of a run on disk: it comes back bit for bit, and another run's is refused."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors

from jaxdnn.errors import CheckpointError
from jaxdnn.runs import checkpoint
from jaxdnn.runs import resume as resumption

RUN = {"workflow": "a test", "seed": 3, "lr": 0.1}
TREE = {
    "params": [np.arange(6.0, dtype=np.float32).reshape(2, 3), np.float64(0.1) * np.ones(())],
    "losses": np.array([[1.5, np.nan]]),
}
LIKE = TREE | {"losses": np.zeros((0, 2))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    resumption.save(tmp_path / "run", TREE, run=RUN)
    return tmp_path / "run"


def test_every_bit_comes_back(file: Path) -> None:
    loaded = resumption.load(file, LIKE, run=RUN)
    jax.tree.map(np.testing.assert_array_equal, loaded, TREE)
    assert jax.tree.map(lambda leaf: leaf.dtype, loaded) == jax.tree.map(lambda a: a.dtype, TREE)


@pytest.mark.parametrize(
    ("like", "run", "message"),
    [
        (LIKE, RUN | {"lr": 0.2}, "it has lr 0.1, this run 0.2"),
        (LIKE, RUN | {"momentum": 0.5}, "it has momentum None, this run 0.5"),
        (LIKE, {"workflow": "a test", "seed": 3}, "it has lr 0.1, this run None"),
        (LIKE | {"losses": np.zeros((0, 3))}, RUN, r"\['losses'\] is float64\[1, 2\]"),
        (LIKE | {"losses": np.zeros((0, 2), np.float32)}, RUN, "not float32"),
        (LIKE | {"count": np.zeros(())}, RUN, r"\['count'\] is on one side only"),
        ({"losses": LIKE["losses"]}, RUN, "on one side only"),
    ],
)
def test_another_run_is_refused(file: Path, like: Any, run: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        resumption.load(file, like, run=run)


def test_a_checkpoint_is_no_unfinished_run(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "net", {"a": {"kernel": np.ones((2, 2))}}, metadata={})
    with pytest.raises(CheckpointError, match="does not hold an unfinished run"):
        resumption.load(tmp_path / "net", LIKE, run=RUN)


def test_failure_leaves_the_old_file(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(safetensors.SafetensorError, match="object"):
        resumption.save(file, {"losses": np.array([object()])}, run=RUN)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_damaged_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        resumption.load(file, LIKE, run=RUN)
