"""The command ``jaxdnn sweep``: its grammar, what it shows and writes, what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import matplotlib.image
import numpy as np
import pytest

from jaxdnn import cli
from jaxdnn.data import mnist
from jaxdnn.data.mnist import MNIST
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue, checkpoint, ensemble, plots, prediction, sweep_results
from jaxdnn.runs.grid import grid, parse_numbers, parse_seeds
from jaxdnn.training import History
from jaxdnn.workflows import mnist_dnn

SMALL = ["--epochs", "2", "--batch-size", "64"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["sweep", *arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture
def few(mnist_data: MNIST, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MNIST:
    """Some digits in the place of all, an empty folder, and JAX's settings as they were."""
    data = MNIST(*(array[:200] for array in mnist_data))
    monkeypatch.setattr(mnist, "load", lambda *_, **__: (data, "a test"))
    monkeypatch.setattr("jaxdnn.runtime.startup.start", lambda machine: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return data


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", [0.1]),
        ("1e-3", [0.001]),
        ("0.003,0.01,0.1", [0.003, 0.01, 0.1]),
        ("0.1, 0.01", [0.1, 0.01]),
        ("0:0.9:10", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        ("0.9:0:4", [0.9, 0.6, 0.3, 0.0]),
        ("0.001:0.1:3log", [0.001, 0.01, 0.1]),
        ("0.003:0.3:2log", [0.003, 0.3]),
    ],
)
def test_numbers(text: str, values: list[float]) -> None:
    assert parse_numbers(text, option="--lr") == values


def test_log_range_has_equal_ratios_and_both_ends() -> None:
    values = parse_numbers("0.003:0.3:8log", option="--lr")
    assert (values[0], values[-1], len(values)) == (0.003, 0.3, 8)
    ratios = np.divide(values[1:], values[:-1])
    np.testing.assert_allclose(ratios, 100 ** (1 / 7), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "give a number, several"),
        ("fast", "give a number, several"),
        ("0.1,,0.2", "give a number, several"),
        ("0.1:0.2", "give a number, several"),
        ("0.1:0.2:3:4", "give a number, several"),
        ("0.1:0.2:three", "give a number, several"),
        ("0.1:0.2:3.5", "give a number, several"),
        ("0.1:0.2:3lin", "give a number, several"),
        ("0.1:0.2:-3", "give a number, several"),
        ("a:0.2:3", "give a number, several"),
        ("0.1:0.2:1", "so at least 2 numbers"),
        ("0.1:0.2:0", "so at least 2 numbers"),
        ("0:1:5log", "stays above 0"),
        ("-1:1:5log", "stays above 0"),
        ("1:0:5log", "stays above 0"),
        ("0:inf:5", "finite ends"),
        ("0:nan:5log", "finite ends"),
        ("0:1:99999999999", "at most 10,000,000 networks"),
        ("0.1,0.2,0.1", "0.1 comes twice"),
        ("0.1:0.1:3", "0.1 comes twice"),
    ],
)
def test_numbers_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match="--lr") as error:
        parse_numbers(text, option="--lr")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", [0]),
        ("4", [0, 1, 2, 3]),
        ("3,5,8", [3, 5, 8]),
        ("5:9", [5, 6, 7, 8, 9]),
        ("7:7", [7]),
        ("2147483647:2147483647", [2**31 - 1]),
    ],
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "leaves no network"),
        ("9:5", "leaves no network"),
        ("-1", "give how many"),
        ("1.5", "give how many"),
        ("all", "give how many"),
        ("", "give how many"),
        ("1,", "give how many"),
        ("1:2:3", "give how many"),
        ("3,3", "3 comes twice"),
        ("1,2147483648", "at most 2147483647"),
        ("5:2147483648", "at most 2147483647"),
        ("2147483647", "at most 10,000,000 networks"),
    ],
)
def test_seeds_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match="--seeds") as error:
        parse_seeds(text)
    assert says in str(error.value)


def test_grid_is_every_combination_with_every_seed() -> None:
    found = grid(mnist_dnn.Config(epochs=3), {"momentum": "0,0.9", "lr": "0.1:0.3:3"}, "5,7")
    assert (found.settings, found.networks) == (6, 12)
    seeds, configs = found.arrays()
    assert configs.epochs == 3
    rows = list(
        zip(seeds.tolist(), configs.lr, configs.momentum, configs.weight_decay, strict=True)
    )
    assert len(set(rows)) == 12
    for number, (seed, lr, momentum, decay) in enumerate(rows):
        config = found.config_of(number)
        assert (found.seed_of(number), config.lr, config.momentum) == (seed, lr, momentum)
        assert config.weight_decay == decay == 0
    assert [found.values(i)["lr"] for i in range(3)] == [0.1, 0.2, 0.3]


def test_a_million_networks_are_accepted() -> None:
    found = grid(mnist_dnn.Config(), {"lr": "0.1:1:1000"}, "1000")
    assert found.networks == 10**6
    assert all(leaf.shape == (10**6,) for leaf in jax.tree.leaves(found.arrays()[1]))
    with pytest.raises(ConfigError, match="100,000,000 networks; a sweep has at most"):
        grid(mnist_dnn.Config(), {"lr": "0.1:1:10000"}, "10000")


@pytest.mark.parametrize(
    "workflow_id", ["mnist-dnn", pytest.param("lenet", marks=pytest.mark.slow)]
)
def test_sweep_leaves_what_it_computed(
    workflow_id: str, few: MNIST, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "sweep.json", "--checkpoint", "best"]
    arguments = [*SMALL, "--lr", "0.02,0.2", "--seeds", "3,5", "--weight-decay=1e-4", *files]
    assert run(workflow_id, *arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0] == f"sweep of {workflow_id} on cpu, float32, MNIST from a test"
    assert lines[1] == "4 networks: 2 settings of lr, 2 seeds each"
    assert max(map(len, lines)) <= 80
    assert {path.name for path in Path().iterdir()} == {
        "sweep.json",
        "best",
        f"sweep-{workflow_id}.png",
    }
    assert matplotlib.image.imread(f"sweep-{workflow_id}.png").shape[:2] == (690, 1800)

    found = json.loads(Path("sweep.json").read_text(), parse_constant=pytest.fail)
    module = catalogue.lesson(workflow_id)
    assert found["batch_order"] == "independent"
    assert found["chunks"] == [4]
    settings = [
        (network["config"]["lr"], network["config"]["seed"]) for network in found["networks"]
    ]
    assert settings == [(0.02, 3), (0.02, 5), (0.2, 3), (0.2, 5)]
    assert len({str(network["losses"]) for network in found["networks"]}) == 4
    for network in found["networks"]:
        config = module.Config(**{k: v for k, v in network["config"].items() if k != "seed"})
        key = jax.random.key(network["config"]["seed"])
        _, history = jax.jit(module.fit)(key, config, few)
        np.testing.assert_allclose(network["losses"], np.ravel(history.losses), rtol=1e-4)
        assert len(network["losses"]) == 8
        assert len(network["test_accuracy_by_epoch"]) == 2
        assert network["test_accuracy"] == network["test_accuracy_by_epoch"][-1]

    last = np.array([network["test_accuracy"] for network in found["networks"]]).reshape(2, 2)
    for setting, accuracies in zip(found["settings"], last, strict=True):
        assert setting["mean"] == pytest.approx(accuracies.mean())
        assert setting["spread"] == pytest.approx(accuracies.std(ddof=1))
        assert (setting["lowest"], setting["highest"]) == (accuracies.min(), accuracies.max())
        row = next(line for line in lines if line.split()[:1] == [f"{setting['values']['lr']:g}"])
        assert f"{setting['mean']:.2%}" in row
    winner = found["winner"]
    assert last.ravel()[winner["network"]] == last.max()
    assert winner["config"] == found["networks"][winner["network"]]["config"]
    assert f"seed {winner['config']['seed']}, test accuracy {last.max():.2%}" in captured.out

    metadata = checkpoint.read_metadata("best")
    assert metadata["workflow"] == workflow_id
    assert metadata["config"] == winner["config"]
    network = prediction.load("best")
    right = np.asarray(network.apply(few.test_images)).argmax(-1) == few.test_labels
    assert right.mean() == pytest.approx(last.max())


@pytest.mark.slow
def test_shared_order_chunks_and_a_network_that_diverges(
    few: MNIST, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL, "--lr", "0.1,1e20", "--momentum", "0,0.9", "--seeds", "7:7"]
    arguments += ["--batch-order", "shared", "--chunk", "2", "--json", "a.json", "--plot", "a.svg"]
    assert run("mnist-dnn", *arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "4 networks: 4 settings of lr, momentum; 2 chunks of 2; batches of seed 7 for all" in (
        captured.out
    )
    found = json.loads(Path("a.json").read_text(), parse_constant=pytest.fail)
    assert found["chunks"] == [2, 2]
    assert found["batch_order"] == "shared"
    assert [network["diverged"] for network in found["networks"]] == [False, False, True, True]
    assert None in found["networks"][3]["losses"]
    assert found["winner"]["network"] < 2
    assert [setting["spread"] for setting in found["settings"]] == [None] * 4
    # The first seed's batches are its own.
    _, history = jax.jit(mnist_dnn.fit)(
        jax.random.key(7), mnist_dnn.Config(epochs=2, lr=0.1, momentum=0.0), few
    )
    losses = found["networks"][0]["losses"]
    np.testing.assert_allclose(losses, np.ravel(history.losses), rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("autograd",), "autograd cannot be swept; lenet and mnist-dnn can."),
        (("tabular-dnn", "--seeds", "3"), "tabular-dnn cannot be swept"),
        (("mnist-cnn",), "There is no workflow 'mnist-cnn'"),
        ((), "Missing from jaxdnn sweep"),
        (("mnist-dnn", "--lr", "0:1:5log"), "--lr 0:1:5log: a range of equal ratios stays above 0"),
        (("mnist-dnn", "--lr"), "Missing argument"),
        (("mnist-dnn", "--lr", "0.1,nan"), "lr must be finite and at least 0; got nan."),
        (("mnist-dnn", "--momentum=-0.5"), "momentum must be finite and at least 0; got -0.5."),
        (("mnist-dnn", "--initial-scale", "0:1:3"), "initial_scale must be above 0; got 0.0."),
        (("mnist-dnn", "--weight-decay", "1e39"), "weight_decay must be finite"),
        (("mnist-dnn", "--seeds", "0"), "that leaves no network"),
        (("mnist-dnn", "--chunk", "0"), "--chunk must be at least 1; got 0."),
        (("mnist-dnn", "--epochs", "1,2"), "invalid"),
        (("mnist-dnn", "--epochs", "0"), "epochs must be a whole number"),
        (("mnist-dnn", "--batch-order", "mine"), "batch-order"),
        (("mnist-dnn", "--learning-rate", "1"), "--learning-rate"),
        (("mnist-dnn", "--json", "/nowhere/a"), "/nowhere does not exist"),
        (("mnist-dnn", "--plot", "a.txt"), "name a file that ends in .png"),
        (("mnist-dnn", "--json", "a.png", "--plot", "./a.png"), "--json and --plot both name"),
        (
            ("mnist-dnn", "--lr", "0.1:1:1000", "--seeds", "9999", "--batch-size", "1"),
            "sweep fewer values, seeds or epochs",
        ),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], says: str, few: MNIST, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", captured.err + captured.out).split())
    assert says in said
    assert "Traceback" not in said
    assert not list(Path().iterdir())


def test_data_are_not_written_over(few: MNIST, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(next(iter(mnist.FILES)))
    file.write_text("digits")
    assert run("mnist-dnn", "--data-dir", ".", "--json", str(file)) == 2
    assert "is also an input" in capsys.readouterr().err
    assert file.read_text() == "digits"


def test_help_says_how(few: MNIST, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("mnist-dnn", "--help") == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for text in ("--lr VALUES", "FROM:TO:COUNTlog", "shared on a GPU", "Selected on the"):
        assert text in said


def test_many_settings_are_cut_to_the_best(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jaxdnn.cli import terminal

    monkeypatch.setenv("COLUMNS", "80")
    found = grid(mnist_dnn.Config(), {"lr": "0.01:1:60"}, "2")
    accuracies = np.linspace(0.1, 0.9, 120)[:, None]
    losses = np.linspace(2.3, 0.1, 120)[:, None, None] * np.ones((1, 1, 300))
    history: Any = History(losses, accuracies)  # type: ignore[arg-type]
    trained = ensemble.Ensemble(history, np.ones(120, bool), 119, {}, (120,), 0.0, 0.0)
    settings = list(sweep_results.summarise(found, trained))
    terminal.show_sweep(terminal.console(), settings)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 42
    assert lines[-1] == "and 20 settings that are worse"
    assert lines[-2].rstrip().endswith("best")
    assert settings[-1].best_seed == 1
    curves = [
        plots.Curves(f"lr {i}", losses[2 * i : 2 * i + 2, 0], accuracies[2 * i : 2 * i + 2])
        for i in range(60)
    ]
    plots.save(plots.sweep_figure(curves, title="many"), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.fixture
def shuffle_keys(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trains nothing: every network diverges. The shuffle keys that were given."""
    given: list[Any] = []

    def train(fit: Any, seeds: Any, *_: Any, shuffle_key: Any, **__: Any) -> ensemble.Ensemble:
        given.append(shuffle_key)
        networks = len(seeds)
        arrays: Any = np.full((networks, 2, 4), np.nan), np.full((networks, 2), 0.1)
        params = {"net.1": {"bias": np.full(2, np.nan)}}
        diverged = np.zeros(networks, bool)
        return ensemble.Ensemble(History(*arrays), diverged, 0, params, (networks,), 0.0, 0.0)

    monkeypatch.setattr(ensemble, "train_ensemble", train)
    return given


@pytest.mark.parametrize(
    ("order", "shared"), [("auto", False), ("independent", False), ("shared", True)]
)
def test_batches_are_those_of_the_first_seed_or_of_each(
    order: str, shared: bool, few: MNIST, shuffle_keys: list[Any]
) -> None:
    """On a CPU, by default of each."""
    flags = ["--seeds", "7,5", "--batch-order", order, "--json", "a.json", "--plot", "None"]
    assert run("mnist-dnn", *SMALL, *flags) == 0
    [key] = shuffle_keys
    first = jax.random.split(jax.random.key(7))[0]
    assert (key == first) if shared else key is None
    found = json.loads(Path("a.json").read_text())
    assert found["batch_order"] == ("shared" if shared else "independent")


def test_without_a_best_network_there_is_no_checkpoint(
    few: MNIST, shuffle_keys: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "all.json", "--checkpoint", "best", "--plot", "None"]
    assert run("mnist-dnn", *SMALL, "--seeds", "2", *files) == 0
    assert "every network diverged: none is the best" in capsys.readouterr().out
    assert not Path("best").exists()
    assert json.loads(Path("all.json").read_text())["winner"] is None


@pytest.mark.slow
def test_of_networks_that_all_diverge_none_is_the_best(
    few: MNIST, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", "all.json", "--checkpoint", "best", "--plot", "None"]
    assert run("mnist-dnn", *SMALL, "--lr", "1e20", "--seeds", "2", *files) == 0
    assert "every network diverged: none is the best" in capsys.readouterr().out
    assert not Path("best").exists()
    found = json.loads(Path("all.json").read_text())
    assert found["winner"] is None
    assert [setting["best_seed"] for setting in found["settings"]] == [None]
