"""LeNet on real digits against torch: scores, loss, ten gradients, and the one convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

import reference_torch.models
from jaxdnn import torch_compat
from jaxdnn.data.mnist import MNIST
from jaxdnn.workflows import lenet
from reference_torch.workflows import lenet as reference


def test_scores_loss_and_gradients_are_torchs(x64: None, mnist_data: MNIST) -> None:
    images, labels = mnist_data.train_images[:8], mnist_data.train_labels[:8]
    torch.manual_seed(0)
    module = reference.init().double()
    tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    params = torch_compat.from_torch(tensors, jax.eval_shape(lenet.MODEL.init, jax.random.key(0)))

    expected = reference.predict(module, torch.tensor(images))
    scores = jax.jit(lenet.predict)(params, jnp.asarray(images))
    np.testing.assert_allclose(scores, expected.detach(), rtol=1e-11, atol=1e-12)

    loss = reference.loss(module, torch.tensor(images), torch.tensor(labels))
    loss.backward()
    value, grads = jax.jit(jax.value_and_grad(lenet.loss))(
        params, jnp.asarray(images), jnp.asarray(labels)
    )
    np.testing.assert_allclose(value, loss.detach(), rtol=1e-12)
    named = torch_compat.to_torch(grads)
    assert len(named) == 10
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any()
        np.testing.assert_allclose(named[name], parameter.grad, rtol=1e-9, atol=1e-13)

    # The document's smallest module is the first layer alone.
    convolution = reference_torch.models.conv2d(1, 6, 5).double()
    convolution.conv1.load_state_dict(module.conv1.state_dict())
    maps = lenet.convolve({"conv1": params["conv1"]}, jnp.asarray(images))
    assert maps.shape == (8, 6, 28, 28)
    theirs = reference.convolve(convolution, torch.tensor(images)).detach()
    np.testing.assert_allclose(maps, theirs, rtol=1e-11, atol=1e-12)


def test_padding_is_paper_on_every_side(mnist_data: MNIST) -> None:
    images = mnist_data.train_images[:3]
    padded = np.array(lenet.pad(jnp.asarray(images), jnp.dtype("float32")))
    assert padded.shape == (3, 1, 32, 32)
    np.testing.assert_allclose(
        padded, reference.pad(torch.tensor(images), torch.float32), rtol=1e-6, atol=1e-6
    )
    inside = np.zeros((32, 32), bool)
    inside[2:-2, 2:-2] = True
    np.testing.assert_allclose(padded[:, 0, ~inside], -0.1307 / 0.3081, rtol=1e-6)
