"""Every row of the tutorials that trains, in JAX beside its torch mirror, over its whole run.

In float64 both sides take the same steps from the same start on the same batches, at most 500 of
them, and of LeNet 300. In float32 both take one step from each of many states of torch's run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn import losses, models, parity
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity.trajectory import Trajectory
from jaxdnn.verification import cases, verify
from jaxdnn.verification.cases import CASES
from jaxdnn.workflows import mnist_dnn
from reference_torch.parity.trajectory import trajectory

STEPS = {
    **dict.fromkeys(CASES, 500),
    "W25": 300,
    "W01-W06": 64,
    "W07": 10,
    "W08": 10,
    "W09": 400,
    "W10": 20,
    "W11": 30,
    **dict.fromkeys(["W13 printed", "W13 meant", "W14", "W15"], 20),
    "W16 W19 W20": 72,
    "W20 batches": 500,
    "W23": 300,
    "W24": 300,
}
CHAOTIC = ["W16 W19 W20", "W20 batches"]
FIRST_ROWS = {case.workflow: row for row, case in reversed(list(CASES.items()))}


def data_of(row: str, request: pytest.FixtureRequest) -> MNIST | None:
    return request.getfixturevalue("mnist_data") if CASES[row].needs_mnist else None


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("row", CASES)
def test_row_is_torchs(row: str, request: pytest.FixtureRequest) -> None:
    with_forms = row in FIRST_ROWS.values()
    outcome = verify.verify_case(
        row, data=data_of(row, request), steps=STEPS[row], with_forms=with_forms
    )
    assert outcome.verdict == "pass", str(outcome.report)
    double, single = outcome.report.tiers
    assert double.steps == STEPS[row]
    assert single.steps >= 16
    # Where rounding grows faster than that, torch parts from itself; see below.
    assert bool(double.resynchronised) == (row in CHAOTIC)
    batched = row not in ("W01-W06", "W07", "W08", "W09", "W10", "W11")
    if with_forms:
        assert outcome.forms.keys() >= {"eager", "scan", "vmap"}
        assert ("sharded" in outcome.forms) == batched


@pytest.mark.parametrize("row", CHAOTIC)
def test_torch_parts_from_itself_where_jax_is_resynchronised(row: str) -> None:
    """The same batches with their rows in another order: the same mathematics, other rounding."""
    side = CASES[row].torch(None, STEPS[row])
    reversed_rows = [tuple(array[::-1].copy() for array in batch) for batch in side.batches]
    runs = (
        ({k: v for k, v in step.items() if not k.startswith("batch/")} for step in run)
        for run in (
            trajectory(side.stepper(), side.batches),
            trajectory(side.stepper(), reversed_rows),
        )
    )
    comparison = parity.compare(*runs, tolerance=1e-12)
    assert comparison.first_divergence is not None
    assert comparison.steps > 10


def test_the_drawn_data_are_torchs() -> None:
    assert verify.verify_data_loading().verdict == "pass"


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_lower_precision_is_seen(mnist_data: MNIST, precision: str) -> None:
    """A port whose images have the seven bits less of bfloat16."""

    def loss(params: models.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
        coarse = mnist_dnn.normalise(images, jnp.dtype("bfloat16")).astype(jnp.float32)
        return losses.cross_entropy(mnist_dnn.MODEL.apply(params, coarse), labels)

    side = CASES["W29"].torch(mnist_data, 8)
    source = verify.TorchSource(side, samples=16)
    run = cases.network(loss, mnist_dnn.optimizer(mnist_dnn.Config()))
    compared = Trajectory(source, run, precisions=[precision])
    compared.run()
    report = compared.report()
    assert report.verdict == "fail"
    assert report.first_divergence is not None
    assert report.first_divergence.phase == "loss"
    assert np.isfinite(report.first_divergence.error)
