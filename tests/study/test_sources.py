"""The lessons' sources: cut without loss, aligned as the mirror's test has them."""

import importlib.resources
from pathlib import Path

import pytest

import jaxdnn
from jaxdnn.runs import catalogue
from jaxdnn.study import examples, gather, pages, sources
from tests.test_boundary import OTHER_NAMES

WORKFLOWS = list(catalogue.WORKFLOWS)


def both(workflow_id: str) -> tuple[sources.Module, sources.Module]:
    torch, jax = (
        sources.module(gather.source(package, workflow_id))
        for package in ("reference_torch", "jaxdnn")
    )
    return torch, jax


@pytest.mark.parametrize("package", ["jaxdnn", "reference_torch"])
@pytest.mark.parametrize("workflow_id", WORKFLOWS)
def test_every_line_is_in_one_block_or_docstring(package: str, workflow_id: str) -> None:
    source = gather.source(package, workflow_id)
    module = sources.module(source)
    numbers = [n for block in module.blocks for n, line in block.lines.items() if line.strip()]
    assert len(numbers) == len(set(numbers))
    text = " ".join([module.doc, *(block.doc for block in module.blocks)]).split()
    for number, line in enumerate(source.splitlines(), 1):
        if number in numbers or not line.strip():
            continue
        words = line.replace('r"""', "").replace('"""', "").split()
        assert all(word in text for word in words), f"{number}: {line} is lost"


@pytest.mark.parametrize("workflow_id", WORKFLOWS)
def test_rows_keep_the_order_of_both_sides(workflow_id: str) -> None:
    torch, jax = both(workflow_id)
    rows = sources.rows(torch, jax)
    assert [block for row in rows for block in row.torch] == list(torch.blocks)
    assert [block for row in rows for block in row.jax] == list(jax.blocks)


@pytest.mark.parametrize("workflow_id", WORKFLOWS)
def test_definitions_of_one_name_are_twins(workflow_id: str) -> None:
    torch, jax = both(workflow_id)
    shared = {OTHER_NAMES.get(n, n) if n not in torch.names else n for n in jax.names} & torch.names
    twins = {row.torch[0].name for row in sources.rows(torch, jax) if row.twins}
    assert shared <= twins


def test_twins_are_those_of_the_mirror() -> None:
    assert {name: sources.counterpart(name) for name in OTHER_NAMES} == OTHER_NAMES


def test_local_names_are_no_links() -> None:
    code = (
        "def f(loss):\n    return loss(step)\n\n\ndef g(x):\n    step = 1\n    return loss, step\n"
    )
    html = sources.highlight(code, names={"loss", "step"}, side="jax")
    assert html.count('href="#jax-step"') == 1
    assert html.count('href="#jax-loss"') == 1
    assert html.striptags().replace("&#39;", "'") == " ".join(code.split())


@pytest.mark.parametrize("module", list(pages.text("notes")))
def test_every_note_is_about_a_definition(module: str) -> None:
    if module == "about":
        return
    [workflow_id] = [w.id for w in catalogue.WORKFLOWS.values() if w.module == module]
    names = {row.name for row in sources.rows(*both(workflow_id))}
    for name, note in pages.text("notes")[module].items():
        assert name in names
        assert note["about"] in pages.text("notes")["about"]


def test_every_kind_of_note_leads_to_a_concept() -> None:
    for about in pages.text("notes")["about"].values():
        assert about["concept"] in examples.CONCEPTS


def test_every_workflow_has_notes_and_equations() -> None:
    modules = {workflow.module for workflow in catalogue.WORKFLOWS.values()}
    assert set(pages.text("equations")) == modules
    assert set(pages.text("notes")) - {"about"} == modules


def test_the_texts_come_with_the_package() -> None:
    folder = importlib.resources.files("jaxdnn.study")
    assert Path(str(folder)) == Path(jaxdnn.__file__).parent / "study"
    for name in ("templates/base.html", "assets/study.css", "recorded.json", "text/notes.toml"):
        assert (folder / name).is_file()
