"""The parts of the bench: their systems, and the rows of the table computed for them."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from bench_systems.figures import Measured, Row, compare, fastest, ratios, spread, values
from bench_systems.settings import Settings
from bench_systems.workers import System

__all__ = ["PARTS", "Part"]


class Part(NamedTuple):
    """A group of systems that are compared.

    Attributes:
      title: ``title(settings)``, the heading in the table.
      systems: the systems, which take turns.
      rows: ``rows(measured, settings)``, the rows of the table.
    """

    title: Callable[[Settings], str]
    systems: tuple[System, ...]
    rows: Callable[[Measured, Settings], list[Row]]


OURS, _EAGER = "jaxdnn", "torch eager"


def _epochs(settings: Settings) -> str:
    images = "" if settings.samples == 60_000 else f" of {settings.samples:,} images"
    return f"{settings.epochs} epoch{'s' * (settings.epochs > 1)}{images}"


def _beside(measured: Measured, theirs: str, ours: str) -> list[Row]:
    """The ratio of a system to another system of ours than the base of the part."""
    if theirs not in measured or ours not in measured:
        return []
    ratio = ratios(values(measured, theirs), values(measured, ours))
    return [Row(f"{theirs} / {ours}", ratio=ratio, of=f"{theirs} / {ours}")]


# MNIST DNN.

_DOCUMENTED = "torch, DataLoader of torchvision"


def _mnist_rows(measured: Measured, settings: Settings) -> list[Row]:
    gpu = settings.device == "gpu"
    targets = {
        _DOCUMENTED: 8.0,
        "flax nnx, documented loop": 1.5,
        "equinox, documented loop": 1.5,
        "keras on jax, fit": 1.5,
    }
    rows = compare(measured, base=OURS, targets={} if gpu else targets)
    rows += fastest(measured, among="torch", base=OURS, target=1.2 if gpu else 2.5)
    if gpu and OURS in measured and (settings.samples, settings.epochs) == (60_000, 5):
        seconds = spread(values(measured, OURS))
        label = f"{OURS}, five epochs"
        rows.append(Row(label, seconds, target=0.40, at_least=False, judged="value"))
    return rows


_MNIST = Part(
    lambda settings: f"MNIST DNN, {_epochs(settings)} with evaluation, compile excluded",
    (
        System(OURS, "jaxdnn_runs:train", ours=True),
        System("jaxdnn, one call an epoch", "jaxdnn_runs:train_by_epoch", ours=True),
        System("torch eager, preloaded", "torch_digits:eager"),
        System("torch eager, one thread", "torch_digits:eager_one_thread"),
        System("torch.compile, whole step", "torch_digits:compiled"),
        System("torch, CUDA graph of the whole step", "torch_digits:cuda_graph", devices=("gpu",)),
        System(
            "torch, CUDA graph of the compiled step",
            "torch_digits:compiled_cuda_graph",
            devices=("gpu",),
        ),
        System(_DOCUMENTED, "torch_digits:torchvision_loader"),
        System("torch, DataLoader of tensors", "torch_digits:data_loader"),
        System("flax nnx, documented loop", "flax_nnx_loop:prepare"),
        System("equinox, documented loop", "equinox_loop:prepare"),
        System("keras on jax, fit", "keras_fit:prepare"),
    ),
    _mnist_rows,
)


# The machine's own limit.

_PRODUCTS = ("matrix product by jax", "matrix product by torch")
_COPIES = ("memory by jax", "memory by torch")
_PARAMETERS = 575_050


def _limit_rows(measured: Measured, settings: Settings) -> list[Row]:
    from bench_systems.digits import BATCH_SIZE, epoch_gflop

    rows = []
    limits = {}
    for names, figure, unit in (
        (_PRODUCTS, "gflop_per_second", "GFLOP/s"),
        (_COPIES, "gb_per_second", "GB/s"),
    ):
        rates = {name: values(measured, name, figure) for name in names if name in measured}
        rows += [Row(name, spread(rate), unit) for name, rate in rates.items()]
        limits[figure] = max((max(rate) for rate in rates.values()), default=None)
    if OURS not in measured:
        return rows
    seconds = values(measured, OURS)
    steps = settings.epochs * -(-settings.samples // BATCH_SIZE)
    # Parameters and momentum, each read and written once per step: 4 passes of 4 bytes.
    traffic = steps * 4 * 4 * _PARAMETERS / 1e9
    work = settings.epochs * epoch_gflop(settings.samples)
    for label, amount, figure, unit, target in (
        ("matrix-product rate", work, "gflop_per_second", "GFLOP/s", 0.60),
        ("parameters' traffic (memory or cache)", traffic, "gb_per_second", "GB/s", None),
    ):
        limit = limits[figure]
        rates = [amount / time for time in seconds]
        rows.append(
            Row(
                f"{OURS}, MNIST DNN: {label}",
                spread(rates),
                unit,
                ratio=spread([rate / limit for rate in rates]) if limit else None,
                of=f"{label} / best measured",
                target=target if settings.device == "cpu" else None,
            )
        )
    return rows


_LIMIT = Part(
    lambda settings: f"The machine's limits, and the fraction reached in {_epochs(settings)}",
    (
        System(OURS, "jaxdnn_runs:train", ours=True),
        System(_PRODUCTS[0], "limits:jax_product"),
        System(_PRODUCTS[1], "limits:torch_product"),
        System(_COPIES[0], "limits:jax_copy"),
        System(_COPIES[1], "limits:torch_copy"),
    ),
    _limit_rows,
)


# The profile of a step.


def _profile_rows(measured: Measured, settings: Settings) -> list[Row]:
    from bench_systems.digits import BATCH_SIZE, epoch_gflop
    from bench_systems.step_profile import BETWEEN, IDLE, KINDS, PRODUCTS, SHARED

    if OURS not in measured:
        return []
    rows = []
    step = values(measured, OURS, "step")
    threads = [settings.threads * time for time in step]
    for kind in (*KINDS, SHARED, BETWEEN, IDLE):
        times = values(measured, OURS, kind)
        of = f"{kind} / all threads"
        rows.append(Row(kind, spread(times), "µs", ratio=ratios(times, threads), of=of))
    work = epoch_gflop(settings.samples) * BATCH_SIZE / settings.samples
    begun, shared = values(measured, OURS, PRODUCTS), values(measured, OURS, SHARED)
    rates = [work / (a + b) * 1e6 for a, b in zip(begun, shared, strict=True)]
    return [
        Row("a step, traced", spread(step), "µs"),
        *rows,
        Row(f"rate of a thread in {PRODUCTS} and shared parts", spread(rates), "GFLOP/s"),
    ]


_PROFILE = Part(
    lambda settings: "Time of the threads in a step of the MNIST DNN",
    (System(OURS, "step_profile:by_kind", ours=True, devices=("cpu",)),),
    _profile_rows,
)


# Whole processes.

_WARM = "jaxdnn, programs cached"


def _cold_rows(measured: Measured, settings: Settings) -> list[Row]:
    gpu = settings.device == "gpu"
    rows = compare(measured, base=OURS, targets={} if gpu else {_EAGER: 1.0})
    rows += _beside(measured, _EAGER, _WARM)
    for system, name, target in ((OURS, "first", None), (_WARM, "second", 0.3)):
        if system in measured:
            label = f"jaxdnn, compilation in the {name} process"
            compiling = spread(values(measured, system, "compile_seconds"))
            rows.append(Row(label, compiling, target=target, at_least=False, judged="value"))
    for system, turns in measured.items():
        if "peak_gb" in turns[0]:
            peak = spread(values(measured, system, "peak_gb"))
            target = 1.2 if system == OURS and settings.device == "cpu" else None
            label = f"{system}, peak memory"
            rows.append(Row(label, peak, "GB", target=target, at_least=False, judged="value"))
    return rows


_COLD = Part(
    lambda settings: f"MNIST DNN, {_epochs(settings)}, as a complete process",
    (
        System(OURS, "whole_processes:jaxdnn_cold", ours=True),
        System(_WARM, "whole_processes:jaxdnn_warm", ours=True),
        System(_EAGER, "whole_processes:torch_cold"),
    ),
    _cold_rows,
)


def _import_rows(measured: Measured, settings: Settings) -> list[Row]:
    beyond, jax = (spread(values(measured, OURS, name)) for name in ("seconds", "jax_seconds"))
    return [
        Row("import jax", jax),
        Row(
            "import jaxdnn.workflows.mnist_dnn, in addition",
            beyond,
            target=0.3,
            at_least=False,
            judged="value",
        ),
    ]


_IMPORT = Part(
    lambda settings: "Imports, each in a fresh process",
    (System(OURS, "whole_processes:imports", ours=True),),
    _import_rows,
)


# Many networks.

_AT_ONCE, _ALONE = "jaxdnn, at once", "jaxdnn, alone"
_EAGER_ALONE = "torch eager, alone"


def _sweep_rows(measured: Measured, settings: Settings) -> list[Row]:
    gpu = settings.device == "gpu"
    figure = "seconds_per_network"
    targets = {_EAGER_ALONE: 100.0} if gpu else {}
    rows = compare(measured, base=_AT_ONCE, figure=figure, targets=targets)
    if _AT_ONCE in measured:
        many = values(measured, _AT_ONCE, figure)
        rate = spread([1 / seconds for seconds in many])
        rows.append(Row(_AT_ONCE, rate, "networks/s"))
        if _ALONE in measured:
            rows.append(
                Row(
                    "jaxdnn, one of many networks against a single one",
                    ratio=ratios(many, values(measured, _ALONE, figure)),
                    of=f"{_AT_ONCE} / {_ALONE}",
                    target=None if gpu else 1.05,
                    at_least=False,
                )
            )
    return rows


_SWEEP = Part(
    lambda settings: f"{settings.networks} networks, {_epochs(settings)} each, seconds per network",
    (
        System(_AT_ONCE, "jaxdnn_runs:ensemble", ours=True),
        System(_ALONE, "jaxdnn_runs:alone", ours=True),
        System(_EAGER_ALONE, "torch_digits:eager_alone"),
        System("torch.func.vmap", "torch_digits:vmapped"),
    ),
    _sweep_rows,
)


# Small networks.


def _small(targets: Mapping[str, float]) -> Callable[[Measured, Settings], list[Row]]:
    return lambda measured, settings: compare(
        measured, base=OURS, targets=targets if settings.device == "cpu" else {}
    )


_COMPILING = "jaxdnn, compile included"


def _table_rows(measured: Measured, settings: Settings) -> list[Row]:
    rows = _small({_EAGER: 8.0})(measured, settings)
    return rows + _beside(measured, _EAGER, _COMPILING)


_TABLE = Part(
    lambda settings: "DNN on a table, 5,000 full-batch epochs",
    (
        System(OURS, "jaxdnn_runs:table", ours=True),
        System(_COMPILING, "jaxdnn_runs:table_compiling", ours=True),
        System(_EAGER, "torch_small:table"),
        System("torch.compile, whole step", "torch_small:table_compiled"),
    ),
    _table_rows,
)

_REGRESSION = Part(
    lambda settings: "Linear regression from scratch, 3 epochs",
    (
        System(OURS, "jaxdnn_runs:regression", ours=True),
        System(_EAGER, "torch_small:regression"),
        System("torch.compile, whole step", "torch_small:regression_compiled"),
    ),
    _small({_EAGER: 30.0}),
)


# Growth.


def _growth_rows(measured: Measured, settings: Settings) -> list[Row]:
    rows = []
    for axis, turns in measured.items():
        once = values(measured, axis, "1")
        for multiple in turns[0]:
            times = values(measured, axis, multiple)
            ratio = None
            if multiple != "1":
                work = [int(multiple) * seconds for seconds in once]
                ratio = ratios(times, work)
            rows.append(
                Row(
                    f"{multiple} x the {axis}",
                    spread(times),
                    ratio=ratio,
                    of=f"{multiple} x the {axis}" if ratio else "",
                )
            )
    return rows


_GROWTH = Part(
    lambda settings: "jaxdnn's time for 1, 2, 4 and 8 times the work (ratio 1: proportional)",
    (
        System("epochs", "jaxdnn_runs:by_epochs", ours=True),
        System("samples", "jaxdnn_runs:by_samples", ours=True),
        System("networks", "jaxdnn_runs:by_networks", ours=True),
    ),
    _growth_rows,
)

PARTS: dict[str, Part] = {
    "mnist": _MNIST,
    "limit": _LIMIT,
    "profile": _PROFILE,
    "cold": _COLD,
    "import": _IMPORT,
    "sweep": _SWEEP,
    "table": _TABLE,
    "regression": _REGRESSION,
    "growth": _GROWTH,
}
"""The parts, by their names in ``--only``."""
