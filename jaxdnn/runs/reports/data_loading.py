"""The report of ``jaxdnn run data-loading``: build, batch and split the document's arrays."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

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
    shuffled, _ = data_loading.shuffled_batch(drawn, config, generator)
    single = next(iter(DataLoader(samples, generator=generator)))
    loader = data_loading.loader(samples, config, generator)
    sizes = [len(labels) for _, labels in loader]
    train, test = data_loading.split(samples, config, generator)
    steps = len(DataLoader(TensorDataset(np.arange(10240)), batch_size=1024))
    paired, column, instance = _paired_files(drawn.c[:40, 0], generator)
    figures = {
        "data.randn": {"a[0]": a, "b[0,0]": b[0], "b[0,1]": b[1], "b[0,2]": b[2], "c[0]": c},
        "data.default_batch": {"b": single[0], "c": single[1]},
        "data.loader": {
            "batches": len(loader),
            "samples": len(loader.dataset),
            "batch_size": loader.batch_size,
            "last_batch": sizes[-1] if sizes else 0,
        },
        "data.sample": {"b": b, "c": c, "label": c},
        "data.shuffled_batch": {"b": shuffled},
        "data.steps_of_10240_samples_in_batches_of_1024": {
            "in_an_epoch": steps,
            "in_5_epochs": 5 * steps,
        },
        "data.split": {"train": len(train), "test": len(test)},
        "data.paired_files": paired,
    }
    remarks = (
        "000 In [102]: the batch depends on how often the notebook had passed over its loaders: 7 "
        "times in order and 4 times shuffled, which its cell numbers do not show",
        f"001, Dataset: csv_data[idx] selects a column, so sample 0 ends in {column}; "
        "csv_data.iloc[idx] is the row",
        f"001, Dataset: DataLoader(myDataset) is given the class, which ends in {instance}; it "
        "needs an instance",
    )
    return Result("data-loading", seed, config, figures, remarks)


def _paired_files(
    values: Float32[np.ndarray, " samples"], generator: torch_compat.Generator
) -> tuple[dict[str, Any], str, str]:
    """Files that are read in pairs, in batches and in two parts; and the document's two errors."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        table, text = Path(folder, "samples.csv"), Path(folder, "samples.txt")
        rows = [f"{i},{value:.4f}" for i, value in enumerate(values)]
        table.write_text("\n".join(["sample,c", *rows]) + "\n", encoding="utf-8")
        text.write_text("".join(f"sample {i}\n" for i in range(len(values))), encoding="utf-8")
        pairs = PairedFiles(table, text)
        parts = random_split(pairs, [0.7, 0.3], generator)
        read = [pairs[i] for i in range(len(pairs))]
        figures = {
            "samples": len(pairs),
            "in_step": all(line == f"sample {row['sample']:.0f}" for row, line in read),
            "batches_of_32": len(DataLoader(pairs, batch_size=32)),
            "parts": [len(part) for part in parts],
        }
        column = _error(lambda: pd.read_csv(table)[0])
    instance = _error(lambda: len(DataLoader(PairedFiles, batch_size=32)))  # type: ignore[arg-type]
    return figures, column, instance


def _error(function: Callable[[], object]) -> str:
    """The error that a mistake ends in, as Python prints it."""
    try:
        function()
    except (KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"
