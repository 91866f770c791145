"""LeNet's images; `test_mirror` has the network against torch's, `test_whole_runs` its run."""

import jax.numpy as jnp
import numpy as np

from jaxdnn.workflows import lenet


def test_padding_is_background_on_every_side() -> None:
    images = np.random.default_rng(0).integers(1, 256, (3, 28, 28), dtype=np.uint8)
    padded = np.array(lenet.pad(jnp.asarray(images), jnp.dtype("float32")))
    assert padded.shape == (3, 1, 32, 32)
    inside = np.zeros((32, 32), bool)
    inside[2:-2, 2:-2] = True
    background = -0.1307 / 0.3081
    np.testing.assert_allclose(padded[:, 0, ~inside], background, rtol=1e-6)
    assert (padded[:, 0, inside] > background + 1e-3).all()
