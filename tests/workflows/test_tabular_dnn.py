"""A deep network on a table: it learns, all rows at once or in batches, as wide as the table."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data import tabular
from jaxdnn.runs.reports import tabular_dnn as report
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows import tabular_dnn
from jaxdnn.workflows.tabular_dnn import Config
from reference_torch.workflows import tabular_dnn as reference


@pytest.mark.parametrize(
    "config",
    [
        Config(epochs=800),
        pytest.param(Config(epochs=300, batch_size=128, standardise=True), marks=pytest.mark.slow),
    ],
)
def test_run_learns(config: Config) -> None:
    """The settings of the document, but for its length: by far better than the larger class."""
    table = tabular.generate(1)
    result = report.run(Request(1, config, table, "generated"))
    accuracy = result.figures["tabular_dnn.accuracy"]
    assert accuracy["value"] > accuracy["larger_class"] + 0.2
    assert 0.5 <= accuracy["larger_class"] < 0.6
    assert result.training is not None
    assert result.training.test_accuracy == accuracy["value"]
    # The network in the result is the one that was tested.
    assert result.network is not None
    data, _, _ = tabular_dnn.data_and_params(1, table)
    features = data.test_features
    if config.standardise:
        scale = tabular.standardisation(data.train_features)
        features = tabular.standardise(features, scale)
    outputs = tabular_dnn.network(8).apply(result.network.params, jnp.asarray(features))
    fraction = reference.accuracy(torch.tensor(np.array(outputs)), torch.tensor(data.test_labels))
    assert fraction == pytest.approx(accuracy["value"], abs=1e-9)
    assert tabular_dnn.accuracy(np.asarray(outputs), data.test_labels) == pytest.approx(fraction)


@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.5, 0.4999, 1.0]), min_size=1, max_size=6),
    seed=st.integers(0, 100),
)
@settings(max_examples=8)
def test_half_is_the_second_class(probabilities: list[float], seed: int) -> None:
    outputs = np.array(probabilities, np.float32)[:, None]
    labels = np.random.default_rng(seed).integers(0, 2, outputs.shape).astype(np.float32)
    ours = tabular_dnn.accuracy(outputs, labels)
    theirs = reference.accuracy(torch.tensor(outputs), torch.tensor(labels))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_standardised_rows_are_torchs() -> None:
    """By the statistics of the training rows alone; a constant feature becomes 0."""
    table = tabular.generate(2, rows=40)
    features = np.concatenate([table.features, np.full((40, 1), 3, np.float32)], 1)
    data, _, scale = tabular_dnn.data_and_params(
        6, table._replace(features=features), standardise=True
    )
    theirs, _ = reference.data_and_params(
        6, torch.tensor(features), torch.tensor(table.labels), standardise=True
    )
    for ours, expected in zip(data, theirs, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert scale is not None
    np.testing.assert_array_equal(data.test_features[:, -1], 0)
    np.testing.assert_allclose(data.train_features.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_features.std(0), [1] * 8 + [0], atol=1e-6)
