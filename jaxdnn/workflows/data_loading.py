"""Data sets of several arrays, in shuffled batches, and split in two.

The mirror of `reference_torch.workflows.data_loading`. The document draws its normals after the
network of the momentum tutorial was built, so they continue that network's random numbers.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxdnn import torch_compat
from jaxdnn.data.batches import DataLoader, TensorDataset, random_split
from jaxdnn.data.paired_files import PairedFiles
from jaxdnn.errors import ConfigError
from jaxdnn.runs.result import Result
from jaxdnn.workflows.config import require_count, require_seed
from jaxdnn.workflows.momentum_sgd import draw_network

__all__ = ["SEED", "Config", "Normals", "normals", "run"]

SEED = 420


@dataclass(frozen=True)
class Config:
    """The document's settings."""

    batch_size: int = 120
    """Samples a batch."""

    drop_last: bool = False
    """Leave out the last batch where it is smaller."""

    train_share: float = 0.7
    """Share of the samples in the first part of the split."""

    def __post_init__(self) -> None:
        require_count("batch_size", self.batch_size)
        if not 0 <= self.train_share <= 1:
            raise ConfigError(f"train_share must be from 0 to 1; got {self.train_share!r}.")


class Normals(NamedTuple):
    """500 samples of three fields, standard normal."""

    a: Float32[np.ndarray, "500 2 3"]
    b: Float32[np.ndarray, "500 3 4 5"]
    c: Float32[np.ndarray, "500 1"]


def normals(generator: torch_compat.Generator) -> Normals:
    """The document's arrays, drawn after the network 20-13-8-3 was built."""
    draw_network(generator)
    return Normals(
        generator.randn(500, 2, 3), generator.randn(500, 3, 4, 5), generator.randn(500, 1)
    )


def run(seed: int = SEED, config: Config = Config()) -> Result:
    """What ``jaxdnn run data-loading`` does: build, batch and split the document's arrays.

    Args:
      seed: of torch's generator.
      config: the batches, and the split.

    Returns:
      The first sample, and the sizes of batches and parts.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> run().figures["data.loader"]["last_batch"]
      20
    """
    require_seed(seed)
    generator = torch_compat.Generator(seed)
    drawn = normals(generator)
    a, b, c = TensorDataset(*drawn)[0]
    samples = TensorDataset(drawn.b, drawn.c)
    single = next(iter(DataLoader(samples, generator=generator)))
    loader = DataLoader(
        samples,
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=config.drop_last,
        generator=generator,
    )
    batches = [labels for _, labels in loader]
    train, test = random_split(samples, [config.train_share, 1 - config.train_share], generator)

    with tempfile.TemporaryDirectory() as folder:
        table, text = Path(folder, "samples.csv"), Path(folder, "samples.txt")
        rows = [f"{i},{value:.4f}" for i, value in enumerate(drawn.c[:40, 0])]
        table.write_text("\n".join(["sample,c", *rows]) + "\n", encoding="utf-8")
        text.write_text("".join(f"sample {i}\n" for i in range(40)), encoding="utf-8")
        pairs = PairedFiles(table, text)
        file_batches = len(DataLoader(pairs, batch_size=32))
        file_parts = [len(part) for part in random_split(pairs, [0.7, 0.3], generator)]
        in_step = all(
            line == f"sample {row['sample']:.0f}" for row, line in map(pairs.__getitem__, range(40))
        )

    figures = {
        "data.randn": {"a[0]": a, "b[0,0]": b[0], "c[0]": c},
        "data.loader": {
            "samples": len(loader.dataset),
            "batch_size": loader.batch_size,
            "drop_last": loader.drop_last,
            "batches": len(loader),
            "last_batch": len(batches[-1]) if batches else 0,
            "first_labels": batches[0][:3, 0] if batches else [],
        },
        "data.default_batch": {"shapes": [list(field.shape) for field in single]},
        "data.split": {"train": len(train), "test": len(test)},
        "data.paired_files": {
            "samples": len(pairs),
            "in_step": in_step,
            "batches_of_32": file_batches,
            "parts": file_parts,
        },
    }
    remarks = (
        "the shuffled batch that the document prints depends on how often its notebook had used "
        "the loader; the labels above are those of a loader that is used for the first time",
    )
    return Result("data-loading", seed, config, figures, remarks)
