"""Checkpoints: both frameworks read them, and a wrong one is named."""

from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import reference_torch.checkpoint
import reference_torch.models
from jaxdnn import models, torch_compat
from jaxdnn.errors import CheckpointError
from jaxdnn.runs import checkpoint

SIZES = (12, 7, 3)
MODEL = models.mlp(SIZES, flatten=True)


@pytest.fixture
def params() -> models.Params:
    return MODEL.init(jax.random.key(0))


def test_reloaded_model_gives_the_same_bits(params: models.Params, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model", params, metadata={"workflow": "test", "lr": 0.1})
    like = jax.eval_shape(MODEL.init, jax.random.key(0))
    loaded, metadata = checkpoint.load(tmp_path / "model", like)
    inputs = jax.random.normal(jax.random.key(1), (4, 12))
    np.testing.assert_array_equal(MODEL.apply(loaded, inputs), MODEL.apply(params, inputs))
    assert metadata == {"workflow": "test", "lr": 0.1}


def test_torch_loads_it_strictly(params: models.Params, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "model.safetensors", params, metadata={})
    module = reference_torch.models.mlp(SIZES, flatten=True)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    module.load_state_dict(tensors, strict=True)
    inputs = jax.random.normal(jax.random.key(1), (4, 12))
    outputs = module(torch.tensor(np.array(inputs))).detach()
    np.testing.assert_allclose(outputs, MODEL.apply(params, inputs), rtol=1e-5, atol=1e-6)


def test_what_torch_wrote_is_read(params: models.Params, tmp_path: Path) -> None:
    module = reference_torch.models.mlp(SIZES, flatten=True)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "torch.safetensors")
    loaded, metadata = checkpoint.load(tmp_path / "torch.safetensors", params)
    assert metadata == {}
    for name, array in torch_compat.to_torch(loaded).items():
        np.testing.assert_array_equal(array, module.state_dict()[name])


def test_failure_leaves_the_old_file(params: models.Params, tmp_path: Path) -> None:
    path = tmp_path / "model"
    checkpoint.save(path, params, metadata={})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="torch has no counterpart"):
        checkpoint.save(path, {"net.1": {"mystery": np.ones(3)}}, metadata={})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100])
def test_damaged_file_is_named(params: models.Params, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable"):
        checkpoint.load(path, params)


def test_truncated_file_is_named(params: models.Params, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, params, metadata={})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a readable"):
        checkpoint.load(path, params)


def test_foreign_metadata_is_named(params: models.Params, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(torch_compat.to_torch(params), path, {"jaxdnn": "{not JSON"})
    with pytest.raises(CheckpointError, match=r"model\.safetensors has metadata that is not JSON"):
        checkpoint.load(path, params)


def test_missing_file_and_other_model_are_named(params: models.Params, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        checkpoint.load(tmp_path / "nowhere", params)
    other = models.mlp((12, 3), flatten=True).init(jax.random.key(0))
    checkpoint.save(tmp_path / "other", other, metadata={})
    with pytest.raises(CheckpointError, match=r"net\.3\.bias is missing"):
        checkpoint.load(tmp_path / "other", params)


def test_both_sides_write_and_read_the_same_files(params: models.Params, tmp_path: Path) -> None:
    module = reference_torch.models.mlp(SIZES, flatten=True)
    checkpoint.save(tmp_path / "ours", params, metadata={"by": "us"})
    assert reference_torch.checkpoint.load(tmp_path / "ours", module) == {"by": "us"}
    for name, array in torch_compat.to_torch(params).items():
        np.testing.assert_array_equal(array, module.state_dict()[name])

    reference_torch.checkpoint.save(tmp_path / "theirs", module, metadata={"by": "them"})
    loaded, metadata = checkpoint.load(tmp_path / "theirs", params)
    assert metadata == checkpoint.read_metadata(tmp_path / "theirs") == {"by": "them"}
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_metadata_that_is_no_object_is_named(params: models.Params, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(torch_compat.to_torch(params), path, {"jaxdnn": "[1]"})
    with pytest.raises(CheckpointError, match="metadata that is not a JSON object"):
        checkpoint.read_metadata(path)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "9" * 5000])
def test_metadata_that_are_no_json_are_named(
    params: models.Params, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(torch_compat.to_torch(params), path, {"jaxdnn": content})
    with pytest.raises(CheckpointError, match=r"model\.safetensors has metadata that is not JSON"):
        checkpoint.read_metadata(path)


def test_no_metadata_of_what_is_no_checkpoint(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "is not a readable")):
        with pytest.raises(CheckpointError, match=says):
            checkpoint.read_metadata(path)
