"""The report of ``jaxdnn run data-loading``: build, batch and split the document's arrays."""

import tempfile
from pathlib import Path
from typing import Any

from jaxtyping import Float32
from numpy import ndarray

from jaxdnn import torch_compat
from jaxdnn.data.batches import DataLoader, TensorDataset, random_split
from jaxdnn.data.paired_files import PairedFiles
from jaxdnn.runs.result import Result
from jaxdnn.runs.workflow import NoInputs, Request
from jaxdnn.workflows import data_loading
from jaxdnn.workflows.config import require_seed
from jaxdnn.workflows.data_loading import Config

__all__ = ["SEED", "Config", "Inputs", "run"]

SEED = 420

Inputs = NoInputs


def run(request: Request) -> Result:
    """Report the first sample and the sizes of batches and parts; the seed is torch's.

    Raises:
      ConfigError: the seed is negative or does not fit 31 bits.

    Example:
      >>> run(Request(SEED, Config())).figures["data.loader"]["last_batch"]
      20
    """
    seed, config = request.seed, request.config
    require_seed(seed)
    generator = torch_compat.Generator(seed)
    drawn = data_loading.normals(generator)
    a, b, c = TensorDataset(*drawn)[0]
    samples = TensorDataset(drawn.b, drawn.c)
    # Every pass over a loader draws from the generator, so the order of these lines matters.
    single = next(iter(DataLoader(samples, generator=generator)))
    loader = data_loading.loader(samples, config, generator)
    batches = [labels for _, labels in loader]
    train, test = data_loading.split(samples, config, generator)
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
        "data.paired_files": _paired_files(drawn.c[:40, 0], generator),
    }
    remarks = (
        "the shuffled batch that the document prints depends on how often its notebook had used "
        "the loader; the labels above are from the first use of a loader",
    )
    return Result("data-loading", seed, config, figures, remarks)


def _paired_files(
    values: Float32[ndarray, " samples"], generator: torch_compat.Generator
) -> dict[str, Any]:
    """Write a CSV file and a text file, and read them in pairs, in batches and in two parts."""
    with tempfile.TemporaryDirectory() as folder:
        table, text = Path(folder, "samples.csv"), Path(folder, "samples.txt")
        rows = [f"{i},{value:.4f}" for i, value in enumerate(values)]
        table.write_text("\n".join(["sample,c", *rows]) + "\n", encoding="utf-8")
        text.write_text("".join(f"sample {i}\n" for i in range(len(values))), encoding="utf-8")
        pairs = PairedFiles(table, text)
        parts = random_split(pairs, [0.7, 0.3], generator)
        read = [pairs[i] for i in range(len(pairs))]
        return {
            "samples": len(pairs),
            "in_step": all(line == f"sample {row['sample']:.0f}" for row, line in read),
            "batches_of_32": len(DataLoader(pairs, batch_size=32)),
            "parts": [len(part) for part in parts],
        }
