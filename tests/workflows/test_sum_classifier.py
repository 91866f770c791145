"""Three classes by a sum: the document's formula for the accuracy, and what is meant."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdnn.errors import ConfigError
from jaxdnn.runs.reports import sum_classifier as report
from jaxdnn.runs.workflow import Request
from jaxdnn.workflows import sum_classifier
from reference_torch.workflows import sum_classifier as reference

ROW = st.tuples(*[st.sampled_from([0.0, 0.25, 1.0, -1.0, 1.5])] * 3)


@given(rows=st.lists(st.tuples(ROW, st.integers(0, 2)), min_size=5, max_size=5))
@settings(max_examples=10)
def test_both_accuracies_are_torchs(rows: list[tuple[tuple[float, ...], int]]) -> None:
    """Ties too, rows of ones, and any number of classes that are predicted at all."""
    outputs = np.array([row for row, _ in rows], np.float32)
    one_hot = np.eye(3, dtype=np.float32)[[label for _, label in rows]]
    for name in ("accuracy", "accuracy_as_printed"):
        ours = jax.jit(getattr(sum_classifier, name))(jnp.asarray(outputs), jnp.asarray(one_hot))
        theirs = getattr(reference, name)(torch.tensor(outputs), torch.tensor(one_hot))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_formula_counts_no_right_answer_once_two_classes_are_predicted() -> None:
    right = jnp.eye(3)
    assert sum_classifier.accuracy(right, right) == 1
    assert sum_classifier.accuracy_as_printed(right, right) == 0
    always_first = jnp.tile(jnp.array([0.9, 0.1, 0.2]), (3, 1))
    np.testing.assert_allclose(sum_classifier.accuracy_as_printed(always_first, right), 1 / 3)
    np.testing.assert_allclose(sum_classifier.accuracy(always_first, right), 1 / 3)


@pytest.mark.slow
def test_formulas_mistake_shows_after_20000_epochs() -> None:
    """As the run says: after the document's 1,000 epochs every seed predicts one class alone."""
    short, long = (
        report.run(Request(report.SEED, sum_classifier.Config(epochs=epochs)))
        for epochs in (1000, 20_000)
    )
    accuracy = short.figures["sum_classifier.accuracy"]
    assert accuracy["as_printed"] == accuracy["as_meant"] == pytest.approx(0.663)
    assert "66.30%, the fraction of that class. With --epochs 20000" in short.remarks[-1]
    accuracy = long.figures["sum_classifier.accuracy"]
    assert accuracy["as_printed"] == 0
    assert accuracy["as_meant"] > 0.98
    assert "here 3 of 3; 98." in long.remarks[0]


@pytest.mark.parametrize(
    ("samples", "message"), [(1, "at least 2"), (10**7 + 1, r"at most 10\*\*7")]
)
def test_samples_out_of_range(samples: int, message: str) -> None:
    with pytest.raises(ConfigError, match=f"samples must be .*{message}"):
        sum_classifier.Config(samples=samples)
