"""Every workflow in a notebook, where torch cannot be imported."""

import base64
import os

import jax.numpy as jnp
import nbclient
import nbformat
import numpy as np
import pytest

import jaxdnn
from jaxdnn.errors import ConfigError
from jaxdnn.runs import catalogue, notebook, plots, tables
from jaxdnn.training import History, TrainState

SMALL = {
    "gradient-descent": "lr=0.2",
    "two-layer-net": "epochs=3, as_printed=False",
    "momentum-sgd": "steps=2",
    "linear-regression": "samples=100, epochs=2",
    "lenet": "epochs=2, torch_seed=1",
    "sum-classifier": "epochs=20, samples=60",
    "tabular-dnn": "epochs=3, batch_size=128",
    "mnist-dnn": "epochs=2, lr=0.05, seed=4",
}

FIRST_CELL = """
import sys
sys.modules["torch"] = sys.modules["reference_torch"] = None  # an import of it fails
import jax, numpy as np
import jaxdnn
from jaxdnn.workflows import lenet
from jaxdnn.data import mnist
assert jaxdnn.workflows.lenet is lenet
numbers = np.random.default_rng(0)
images = numbers.integers(0, 256, (100, 28, 28), dtype=np.uint8)
few = mnist.MNIST(images, images[:, 0, 0] % 10, images[:50], images[:50, 0, 0] % 10)
mnist.load = lambda *_, **__: (few, "a test")
"""


IN_A_NOTEBOOK = pytest.mark.slow
"""A kernel of its own compiles every workflow anew."""


@pytest.fixture(scope="module")
def cells(clean_environment: dict[str, str]) -> dict[str, nbformat.NotebookNode]:
    """The executed cells: one for each workflow, and the lesson as it is advertised."""
    sources = {"first": FIRST_CELL}
    for workflow_id in catalogue.WORKFLOWS:
        settings = SMALL.get(workflow_id, "")
        sources[workflow_id] = f"jaxdnn.run({workflow_id!r}, {settings})"
    sources["lesson"] = "lenet.fit(jax.random.key(0), lenet.Config(), few)"
    sources["figure"] = "jaxdnn.run('two-layer-net', epochs=2).figure('by hand')"
    written = list(map(nbformat.v4.new_code_cell, sources.values()))
    notebook = nbformat.v4.new_notebook(cells=written)
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3")
    compiled = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" in name}
    client.execute(env=clean_environment | compiled)
    return dict(zip(sources, notebook.cells, strict=True))


@IN_A_NOTEBOOK
def test_every_workflow_shows_a_table_and_a_picture(
    cells: dict[str, nbformat.NotebookNode],
) -> None:
    for workflow in catalogue.WORKFLOWS.values():
        outputs = cells[workflow.id].outputs
        [result] = [output.data for output in outputs if output.output_type == "execute_result"]
        assert result["text/plain"].startswith(f"Result('{workflow.id}', seed=")
        assert len(result["text/plain"]) < 200
        page = result["text/html"]
        assert "<table>" in page
        assert ('<img alt="losses" src="data:image/png;base64,' in page) == (
            workflow.kind != "figures"
        )
        assert len(page) < 300_000
        assert not [o for o in outputs if o.output_type == "stream"], "warnings or noise"


@IN_A_NOTEBOOK
def test_bar_moves_to_its_end(cells: dict[str, nbformat.NotebookNode]) -> None:
    for workflow_id in ("mnist-dnn", "lenet"):
        outputs = cells[workflow_id].outputs
        [bar] = [o.data["text/plain"] for o in outputs if o.output_type == "display_data"]
        assert bar.startswith("█" * 30 + " 2/2  loss ")
        assert "test accuracy" in bar


@IN_A_NOTEBOOK
def test_documents_figures_are_beside_the_computed_ones(
    cells: dict[str, nbformat.NotebookNode],
) -> None:
    page = cells["data-loading"].outputs[-1].data["text/html"]
    numbers = "<td>-1.3346 ...</td><td>-1.3346 ...</td>"
    assert f"<td>000 In [102]</td>{numbers}<td>yes, all 64</td>" in page
    page = cells["gradient-descent"].outputs[-1].data["text/html"]  # another learning rate
    assert "004 In" not in page.partition("</table>")[0]
    assert "epoch  2  loss    1.4400  gradient 2.4000" in page


@IN_A_NOTEBOOK
def test_lesson_and_figure_are_small_to_look_at(cells: dict[str, nbformat.NotebookNode]) -> None:
    text = cells["lesson"].outputs[-1].data["text/plain"]
    assert "TrainState(61,706 parameters in 10 arrays)" in text
    assert "History(losses of shape (1, 2), test accuracy of shape (1,))" in text
    assert "image/png" in cells["figure"].outputs[-1].data


def test_page_has_all_of_a_result_escaped() -> None:
    figures = {"gradient_descent.one_weight": {"w": 2.0}, "a.<b>": {"c": 1.5}}
    headings = "".join(
        f"<th>{h}</th>" for h in ("figure", "", "printed in", "printed", "here", "same")
    )

    class Drawn(plots.Picture):
        def _repr_png_(self) -> bytes:
            return b"a picture" * 99

    page = notebook.result_html(
        "a < b",
        tables.rows(figures, as_documented=True),
        ["epoch < 1", "epoch 2"],
        ["first < remark", "second"],
        Drawn(),
    )
    first, second = (
        "".join(f"<td>{cell}</td>" for cell in cells)
        for cells in (
            ("one weight", "w", "004 In [57]", "2", "2", "yes"),
            ("&lt;b&gt;", "c", "", "", "1.5", ""),
        )
    )
    assert page.startswith("<p><b>a &lt; b</b></p>\n")
    assert f"<tr>{headings}</tr>" in page
    assert f"<tbody><tr>{first}</tr><tr>{second}</tr></tbody>" in page
    assert "<pre>epoch &lt; 1\nepoch 2</pre>" in page
    assert "<ul><li>first &lt; remark</li><li>second</li></ul>" in page
    image = base64.b64encode(b"a picture" * 99).decode()
    assert page.endswith(f'<img alt="losses" src="data:image/png;base64,{image}">')


def test_page_leaves_out_what_there_is_not() -> None:
    rows = tables.rows({"a.b": {"c": 1.5}}, as_documented=True)
    assert notebook.result_html("a", rows, [], [], None) == (
        "<p><b>a</b></p>\n<table><thead><tr><th>figure</th><th></th><th>here</th></tr></thead>"
        "<tbody><tr><td>b</td><td>c</td><td>1.5</td></tr></tbody></table>"
    )


def test_states_are_shown_by_their_sizes() -> None:
    state = TrainState({"w": np.zeros((30, 40)), "b": np.zeros(5)}, ())
    assert repr(state) == "TrainState(1,205 parameters in 2 arrays)"
    assert repr(History(jnp.zeros((2, 3)), None)) == "History(losses of shape (2, 3))"


@pytest.mark.parametrize(
    ("workflow_id", "settings", "message"),
    [
        ("mnist", {}, "There is no workflow 'mnist'; there are autograd, "),
        ("two-layer-net", {"learning_rate": 1.0}, "two-layer-net has no setting learning_rate"),
        ("two-layer-net", {"epochs": 0}, "epochs must be"),
        ("two-layer-net", {"seed": -1}, "seed must be"),
        (
            "momentum-sgd",
            {"batches": 7, "as_printed": False},
            "batches must divide the 500 samples",
        ),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    workflow_id: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        jaxdnn.run(workflow_id, **settings)  # type: ignore[arg-type]


def test_workflow_without_losses_has_no_figure() -> None:
    result = jaxdnn.run("autograd")
    with pytest.raises(ValueError, match="autograd has no losses to draw"):
        result.figure()
    with pytest.raises(ValueError, match="autograd trains nothing, so it has no losses"):
        result.losses  # noqa: B018
