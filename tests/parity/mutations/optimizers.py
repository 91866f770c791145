"""Mistakes in optimisers, clipping and accumulation.

The gradient is right, so the two part in the optimiser's first tensor that both sides have, and
where it has none, in the first parameter.
"""

from functools import partial

import jax.numpy as jnp
import optax
import torch

from jaxdnn import optim
from tests.parity.mutations.case import of_kind, row
from tests.parity.mutations.losses import ACCUMULATED
from tests.parity.mutations.optimizer_ports import (
    adagrad,
    adam,
    adamw,
    clip_each,
    clipped,
    frozen,
    nadam,
    no_biases,
    own_adam,
    rmsprop,
    shrinking,
    two_groups,
    unused,
)
from tests.parity.mutations.ports import regression, sgd, under

_AMSGRAD = partial(shrinking, torch_optimizer=partial(torch.optim.Adam, lr=0.01, amsgrad=True))


_DECAYED_WEIGHTS = optax.chain(
    optax.masked(optax.add_decayed_weights(0.1), no_biases), optax.sgd(0.1)
)


# fmt: off

OPTIMIZER = of_kind("optimizer", (
    row("lr-off-by-a-millionth", "0 param", None, sgd(), optimizer=optax.sgd(0.1 * (1 + 1e-6))),
    # The first buffer is the gradient whatever the momentum.
    row("momentum-0.5001", "1 optimizer momentum_buffer", None, sgd(momentum=0.5),
        optimizer=optax.sgd(0.1, 0.5001)),
    row("momentum-missing", "1 param", "momentum-missing", sgd(momentum=0.9),
        optimizer=optax.sgd(0.1)),
    row("momentum-averaged", "0 param", "momentum-average", sgd(momentum=0.9),
        optimizer=optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))),
    row("dampened-from-the-start", "0 optimizer momentum_buffer", "sgd-dampening",
        sgd(momentum=0.9, dampening=0.5),
        optimizer=optax.chain(optax.scale(0.5), optax.sgd(0.1, 0.9))),
    row("dampening-missing", "1 optimizer momentum_buffer", "sgd-dampening",
        sgd(momentum=0.9, dampening=0.5), optimizer=optax.sgd(0.1, 0.9)),
    row("nesterov-missing", "0 param", "nesterov", sgd(momentum=0.9, nesterov=True),
        optimizer=optax.sgd(0.1, 0.9)),
    row("nesterov-added", "0 param", "nesterov", sgd(momentum=0.9),
        optimizer=optax.sgd(0.1, 0.9, nesterov=True)),
    row("decay-missing", "0 param", "weight-decay-missing", sgd(weight_decay=0.01),
        optimizer=optax.sgd(0.1)),
    row("decay-after-momentum", "0 optimizer momentum_buffer", "decay-after-momentum",
        sgd(momentum=0.9, weight_decay=0.01),
        optimizer=optax.chain(optax.trace(0.9), optax.add_decayed_weights(0.01),
            optax.scale_by_learning_rate(0.1))),
    row("decay-without-lr", "0 param", "decay-without-lr", sgd(weight_decay=0.01),
        optimizer=optax.chain(optax.sgd(0.1), optax.add_decayed_weights(-0.01))),
    # Weights are alike; the first bias comes after the first weight.
    row("decay-not-on-biases", "0 param 0.bias", None, sgd(weight_decay=0.1),
        optimizer=_DECAYED_WEIGHTS),
    row("decay-on-biases", "0 param 0.bias", None,
        partial(regression, torch_optimizer=two_groups(weight_decay=0),
            optimizer=_DECAYED_WEIGHTS),
        optimizer=optim.sgd(0.1, weight_decay=0.1)),
    row("one-lr-for-two-groups", "0 param 0.bias", None,
        partial(regression, torch_optimizer=two_groups(lr=0.2, weight_decay=0),
            optimizer=optax.partition(
                {True: optim.sgd(0.1, weight_decay=0.1), False: optax.sgd(0.2)}, no_biases)),
        optimizer=_DECAYED_WEIGHTS),
    row("frozen-trained", "0 param", "frozen-parameter", frozen, optimizer=optax.sgd(0.1)),
    row("maximize-missing", "0 param", "maximize-missing", sgd(lr=0.01, maximize=True),
        optimizer=optax.sgd(0.01)),
    row("adam-coupled-decay-decoupled", "0 optimizer exp_avg", "adam-decoupled",
        adam(weight_decay=0.01), optimizer=optax.adamw(0.01, weight_decay=0.01)),
    row("adamw-decay-in-gradient", "0 optimizer exp_avg", "adamw-coupled",
        adamw(weight_decay=0.01),
        optimizer=optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.01))),
    row("adamw-optax-default", "0 param", "adamw-default-decay", adamw(),
        optimizer=optax.adamw(0.01)),
    row("adamw-decay-without-lr", "0 param", "decay-without-lr", adamw(weight_decay=0.01),
        optimizer=optax.chain(optax.adam(0.01), optax.add_decayed_weights(-0.01))),
    row("adam-epsilon-in-root", "0 param", "adam-epsilon", adam(),
        optimizer=optax.adam(0.01, eps=0.0, eps_root=1e-8)),
    row("adam-epsilon-keras", "0 param", "adam-epsilon", adam(),
        optimizer=optax.adam(0.01, eps=1e-7)),
    # "another epsilon" is what the catalogue calls it too.
    row("adam-epsilon-1.1e-8", "0 param", (None, "adam-epsilon"), adam(),
        optimizer=optax.adam(0.01, eps=1.1e-8)),
    row("adam-uncorrected", "0 param", "adam-bias-correction", adam(),
        optimizer=own_adam(lambda m, v, t: m / (jnp.sqrt(v) + 1e-8))),
    row("adam-second-uncorrected", "0 param", (None, "adam-bias-correction"), adam(),
        optimizer=own_adam(lambda m, v, t: m / (1 - 0.9**t) / (jnp.sqrt(v) + 1e-8))),
    row("adam-epsilon-hat", "0 param", "adam-bias-correction", adam(),
        optimizer=own_adam(
            lambda m, v, t: m / (jnp.sqrt(v) + 1e-8) * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t))),
    row("adam-beta2-0.99", "0 optimizer exp_avg_sq", "adam-betas", adam(),
        optimizer=optax.adam(0.01, b2=0.99)),
    row("adam-betas-exchanged", "0 optimizer exp_avg", "adam-betas", adam(),
        optimizer=optax.adam(0.01, b1=0.999, b2=0.9)),
    row("adam-beta2-0.9990001", "0 optimizer exp_avg_sq", (None, "adam-betas"), adam(),
        optimizer=optax.adam(0.01, b2=0.9990001)),
    # Where a square falls at step 1, its corrected average does, and optax keeps the first one.
    row("amsgrad-corrected-first", "1 param", "amsgrad-maximum", _AMSGRAD,
        optimizer=optax.amsgrad(0.01)),
    row("amsgrad-missing", "1 param", "amsgrad-missing", _AMSGRAD, optimizer=optax.adam(0.01)),
    row("nadam-of-optax", "0 param", None, partial(under("NAdam", 0.01), optimizer=nadam(0.01)),
        optimizer=optax.nadam(0.01)),
    row("rmsprop-epsilon", "0 param", "rmsprop-epsilon", rmsprop(),
        optimizer=optax.rmsprop(0.01, decay=0.99)),
    row("rmsprop-decay", "0 optimizer square_avg", "rmsprop-decay", rmsprop(),
        optimizer=optax.rmsprop(0.01, eps_in_sqrt=False)),
    row("rmsprop-all-defaults", "0 optimizer square_avg", "rmsprop-decay", rmsprop(),
        optimizer=optax.rmsprop(0.01)),
    row("rmsprop-not-centered", "0 param", "rmsprop-centered", rmsprop(centered=True),
        optimizer=optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False)),
    row("rmsprop-centered", "0 param", "rmsprop-centered", rmsprop(),
        optimizer=optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, centered=True)),
    row("rmsprop-decay-not-scaled", "0 optimizer square_avg", "decay-after-scaling",
        rmsprop(weight_decay=0.01),
        optimizer=optax.chain(optax.scale_by_rms(0.99, eps_in_sqrt=False),
            optax.add_decayed_weights(0.01), optax.scale_by_learning_rate(0.01))),
    row("adagrad-optax-default", "0 optimizer sum", "adagrad-accumulator", adagrad(),
        optimizer=optax.adagrad(0.01)),
    row("adagrad-epsilon", "0 param", "adagrad-epsilon", adagrad(),
        optimizer=optax.adagrad(0.01, initial_accumulator_value=0.0)),
    # The first step has no decay of the rate.
    row("adagrad-lr-decay-missing", "1 param", "adagrad-lr-decay", adagrad(lr_decay=0.1),
        optimizer=optim.adagrad(0.01)),
    row("clip-epsilon", "0 param", "clip-epsilon", clipped(0.1),
        optimizer=optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))),
    row("clip-by-value", "0 param", "clip-by-value", clipped(0.1),
        optimizer=optax.chain(optax.clip(0.1), optax.sgd(0.1))),
    row("clip-per-tensor", "0 param", "clip-per-tensor", clipped(0.1),
        optimizer=optax.chain(clip_each(0.1), optax.sgd(0.1))),
    row("clip-missing", "0 param", "clip-missing", clipped(0.1), optimizer=optax.sgd(0.1)),
    row("clip-after-momentum", "0 optimizer momentum_buffer", None, clipped(0.1, momentum=0.9),
        optimizer=optax.chain(optax.trace(0.9), optim.clip_grad_norm(0.1),
            optax.scale_by_learning_rate(0.1))),
    row("unused-decays", "0 param unused.weight", "unused-parameter", unused,
        optimizer=optim.sgd(0.1, weight_decay=0.1)),
    row("accumulation-missing", "0 param", "accumulation-missing", ACCUMULATED,
        optimizer=optax.sgd(0.1)),
    # From update 40 on, where a user's schedule of the momentum stops.
    row("momentum-lost-at-40", "40 optimizer momentum_buffer", None,
        partial(sgd(momentum=0.9), steps=44),
        optimizer=optax.inject_hyperparams(optax.sgd)(
            0.1, momentum=lambda count: jnp.where(count < 40, 0.9, 0.8))),
))
