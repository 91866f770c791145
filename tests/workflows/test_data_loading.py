"""The document's arrays, batches and split, drawn as torch draws them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from jaxdnn import torch_compat
from jaxdnn.data import batches
from jaxdnn.data.paired_files import PairedFiles
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
    normals = reference.normals(seed)
    a, b, c = normals
    samples = TensorDataset(b, c)
    shuffled, _ = reference.shuffled_batch(normals, settings)
    single = next(iter(DataLoader(samples)))  # the default loader is used before
    loader = reference.loader(samples, settings)
    batches = [labels for _, labels in loader]
    assert figures["data.loader"] == {
        "samples": 500,
        "batch_size": config.batch_size,
        "batches": len(loader),
        "last_batch": len(batches[-1]) if batches else 0,
    }
    parts = reference.split(samples, settings)
    assert list(figures["data.split"].values()) == list(map(len, parts))
    for entry, expected in {
        "data.randn": {"a[0]": a[0], **{f"b[0,{i}]": b[0, i] for i in range(3)}, "c[0]": c[0]},
        "data.default_batch": {"b": single[0], "c": single[1]},
        "data.sample": {"b": samples[0][0], "c": samples[0][1], "label": c[0]},
        "data.shuffled_batch": {"b": shuffled},
    }.items():
        assert figures[entry].keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(figures[entry][name], values, atol=2e-6)
    ten_thousand: Any = range(10240)
    steps = len(DataLoader(ten_thousand, batch_size=1024))
    assert figures["data.steps_of_10240_samples_in_batches_of_1024"] == {
        "in_an_epoch": steps,
        "in_5_epochs": 5 * steps,
    }
    assert figures["data.paired_files"] == {
        "samples": 40,
        "in_step": True,
        "batches_of_32": 2,
        "parts": [28, 12],
    }


def test_batch_may_be_larger_than_the_data() -> None:
    figures = report.run(Request(0, Config(batch_size=501))).figures
    sizes = {"batches": 1, "samples": 500, "batch_size": 501, "last_batch": 500}
    assert figures["data.loader"] == sizes


def test_split_is_torchs_sample_for_sample() -> None:
    torch.manual_seed(7)
    theirs = reference.split(range(500), reference.Config())  # type: ignore[arg-type]
    ours = data_loading.split(range(500), Config(), torch_compat.Generator(7))  # type: ignore[arg-type]
    for part, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(part.indices, expected.indices)


@pytest.mark.parametrize("drop_last", [False, True])
def test_every_pass_over_the_loader_is_torchs(drop_last: bool) -> None:
    arrays = np.arange(10), np.arange(30).reshape(10, 3)
    settings = {"batch_size": 4, "drop_last": drop_last}
    samples = TensorDataset(*map(torch.tensor, arrays))
    ours = data_loading.loader(
        batches.TensorDataset(*arrays), Config(**settings), torch_compat.Generator(5)
    )
    theirs = reference.loader(samples, reference.Config(**settings))
    torch.manual_seed(5)
    for _ in range(2):
        passes = list(ours), list(theirs)
        assert [len(labels) for labels, _ in passes[0]] == [4, 4, 2][: 2 if drop_last else 3]
        for batch, expected in zip(*passes, strict=True):
            for array, tensor in zip(batch, expected, strict=True):
                np.testing.assert_array_equal(array, tensor)


def test_one_part_may_be_empty() -> None:
    for fraction, sizes in ((0.0, [0, 10]), (1.0, [10, 0])):
        parts = data_loading.split(
            range(10),  # type: ignore[arg-type]
            Config(train_share=fraction),
            torch_compat.Generator(0),
        )
        assert list(map(len, parts)) == sizes


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError, match="train_share must be from 0 to 1"):
        Config(train_share=fraction)


def test_shuffled_batch_is_the_documents() -> None:
    """Samples 313 and 305 come first: the notebook had passed over its loaders 11 times before."""
    drawn = data_loading.normals(torch_compat.Generator(420))
    generator = torch_compat.Generator(420)
    normals = data_loading.normals(generator)
    ours = data_loading.shuffled_batch(normals, Config(), generator)
    np.testing.assert_array_equal(ours[0][:2], drawn.b[[313, 305]])
    np.testing.assert_array_equal(ours[1][:2], drawn.c[[313, 305]])
    theirs = reference.shuffled_batch(reference.normals(420), reference.Config())
    for array, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array, tensor, atol=2e-6)
    np.testing.assert_array_equal(generator.rand(3), torch.rand(3))  # and as far advanced


def test_documents_two_errors_are_shown_as_they_end() -> None:
    passes, column, instance = report.run(Request(420, Config())).remarks
    assert "7 times in order and 4 times shuffled" in passes
    assert "csv_data[idx] selects a column, so sample 0 ends in KeyError: 0;" in column
    assert "TypeError: object of type 'type' has no len()" in instance


def test_two_lines_that_are_exchanged_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exchanged(PairedFiles):
        def __getitem__(self, index: int) -> tuple[dict[Any, Any], str]:
            other = {0: 1, 1: 0}.get(index, index)
            return super().__getitem__(index)[0], super().__getitem__(other)[1]

    monkeypatch.setattr(report, "PairedFiles", Exchanged)
    figures = report.run(Request(0, Config())).figures
    assert figures["data.paired_files"]["in_step"] is False
