"""All mistakes."""

import itertools

from tests.parity.mutations import (
    attention,
    convolutions,
    data,
    embeddings,
    groups,
    initialisation,
    layers,
    losses,
    normalisations,
    optimizers,
    precision,
    recurrent,
    schedules,
)

__all__ = ["MUTATIONS", "NO_RIGHT_PASS"]

TABLES = (
    losses.LOSS,
    losses.REDUCTION,
    layers.LAYER,
    normalisations.NORMALISATION,
    convolutions.CONVOLUTION,
    embeddings.EMBEDDING,
    recurrent.RECURRENT,
    attention.ATTENTION,
    optimizers.OPTIMIZER,
    groups.GROUPS,
    schedules.SCHEDULE,
    initialisation.INITIALISATION,
    data.DATA,
    precision.PRECISION,
)
MUTATIONS = tuple(itertools.chain.from_iterable(TABLES))

NO_RIGHT_PASS = {
    "unused-decays": "a parameter whose gradient is always 0 makes any comparison inconclusive"
}
"""Mutations whose right port does not pass either, and why that is right."""
