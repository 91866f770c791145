"""The command ``jaxdnn sweep``: many networks of one workflow as one program."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np

from jaxdnn.cli import outputs
from jaxdnn.cli.interruption import Interruption
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue, sweep_results
from jaxdnn.runs.catalogue import Workflow
from jaxdnn.runs.grid import Grid, grid
from jaxdnn.runs.workflow import Report
from jaxdnn.runtime import startup

if TYPE_CHECKING:
    from jaxdnn.runs.ensemble import Ensemble

__all__ = ["run"]

C = TypeVar("C")
I = TypeVar("I")  # noqa: E741 (inputs)


@dataclass(frozen=True)
class Files:
    """Output files."""

    json: Path | None = None
    """Every network's settings, losses and accuracies, unrounded, as JSON."""

    plot: Path | None = None
    """Picture of the losses and accuracies of every setting; None for no picture."""

    checkpoint: Path | None = None
    """The network with the best test accuracy, as safetensors under torch's names.
    Selected on the test set, it looks slightly better there than on new images."""


@dataclass(frozen=True)
class Arguments(Generic[C, I]):
    """The flags of ``jaxdnn sweep``: the workflow's own, the seeds, and files."""

    config: C
    inputs: I
    files: Files
    machine: startup.Machine

    seeds: str = "8"
    """How many (32 for 0 to 31), a list (3,5,8), or a range (5:9).
    Every setting is trained with every seed."""

    batch_order: Literal["auto", "shared", "independent"] = "auto"
    """Whether all networks see the batches of the first seed, or each those of its own seed.
    By default shared on a GPU, where one batch is gathered for all, and independent on a CPU."""

    chunk: int | None = None
    """Networks trained at a time, at most; by default as many as memory holds."""


def run(workflow_id: str, words: Sequence[str], interruption: Interruption) -> None:
    """Parse a sweep's flags, train its networks, and write the requested files.

    Args:
      workflow_id: one of `jaxdnn.runs.catalogue.LONG`, whose ``fit(key, config, data)`` is vmapped.
      words: the command line after it.
      interruption: handles signals while a compiled program runs.

    Raises:
      JaxdnnError: a flag, a file or the data is invalid.
      OSError: an output file could not be written; the others have been.
      MemoryError: not even one network fits into memory.
      SystemExit: a flag is unknown, or help was requested.
    """
    if workflow_id not in catalogue.LONG:
        raise ConfigError(f"{workflow_id} cannot be swept; {' and '.join(catalogue.LONG)} can.")
    workflow, report = catalogue.WORKFLOWS[workflow_id], catalogue.report(workflow_id)
    texts, others = _values(report, words)
    arguments = _parse(workflow, report, others)
    networks = grid(arguments.config, texts, arguments.seeds)
    if arguments.chunk is not None and arguments.chunk < 1:
        raise ConfigError(f"--chunk must be at least 1; got {arguments.chunk}.")
    paths = {name: path for name, path in vars(arguments.files).items() if path is not None}
    outputs.check(paths, arguments.inputs.files())

    import jax

    from jaxdnn.cli import terminal
    from jaxdnn.runs import ensemble
    from jaxdnn.runtime.device import device_and_precision

    ensemble.use_every_core(networks.networks)
    startup.start(arguments.machine)
    console = terminal.console()
    with terminal.download_bars(console) as bars:
        data, source = arguments.inputs.load(networks.seeds[0], bars)
    _require_room(networks, len(data.train_labels))
    device, precision = device_and_precision()
    console.print(f"sweep of {workflow_id} on {device}, {precision}, {source}", markup=False)

    shared = arguments.batch_order == "shared" or (
        arguments.batch_order == "auto" and jax.default_backend() != "cpu"
    )
    shuffle_key = jax.random.split(jax.random.key(networks.seeds[0]))[0] if shared else None
    seeds, configs = networks.arrays()

    with terminal.Tally(console) as tally:

        def plan(at_a_time: int) -> None:
            console.print(_plan(networks, at_a_time, shared=shared), markup=False)
            tally.start(networks.networks, doing="training")

        def count(done: int, new: int) -> None:
            tally.advance(f"{done} networks", by=new)

        trained = interruption.wait_for(
            lambda: ensemble.train_ensemble(
                catalogue.lesson(workflow_id).fit,
                seeds,
                configs,
                data,
                shuffle_key=shuffle_key,
                chunk=arguments.chunk,
                on_plan=plan,
                on_chunk=count,
                on_shortage=lambda text: console.print(text, markup=False),
            )
        )
    trained = sweep_results.exact(trained, test_samples=len(data.test_labels))
    if not trained.finite.any():
        paths.pop("checkpoint", None)  # there is no best network
    settings = list(sweep_results.summarise(networks, trained))
    about = {
        "workflow": workflow_id,
        "device": device,
        "precision": precision,
        "data_source": source,
        "batch_order": "shared" if shared else "independent",
        "chunks": list(trained.chunks),
        "compile_seconds": trained.compile_seconds,
        "train_seconds": trained.train_seconds,
    }
    written, failures = _write(workflow, networks, trained, settings, about, paths)
    _report(console, networks, trained, settings)
    for description, path in written:
        console.print(f"{description} in {path}", markup=False)
    if failures:
        raise OSError("; ".join(failures))


def _values(report: Report, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the values of hyperparameters, as texts, from the rest of the command line.

    A configuration holds one number of each; `grid` parses the texts and makes the combinations.
    """
    import tyro

    fields = [(name, str | None, None) for name in _hyperparameters(report)]
    found, others = tyro.cli(
        dataclasses.make_dataclass("Values", fields),
        args=list(words),
        return_unknown_args=True,
        add_help=False,
    )
    return {name: text for name, text in vars(found).items() if text is not None}, others


def _hyperparameters(report: Report) -> list[str]:
    """The fields that a sweep can vary."""
    return [name for name, value in vars(report.Config()).items() if isinstance(value, float)]


def _parse(workflow: Workflow, report: Report, words: Sequence[str]) -> Arguments:
    import tyro

    from jaxdnn.cli import flags

    numbers = ", ".join(f"--{name.replace('_', '-')}" for name in _hyperparameters(report))
    return tyro.cli(
        Arguments[report.Config, report.Inputs],
        prog=f"jaxdnn sweep {workflow.id}",
        description=f"{workflow.title}: many networks as one program. Every combination of the "
        "values is trained with every seed.\n\n"
        f"{numbers} take\n"
        "  a number                                     0.1\n"
        "  several                                      0.003,0.01,0.1\n"
        "  a range with both ends, FROM:TO:COUNT        0:0.9:10\n"
        "  the same in equal ratios, FROM:TO:COUNTlog   0.003:0.3:8log",
        args=list(words),
        default=Arguments(
            report.Config(),
            report.Inputs(),
            Files(plot=Path(f"sweep-{workflow.id}.png")),
            startup.Machine(),
        ),
        registry=flags.hyperparameters("VALUES"),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _require_room(networks: Grid, samples: int) -> None:
    """Raise ConfigError if the losses of all networks do not fit into memory."""
    import jax

    from jaxdnn.runtime.memory import host_free_bytes

    steps = networks.config.epochs * -(-samples // networks.config.batch_size)
    size = np.dtype(jax.dtypes.canonicalize_dtype(float)).itemsize
    needed, free = size * networks.networks * steps, host_free_bytes()
    if 3 * needed > free:  # by chunk, concatenated, and converted for the plot
        raise ConfigError(
            f"The losses of {networks.networks:,} networks of {steps:,} steps take "
            f"{needed / 1e9:,.1f} GB, more than the {free / 1e9:,.1f} GB of free memory allow; "
            "sweep fewer values, seeds or epochs."
        )


def _plan(networks: Grid, at_a_time: int, *, shared: bool) -> str:
    count, seeds = networks.networks, len(networks.seeds)
    text = f"{count:,} network{'s' * (count > 1)}"
    if networks.settings > 1:
        text += f": {networks.settings:,} settings of {', '.join(networks.varied)}"
        text += f", {seeds:,} seed{'s' * (seeds > 1)} each" if seeds > 1 else ""
    if at_a_time < count:
        text += f"; {-(-count // at_a_time):,} chunks of {at_a_time:,}"
    return text + (f"; batches of seed {networks.seeds[0]} for all" if shared else "")


def _write(
    workflow: Workflow,
    networks: Grid,
    trained: "Ensemble",
    settings: list[sweep_results.Setting],
    about: dict[str, Any],
    paths: dict[str, Path],
) -> tuple[list[tuple[str, Path]], list[str]]:
    """Write the requested files, the checkpoint first."""
    from jaxdnn.runs import plots

    def write_checkpoint(path: Path) -> None:
        outputs.save_network(
            path,
            trained.params,
            workflow=workflow.id,
            config=sweep_results.settings_of(networks, trained.best),
            preprocessing={"outputs": "digits"},
        )

    def write_plot(path: Path) -> None:
        seeds = len(networks.seeds)
        losses, accuracies = map(np.asarray, trained.history)
        curves = [
            plots.Curves(
                sweep_results.label(setting.values) or "all seeds",
                losses[i * seeds : (i + 1) * seeds].reshape(seeds, -1),
                accuracies[i * seeds : (i + 1) * seeds],
            )
            for i, setting in enumerate(settings)
        ]
        plots.save(plots.sweep_figure(curves, title=workflow.title), path)

    return outputs.write(
        paths,
        {
            "checkpoint": ("checkpoint of the best network", write_checkpoint),
            "json": (
                "measurements",
                lambda path: sweep_results.write_json(path, networks, trained, settings, about),
            ),
            "plot": ("picture", write_plot),
        },
    )


def _report(
    console: Any, networks: Grid, trained: "Ensemble", settings: Sequence[sweep_results.Setting]
) -> None:
    from jaxdnn.cli import terminal

    terminal.show_sweep(console, settings)
    values = networks.values(trained.best // len(networks.seeds))
    which = sweep_results.label({**values, "seed": networks.seed_of(trained.best)})
    accuracy = np.asarray(trained.history.test_accuracy)[trained.best, -1]
    if trained.finite[trained.best]:
        console.print(f"best network: {which}, test accuracy {accuracy:.2%}", style="bold")
    else:
        console.print("every network diverged: none is the best; lower lr", style="bold")
    console.print(
        f"compiling {trained.compile_seconds:.1f} s, training {trained.train_seconds:.1f} s "
        f"({trained.train_seconds / networks.networks:.3g} s a network)"
    )
