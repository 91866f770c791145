"""The document's arrays, batches and split, drawn as torch draws them."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from jaxdnn import torch_compat
from jaxdnn.errors import ConfigError
from jaxdnn.runs.reports import data_loading as report
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows import data_loading
from jaxdnn.workflows.data_loading import Config
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
        Config(batch_size=501, drop_last=True, train_share=0.25),
        Config(batch_size=60, drop_last=True, train_share=0.99),
    ],
)
def test_figures_are_torchs(config: Config) -> None:
    seed = 3
    figures = report.run(Request(seed, config)).figures
    settings = reference.Config(config.batch_size, config.drop_last, config.train_share)
    _, b, c = reference.normals(seed)
    samples = TensorDataset(b, c)
    single = next(iter(DataLoader(samples)))  # the default loader is used before
    loader = reference.loader(samples, settings)
    batches = [labels for _, labels in loader]
    assert figures["data.loader"] == {
        "samples": 500,
        "batch_size": config.batch_size,
        "drop_last": config.drop_last,
        "batches": len(loader),
        "last_batch": len(batches[-1]) if batches else 0,
        "first_labels": pytest.approx(batches[0][:3, 0].tolist() if batches else [], abs=2e-6),
    }
    parts = reference.split(samples, settings)
    assert list(figures["data.split"].values()) == list(map(len, parts))
    assert figures["data.default_batch"]["shapes"] == [list(field.shape) for field in single]
    np.testing.assert_allclose(figures["data.randn"]["c[0]"], c[0], atol=2e-6)
    assert figures["data.paired_files"] == {
        "samples": 40,
        "in_step": True,
        "batches_of_32": 2,
        "parts": [28, 12],
    }


def test_split_is_torchs_sample_for_sample() -> None:
    torch.manual_seed(7)
    theirs = reference.split(range(500), reference.Config())  # type: ignore[arg-type]
    ours = data_loading.split(range(500), Config(), torch_compat.Generator(7))  # type: ignore[arg-type]
    for part, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(part.indices, expected.indices)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match="train_share must be from 0 to 1"):
        Config(train_share=fraction)
