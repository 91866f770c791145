"""The document's arrays, batches and split, drawn as torch draws them."""

import numpy as np
import pytest
import torch

from jaxdnn import torch_compat
from jaxdnn.errors import ConfigError
from jaxdnn.workflows import data_loading
from jaxdnn.workflows.data_loading import Config
from reference_torch.data.batches import DataLoader, TensorDataset, random_split
from reference_torch.workflows import data_loading as reference


@pytest.mark.parametrize("seed", [0, 420])
def test_arrays_are_torchs(seed: int) -> None:
    ours = data_loading.normals(torch_compat.Generator(seed))
    theirs = reference.normals(seed)
    assert ours._fields == theirs._fields
    for array, tensor in zip(ours, theirs, strict=True):
        assert array.shape == tensor.shape
        np.testing.assert_allclose(array, tensor, atol=2e-6)


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(drop_last=True),
        Config(batch_size=500),
        Config(batch_size=501, drop_last=True, train_share=0.25),
        Config(batch_size=1, train_share=0.99),
    ],
)
def test_sizes_are_torchs(config: Config) -> None:
    figures = data_loading.run(420, config).figures
    _, b, c = reference.normals(420)
    samples = TensorDataset(b, c)
    loader = DataLoader(samples, config.batch_size, shuffle=True, drop_last=config.drop_last)
    next(iter(DataLoader(samples)))  # the default loader is used before
    batches = [labels for _, labels in loader]
    assert figures["data.loader"] == {
        "samples": 500,
        "batch_size": config.batch_size,
        "drop_last": config.drop_last,
        "batches": len(loader),
        "last_batch": len(batches[-1]) if batches else 0,
        "first_labels": pytest.approx(batches[0][:3, 0].tolist() if batches else [], abs=2e-6),
    }
    parts = random_split(samples, [config.train_share, 1 - config.train_share])
    assert list(figures["data.split"].values()) == list(map(len, parts))
    assert figures["data.default_batch"]["shapes"] == [
        list(field.shape) for field in next(iter(DataLoader(samples)))
    ]
    assert figures["data.paired_files"] == {
        "samples": 40,
        "in_step": True,
        "batches_of_32": 2,
        "parts": [28, 12],
    }


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_share_is_one(share: float) -> None:
    with pytest.raises(ConfigError, match="train_share must be from 0 to 1"):
        Config(train_share=share)


def test_seed_is_torchs() -> None:
    torch.manual_seed(3)
    figures = data_loading.run(3).figures["data.randn"]
    np.testing.assert_allclose(figures["c[0]"], reference.normals(3).c[0], atol=2e-6)
