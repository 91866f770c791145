"""A batch over several devices: the same losses, gradients and parameters as on one."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxdnn.runtime import sharding

SCRIPT = """
import sys

import jax
import numpy as np

from jaxdnn.data.mnist import MNIST
from jaxdnn.runs.reports import lenet, mnist_dnn
from jaxdnn.runs.workflow import Request
from jaxdnn.runtime import sharding

rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (131, 28, 28), np.uint8), rng.integers(0, 10, 131, np.uint8)
data = MNIST(images, labels, images[:50], labels[:50])
mesh = sharding.data_mesh()
assert mesh.size == int(sys.argv[1])

for workflow in [{"mnist_dnn": mnist_dnn, "lenet": lenet}[name] for name in sys.argv[2:]]:
    config = workflow.Config(epochs=2, batch_size=32)  # 131 = 4 * 32 + 3
    one = workflow.run(Request(0, config, data, "random"))
    many = workflow.run(Request(0, config, data, "random", mesh=mesh))
    batch = images[:13], labels[:13]
    params = one.network.params
    gradient = jax.jit(jax.grad(workflow.CLASSIFIER.loss))(params, *batch)
    shared = jax.jit(jax.grad(sharding.data_parallel(workflow.CLASSIFIER.loss, mesh)))(
        sharding.replicate(params, mesh), *sharding.replicate(batch, mesh)
    )
    pairs = [(one.losses, many.losses), (params, many.network.params), (gradient, shared)]
    for expected, actual in pairs:
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
            assert np.asarray(a).dtype == np.float64
            error = np.max(np.abs(a - np.asarray(b))) / np.max(np.abs(a))
            assert error <= 1e-12, (workflow.__name__, error)
    assert (one.training.test_accuracy_by_epoch == many.training.test_accuracy_by_epoch).all()

    # It is sharded: every device computes with its own rows only.
    program = jax.jit(sharding.data_parallel(workflow.CLASSIFIER.loss, mesh)).lower(
        sharding.replicate(params, mesh), *sharding.replicate((images[:64], labels[:64]), mesh)
    )
    alone = jax.jit(workflow.CLASSIFIER.loss).lower(params, images[:64], labels[:64])
    flops = [p.compile().cost_analysis()["flops"] for p in (program, alone)]
    assert flops[0] < 1.2 * flops[1] / mesh.size + 1e5, flops
"""


@pytest.mark.parametrize(
    ("devices", "workflows"),
    [
        (2, ["mnist_dnn"]),
        pytest.param(3, ["mnist_dnn", "lenet"], marks=pytest.mark.slow),
        pytest.param(8, ["mnist_dnn", "lenet"], marks=pytest.mark.slow),
    ],
)
def test_a_sharded_run_is_the_run(devices: int, workflows: list[str], tmp_path: Path) -> None:
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(devices), *workflows],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("devices", [0, 3])
def test_a_mesh_has_the_devices_there_are(devices: int) -> None:
    assert len(jax.devices()) == 2
    with pytest.raises(ValueError, match="devices must be from 1 to 2"):
        sharding.data_mesh(devices)
