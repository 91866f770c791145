"""Every workflow that trains, in JAX beside its torch mirror.

The first row of most workflows takes a few steps; the slow tests take every row over its whole run,
at most 500 steps, and of LeNet 300. In float64 both sides take the same steps from the same initial
parameters on the same batches; in float32 both take one step from each of many states of torch's
run.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdnn import losses, models
from jaxdnn.data.mnist import MNIST
from jaxdnn.parity import trajectory, verdict
from jaxdnn.parity.compare import Errors, Observation, compare_step
from jaxdnn.verification import verify
from jaxdnn.verification.cases import CASES, TITLES
from jaxdnn.verification.sides import network
from jaxdnn.workflows import mnist_dnn
from reference_torch.parity.trajectory import trajectory as observed

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
UNBATCHED = ("W01-W06", "W07", "W08", "W09", "W10", "W11")
FIRST_ROWS = {case.workflow: row for row, case in reversed(list(CASES.items()))}
FEW = 8


def test_every_row_has_a_title() -> None:
    assert set(CASES) | {"W21 W22"} <= set(TITLES)


def data_of(row: str, request: pytest.FixtureRequest) -> MNIST | None:
    return request.getfixturevalue("mnist_data") if CASES[row].needs_mnist else None


def check(row: str, data: MNIST | None, *, steps: int, samples: int, with_forms: bool) -> None:
    outcome = verify.verify_case(
        row, data=data, steps=steps, samples=samples, with_forms=with_forms
    )
    assert outcome.verdict == "pass", str(outcome.report)
    double, single = outcome.report.tiers
    assert double.steps == steps
    assert single.steps >= 4
    if with_forms:
        assert outcome.forms.keys() >= {"eager", "scan", "vmap"}
        assert ("sharded" in outcome.forms) == (row not in UNBATCHED)
    # Where rounding grows faster than that, torch parts from itself; see below.
    assert bool(double.resynchronised) == (row in CHAOTIC and steps > FEW)


# Gradient descent is verified from the command line, in tests/cli/test_verify.py; LeNet, which
# compiles for long, is slow.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("row", sorted({*FIRST_ROWS.values()} - {"W07", "W25", "W29"}))
def test_the_first_steps_of_a_workflow_are_torchs(row: str, request: pytest.FixtureRequest) -> None:
    data = data_of(row, request)
    check(row, data, steps=FEW, samples=8, with_forms=row == "W23")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own use
@pytest.mark.parametrize("row", CASES)
def test_the_whole_run_of_a_row_is_torchs(row: str, request: pytest.FixtureRequest) -> None:
    data, with_forms = data_of(row, request), row in FIRST_ROWS.values()
    check(row, data, steps=STEPS[row], samples=64, with_forms=with_forms)


def without_batch(step: Observation) -> Observation:
    return {key: array for key, array in step.items() if not key.startswith("batch/")}


@pytest.mark.slow
@pytest.mark.parametrize("row", CHAOTIC)
def test_torch_parts_from_itself_where_jax_is_resynchronised(row: str) -> None:
    """The same batches with their rows in another order: the same mathematics, other rounding."""
    side = CASES[row].torch(None, STEPS[row])
    reversed_rows = [tuple(array[::-1].copy() for array in batch) for batch in side.batches]
    runs = (observed(side.stepper(), batches) for batches in (side.batches, reversed_rows))
    errors, found, step = Errors({}, {}), None, 0
    for step, sides in enumerate(zip(*runs, strict=True)):
        errors, found = compare_step(errors, step, *map(without_batch, sides), tolerance=1e-12)
        if found:
            break
    assert found
    assert step >= 10


def test_the_drawn_data_are_torchs() -> None:
    assert verify.verify_data_loading().verdict == "pass"


@pytest.mark.slow
def test_lower_precision_is_seen(mnist_data: MNIST) -> None:
    """A port whose parameters have the seven bits of bfloat16, which float64 takes out."""

    def rounded(leaf: jax.Array) -> jax.Array:
        return leaf.astype(jnp.bfloat16).astype(leaf.dtype)

    def loss(params: models.Params, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = mnist_dnn.predict(jax.tree.map(rounded, params), images)
        return losses.cross_entropy(logits, labels)

    side = CASES["W29"].torch(mnist_data, 8)
    port = network(loss, mnist_dnn.optimizer(mnist_dnn.Config()))
    source = verify.torch_source(side, samples=16)
    double = verdict.report(trajectory.follow(source, port, precisions=["float64"]))
    assert double.verdict == "inconclusive"
    assert "the port computes in bfloat16" in double.reasons[0]
    report = verdict.report(trajectory.follow(source, port, precisions=["float32"]))
    assert report.verdict == "fail"
    assert report.first_divergence is not None
    assert report.first_divergence.phase == "loss"
    assert np.isfinite(report.first_divergence.error)
