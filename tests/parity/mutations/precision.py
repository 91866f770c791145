"""Mistakes in precision: fewer bits inside, and formulas that are unstable in float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from torch import nn
from torch.nn import functional

from jaxdnn import losses
from tests.parity.mutations.case import of_kind, row
from tests.parity.mutations.layer_ports import flax_layer_norm, layer_norm, through
from tests.parity.mutations.losses import (
    far_logits,
    log_of_softmax,
    logits,
    naive_cross_entropy,
    naive_logits,
)
from tests.parity.mutations.optimizer_ports import adam
from tests.parity.mutations.ports import mse, regression, two_layers

# fmt: off

PRECISION = of_kind("precision", (
    row("bfloat16-inside", "* output", "reduced-precision", regression,
        apply=two_layers(lambda x: jnp.tanh(x.astype(jnp.bfloat16)).astype(x.dtype))),
    row("float16-product", "* output", "reduced-precision", regression,
        apply=two_layers(lambda x: jnp.tanh(x).astype(jnp.float16).astype(x.dtype))),
    row("bfloat16-inputs", "* output", "reduced-precision", regression,
        apply=lambda params, x: two_layers(jnp.tanh)(
            params, (x.astype(jnp.bfloat16) / 3).astype(x.dtype) * 3)),
    row("float16-loss", "* loss", "reduced-precision", regression,
        loss=lambda x, y: mse(x.astype(jnp.float16), y.astype(jnp.float16)).astype(x.dtype)),
    row("bfloat16-moment", "* optimizer exp_avg", ("reduced-precision", None), adam(),
        optimizer=optax.adam(0.01, mu_dtype=jnp.bfloat16)),
    # Nothing is converted: the constant itself has been rounded.
    row("float32-constant", "0 loss", None,
        partial(regression, torch_loss=lambda x, y: 0.1 * functional.mse_loss(x, y),
            loss=lambda x, y: 0.1 * mse(x, y)),
        loss=lambda x, y: np.float32(0.1) * mse(x, y)),
    row("float32-epsilon", "0 output", None, layer_norm,
        apply=through(lambda params, x: params["bias"] + params["scale"]
            * (x - x.mean(1, keepdims=True))
            * jax.lax.rsqrt(x.var(1, keepdims=True) + np.float32(1e-5)))),
    # What follows is right in float64 and wrong in float32, where exp(100) is infinite and
    # exp(-110) is 0.
    row("logsumexp-overflows", "* loss", None, partial(far_logits, 100.0),
        loss=naive_cross_entropy),
    row("log-of-softmax", "* loss", None, partial(far_logits, 100.0), loss=log_of_softmax),
    # 1 - p has few digits left where p is near 1.
    row("log-of-one-minus", "* grad weight", None,
        partial(logits, nn.BCEWithLogitsLoss(), losses.bce_with_logits, scale=5.0),
        loss=naive_logits),
    # flax takes E[x^2] - E[x]^2.
    row("fast-variance", "* output", None, partial(layer_norm, shift=30.0),
        apply=through(partial(flax_layer_norm, epsilon=1e-5))),
))
