"""Mistakes in layers, and in derivatives at kinks.

A wrong value shows in the output, or in the first activation that is compared; a wrong derivative
in the gradient of the first parameter, in torch's order, that it reaches.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from tests.parity.mutations.case import of_kind, row
from tests.parity.mutations.layer_ports import (
    Convolutions,
    batch_norm,
    between,
    convolution,
    convolution_names,
    embedding,
    first_largest,
    flax_batch_norm,
    flax_layer_norm,
    flax_names,
    kinked,
    layer_norm,
    proper_convolution,
    residual,
    residual_network,
    safe_norm,
    square,
    through,
    tied,
)
from tests.parity.mutations.losses import absolute_zero
from tests.parity.mutations.ports import dense, regression, two_layers

_GELU = partial(
    regression, torch_activation=nn.GELU, activation=partial(jax.nn.gelu, approximate=False)
)


# fmt: off

LAYER = of_kind("layer", (
    row("gelu-tanh", "0 output", "gelu-tanh", _GELU, apply=two_layers(jax.nn.gelu)),
    row("gelu-tanh-observed", "0 activation 1", "gelu-tanh", _GELU, apply=two_layers(jax.nn.gelu),
        activations=lambda params, x: {"0": dense(params["0"], x),
            "1": jax.nn.gelu(dense(params["0"], x))}),
    row("std-biased", "0 output", "biased-variance",
        partial(between, lambda: lambda x: x / x.std(1, keepdim=True),
            lambda x: x / x.std(1, keepdims=True, ddof=1)),
        apply=through(lambda x: x / jnp.std(x, axis=1, keepdims=True))),
    row("layer-norm-epsilon", "0 output", "layer-norm-epsilon", layer_norm,
        apply=through(flax_layer_norm)),
    row("layer-norm-biased-differently", "0 output", None, layer_norm,
        apply=through(lambda params, x: params["bias"] + params["scale"]
            * (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-5))),
    # The output is of the batch's statistics: only the running ones are wrong.
    row("batch-norm-biased", "0 buffer 1.running_var", "batch-norm-variance", batch_norm,
        apply=flax_batch_norm(0.9)),
    row("batch-norm-flax-default", "0 buffer 1.running_mean", "batch-norm-momentum", batch_norm,
        apply=flax_batch_norm(0.99)),
    row("batch-norm-torch-momentum", "0 buffer 1.running_mean", "batch-norm-momentum", batch_norm,
        apply=flax_batch_norm(0.1)),
    row("linear-untransposed", "0 output", "linear-transposed", square,
        from_torch=flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}, ["0", "2"])),
    row("linear-untransposed-one", "0 output", "linear-transposed", square,
        from_torch=flax_names({"Dense_0": "0", "Dense_1": "2", "Dense_2": "4"}, ["2"])),
    row("layers-swapped", "0 output", None, square,
        from_torch=flax_names({"Dense_0": "2", "Dense_1": "0", "Dense_2": "4"})),
    row("conv-axes-swapped", "0 output", "conv-layout", convolution,
        from_torch=convolution_names((3, 2, 1, 0))),
    row("conv-flipped", "0 output", "conv-flipped", convolution, apply=proper_convolution),
    row("conv-padded", "0 output", "conv-padding", partial(convolution, averaged=True),
        apply=Convolutions(averaged=True, padding="SAME").apply),
    row("max-pool-stride", "0 output", "max-pool-stride", partial(convolution, averaged=True),
        apply=Convolutions(averaged=True, strides=None).apply),
    row("flatten-order", "0 output", "flatten-order", convolution,
        apply=Convolutions(channels_first=False).apply),
    row("dropout-missing", "0 output", "dropout-masks",
        partial(between, lambda: nn.Sequential(nn.Tanh(), nn.Dropout(0.5)).eval(), jnp.tanh),
        lambda case: case.but(module=case.run.module.train())),
    row("abs-at-zero", "0 grad hidden.bias", "abs-derivative",
        partial(kinked, torch.abs, lambda x: x * jax.lax.stop_gradient(jnp.sign(x))),
        apply=through(jnp.abs)),
    row("clamp-at-bound", "0 grad hidden.bias", "clamp-derivative",
        partial(kinked, partial(torch.clamp, min=0, max=1),
            lambda x: jnp.where((x >= 0) & (x <= 1), x, jax.lax.stop_gradient(jnp.clip(x, 0, 1)))),
        apply=through(lambda x: jnp.clip(x, 0, 1))),
    # 0/0 times the example's inputs of 0 is NaN too, so the weight has it, which comes first.
    row("norm-at-zero", "0 grad hidden.weight", "norm-derivative",
        partial(kinked, lambda x: torch.linalg.norm(x, dim=1, keepdim=True), safe_norm, 1),
        apply=through(lambda x: jnp.linalg.norm(x, axis=1, keepdims=True))),
    row("max-tie", "0 grad hidden.bias", "max-tie-derivative",
        partial(kinked, lambda x: torch.max(x.reshape(len(x), 3, 2), dim=2).values,
            first_largest, 3),
        apply=through(lambda x: jnp.max(x.reshape(len(x), 3, 2), axis=2))),
    row("leaky-relu", "0 output", None,
        partial(regression, torch_activation=nn.LeakyReLU, activation=jax.nn.leaky_relu),
        apply=two_layers(jax.nn.relu)),
    row("relu6", "5 output", None,
        partial(regression, torch_activation=nn.ReLU, activation=jax.nn.relu),
        lambda case: case.but(
            batches=[(x * (30 if i == 5 else 0.5), y) for i, (x, y) in enumerate(case.batches)]),
        apply=two_layers(jax.nn.relu6)),
    row("softplus-threshold", "0 output", None,
        partial(between, nn.Softplus,
            lambda x: jnp.where(x > 20, x, jax.nn.softplus(jnp.minimum(x, 20))),
            scale=20.0, torch_optimizer=partial(torch.optim.SGD, lr=1e-4)),
        apply=through(jax.nn.softplus)),
    row("softmax-axis", "0 output", None,
        partial(between, lambda: nn.Softmax(dim=1), partial(jax.nn.softmax, axis=1)),
        apply=through(partial(jax.nn.softmax, axis=0))),
    row("rms-norm-epsilon-inside", "0 output", None,
        partial(between, lambda: lambda x: x / (x.square().mean(1, keepdim=True).sqrt() + 1e-6),
            lambda x: x / (jnp.sqrt(jnp.mean(x**2, 1, keepdims=True)) + 1e-6)),
        apply=through(lambda x: x * jax.lax.rsqrt(jnp.mean(x**2, 1, keepdims=True) + 1e-6))),
    row("bias-missing", "0 output", None, regression,
        apply=lambda params, x: jnp.tanh(dense(params["0"], x)) @ params["2"]["kernel"]),
    # The bias is 0 at first, so the first output and loss are right; its gradient is not.
    row("zero-bias-missing", "0 grad bias", None, absolute_zero,
        apply=lambda params, x: x @ params[""]["kernel"]),
    # The values are right; what flowed back through the branch is missing from the first layer.
    row("branch-stopped", "0 grad hidden.weight", None, residual,
        apply=partial(residual_network, before=jax.lax.stop_gradient)),
    row("detach-missing", "0 grad hidden.weight", None, partial(residual, detached=True),
        apply=residual_network),
    # The encoder's gradient lacks the decoder's part.
    row("untied", "0 grad encoder.weight", None, tied,
        apply=lambda params, x: jnp.tanh(x @ params["encoder"]) @ params["decoder"],
        from_torch=lambda tensors: {"encoder": tensors["encoder.weight"].T,
            "decoder": tensors["encoder.weight"]},
        to_torch=lambda tree: {"encoder.weight": np.asarray(tree["encoder"]).T}),
    row("padding-index", "0 grad embedding.weight", None, embedding,
        apply=lambda params, x: dense(params["out"], jnp.tanh(params["table"][x].sum(1)))),
))
