"""A deep network on a table: it learns, all rows at once or in batches, as wide as the table."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.data import tabular
from jaxdnn.workflows import tabular_dnn
from jaxdnn.workflows.tabular_dnn import Config
from reference_torch.workflows import tabular_dnn as reference


@pytest.mark.parametrize(
    "config", [Config(epochs=1500), Config(epochs=300, batch_size=128, standardise=True)]
)
def test_run_learns(config: Config) -> None:
    """The settings of the document, but for its length: by far better than the larger class."""
    table = tabular.generate(1)
    result = tabular_dnn.run(1, config, table, data_source="generated")
    accuracy = result.figures["tabular_dnn.accuracy"]
    assert accuracy["value"] > accuracy["larger_class"] + 0.2
    assert 0.5 <= accuracy["larger_class"] < 0.6
    assert result.training is not None
    assert result.training.test_accuracy == accuracy["value"]
    # The network in the result is the one that was tested.
    assert result.network is not None
    data, _, _ = tabular_dnn.data_and_start(1, table)
    features = data.test_features
    if config.standardise:
        scale = tabular.standardisation(data.train_features)
        features = tabular.standardise(features, scale)
    outputs = tabular_dnn.model(8).apply(result.network.params, jnp.asarray(features))
    share = reference.accuracy(torch.tensor(np.array(outputs)), torch.tensor(data.test_labels))
    assert share == pytest.approx(accuracy["value"], abs=1e-9)
    assert tabular_dnn.accuracy(np.asarray(outputs), data.test_labels) == pytest.approx(share)


def test_one_program_serves_jit_and_vmap_over_keys_and_rates(x64: None) -> None:
    data, _, _ = tabular_dnn.data_and_start(0, tabular.generate(0, rows=60, features=3))
    data = jax.tree.map(lambda array: array.astype(np.float64), data)

    def fit(key: jax.Array, lr: jax.Array) -> jax.Array:
        return tabular_dnn.fit(key, Config(epochs=2, lr=lr, batch_size=16), data)[1]

    keys, rates = jax.random.split(jax.random.key(0), 2), jnp.array([0.001, 0.1])
    together = jax.jit(jax.vmap(fit))(keys, rates)
    alone = jax.jit(fit)
    for lane in range(2):
        np.testing.assert_allclose(together[lane], alone(keys[lane], rates[lane]), rtol=1e-12)
    assert not np.allclose(together[0], together[1])


@given(
    probabilities=st.lists(st.sampled_from([0.0, 0.5, 0.4999, 1.0]), min_size=1, max_size=6),
    seed=st.integers(0, 100),
)
@settings(max_examples=20)
def test_half_is_the_second_class(probabilities: list[float], seed: int) -> None:
    outputs = np.array(probabilities, np.float32)[:, None]
    labels = np.random.default_rng(seed).integers(0, 2, outputs.shape).astype(np.float32)
    ours = tabular_dnn.accuracy(outputs, labels)
    theirs = reference.accuracy(torch.tensor(outputs), torch.tensor(labels))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
