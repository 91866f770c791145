"""What each page shows: the lessons' sources, the measurements and the texts, ready to be laid out.

Each function returns the variables of one template.
"""

import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from markupsafe import Markup

from jaxdnn.parity import TRAPS
from jaxdnn.runs import catalogue, documented
from jaxdnn.runs.catalogue import Workflow
from jaxdnn.study import curves, examples, gather, numbers, prose, sources
from jaxdnn.study.examples import Program
from jaxdnn.study.sources import Block, Module, Row
from jaxdnn.verification.cases import TITLES

__all__ = ["concepts", "glossary", "index", "mistakes", "parity", "text", "workflow"]

_KINDS = {
    "loss": "Losses",
    "layer": "Layers",
    "optimizer": "Optimisers, clipping and accumulation",
    "schedule": "Learning-rate schedules",
    "initialisation": "Initialisation",
    "data": "Data",
    "precision": "Precision",
}

_PHASES = ("batch", "activation", "output", "loss", "grad", "optimizer", "param")


@cache
def text(name: str) -> Mapping[str, Any]:
    """A file of ``text/``, by its name without the ending."""
    file = importlib.resources.files("jaxdnn.study") / "text" / f"{name}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


def index() -> dict[str, Any]:
    """The first page: every workflow in two or three sentences."""
    entries = []
    for workflow in catalogue.WORKFLOWS.values():
        doc = sources.module(gather.source("jaxdnn", workflow.id)).doc
        reachable, printed = documented.count(workflow.family)
        entries.append(
            {
                "workflow": workflow,
                "about": prose.docstring(" ".join(_about(doc).split())).prose,
                "printed": printed,
                "reachable": reachable,
            }
        )
    pair = []
    for package in ("reference_torch", "jaxdnn"):
        module = sources.module(gather.source(package, "two-layer-net"))
        [step] = [block for block in module.blocks if block.name == "step"]
        pair.append(sources.highlight(step.code))
    return {"workflows": entries, "documents": catalogue.DOCUMENTS, "pair": pair}


def _about(doc: str) -> str:
    """A lesson's docstring for readers who see both sides: its mirror needs no mention."""
    without = re.sub(r"The mirror of `[\w.]+`(: read the two side by side)?\.\s*", "", doc)
    return re.sub(r"^There\b", "In torch", without, flags=re.MULTILINE)


def workflow(workflow_id: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """The page of a workflow.

    Args:
      workflow_id: a key of `jaxdnn.runs.catalogue.WORKFLOWS`.
      measured: the page's JSON, which `jaxdnn.study.site` gathers.
    """
    about = catalogue.WORKFLOWS[workflow_id]
    sides = {
        "torch": sources.module(gather.source("reference_torch", workflow_id)),
        "jax": sources.module(gather.source("jaxdnn", workflow_id)),
    }
    notes = text("notes")
    rows = sources.rows(sides["torch"], sides["jax"])
    # A row's anchor has the name of its JAX side; what has no twin has an anchor of its own.
    twins = {block.name: row.name for row in rows if row.twins for block in (*row.torch, *row.jax)}
    laid_out = [_row(row, sides, twins, notes.get(about.module, {})) for row in rows]
    ids = list(catalogue.WORKFLOWS)
    place = ids.index(workflow_id)
    equations = text("equations").get(about.module, [])
    return {
        "workflow": about,
        "doc": prose.docstring(_about(sides["jax"].doc).partition("\n\n")[2]).prose,
        "documents": {name: catalogue.DOCUMENTS[name] for name in about.documents},
        "module": about.module,
        "kinds": notes["about"],
        "preliminaries": [row for row in laid_out if row["kind"] != "definition"],
        "rows": [row for row in laid_out if row["kind"] == "definition"],
        "equations": [(e["name"], prose.display(e["latex"])) for e in equations],
        "figures": _figures(measured),
        "others": _others(measured),
        "remarks": [_remark(remark) for remark in measured["run"]["result"]["remarks"]],
        "curves": _curves(about, measured),
        "parity": _parity_rows(measured["parity"]["rows"], "/parity/rows"),
        "measured": measured,
        "linked": partial(numbers.linked, measured),
        "previous": catalogue.WORKFLOWS[ids[place - 1]] if place else None,
        "next": catalogue.WORKFLOWS[ids[place + 1]] if place + 1 < len(ids) else None,
    }


def _row(
    row: Row, sides: Mapping[str, Module], twins: Mapping[str, str], notes: Mapping[str, Any]
) -> dict[str, Any]:
    def cells(side: str, blocks: tuple[Block, ...]) -> list[dict[str, Any]]:
        found = []
        for block in blocks:
            doc = prose.docstring(block.doc)
            code = sources.highlight(
                block.code, names=sides[side].names - {block.name}, side=side, twins=twins
            )
            found.append(
                {
                    "name": block.name,
                    "doc": doc.prose,
                    "sections": doc.sections,
                    "code": code,
                    "extent": block.extent,
                }
            )
        return found

    note = notes.get(row.name)
    return {
        "name": row.name,
        "kind": row.kind,
        "twins": row.twins,
        "torch": cells("torch", row.torch),
        "jax": cells("jax", row.jax),
        "note": None if note is None else {**note, "html": prose.inline(note["text"])},
    }


def _remark(remark: str) -> Markup:
    return prose.inline(remark[:1].upper() + remark[1:].rstrip(".") + ".")


def _figures(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The printed figures with the pointers to their numbers."""
    found = []
    for i, figure in enumerate(measured["figures"]["rows"]):
        pointer = f"/figures/rows/{i}"
        listed = []
        if figure["size"] > 3:
            columns = [
                list(numbers.flatten(measured, f"{pointer}/{side}"))
                for side in ("printed", "jax", "torch")
                if figure[side] is not None
            ]
            for cells in zip(*columns, strict=True):
                place = cells[0][0].removeprefix(f"{pointer}/printed/").replace("/", ", ")
                differs = any(value != cells[0][1] for _, value in cells[1:])
                listed.append({"place": place, "cells": [c[0] for c in cells], "differs": differs})
        found.append({**figure, "pointer": pointer, "numbers": listed})
    return found


def _others(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a run computes that its document does not print."""
    printed = {(row["entry"], row["name"]) for row in measured["figures"]["rows"]}
    found = []
    for entry, figures in measured["run"]["result"]["figures"].items():
        for name, value in figures.items():
            if (entry, name) in printed:
                continue
            escaped = "/".join(part.replace("~", "~0").replace("/", "~1") for part in (entry, name))
            pointer = f"/run/result/figures/{escaped}"
            size = len(list(documented.numbers(value)))
            found.append({"entry": entry, "name": name, "pointer": pointer, "size": size})
    return found


def _curves(workflow: Workflow, measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for i, (row, data) in enumerate(measured["losses"]["rows"].items()):
        escaped = row.replace("/", "~1")
        found.append(
            {
                "name": TITLES[row],
                "picture": curves.picture(
                    data, title=f"{workflow.title}, {TITLES[row]}", identifier=f"curve-{i}"
                ),
                "steps": f"/losses/rows/{escaped}/steps",
                "float32": f"/losses/rows/{escaped}/float32/largest",
                "float64": f"/losses/rows/{escaped}/float64/largest",
            }
        )
    return found


def _parity_rows(rows: list[dict[str, Any]], pointer: str) -> list[dict[str, Any]]:
    """The rows of the parity table, a line for each precision."""
    found = []
    for i, row in enumerate(rows):
        for j, tier in enumerate(row["tiers"]):
            cells = [
                f"{pointer}/{i}/tiers/{j}/errors/{phase}" if phase in tier["errors"] else None
                for phase in _PHASES
            ]
            found.append(
                {
                    "workflow": row["workflow"],
                    "name": TITLES[row["row"]] if j == 0 else "",
                    "lines": len(row["tiers"]),
                    "first": j == 0,
                    "precision": tier["precision"],
                    "steps": f"{pointer}/{i}/tiers/{j}/steps",
                    "allowed": f"{pointer}/{i}/tiers/{j}/allowed",
                    "cells": cells,
                    "forms": f"{pointer}/{i}/forms" if row["forms"] is not None else None,
                    "verdict": row["verdict"],
                }
            )
    return found


def concepts(printed: Mapping[str, Any]) -> dict[str, Any]:
    """The concept map, and the three ways to one gradient.

    Args:
      printed: the page's JSON: ``concepts`` and ``gradients``, what each program printed.
    """
    found = []
    for concept in examples.pairs():
        name = concept.jax.name
        outputs = printed["concepts"][name]
        found.append(
            {
                "name": name,
                "torch": _program(concept.torch, outputs["torch"]),
                "jax": _program(concept.jax, outputs["jax"]),
                "mistake": _program(concept.mistake, outputs["mistake"]),
            }
        )
    ways = [_program(p, printed["gradients"][p.name]) for p in examples.gradients()]
    return {"concepts": found, "gradients": ways, "printed": printed}


def mistakes(printed: Mapping[str, Any]) -> dict[str, Any]:
    """The mistakes that run."""
    shown = [_program(p, printed["mistakes"][p.name]) for p in examples.mistakes()]
    return {"mistakes": shown, "printed": printed}


def _program(program: Program, output: str) -> dict[str, Any]:
    return {
        "name": program.name,
        "title": prose.inline(program.title),
        "plain_title": program.title.replace("`", ""),
        "lead": prose.inline(program.lead[:1].upper() + program.lead[1:]),
        "doc": prose.docstring(program.doc).prose,
        "code": sources.highlight(program.code),
        "output": output,
    }


def parity(measured: Mapping[str, Any]) -> dict[str, Any]:
    """The whole parity table with its environment, and the catalogue of mistakes."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for name, trap in TRAPS.items():
        entry = {"name": name, **trap._asdict()}
        kinds.setdefault(_KINDS[trap.kind], []).append(entry)
    return {
        "parity": _parity_rows(measured["parity"]["rows"], "/parity/rows"),
        "notes": [
            ({"workflow": row["workflow"], "name": TITLES[row["row"]]}, note)
            for row in measured["parity"]["rows"]
            for note in row["notes"]
        ],
        "figures": list(enumerate(measured["parity"]["figures"])),
        "titles": {w.id: w.title for w in catalogue.WORKFLOWS.values()},
        "measured": measured,
        "linked": partial(numbers.linked, measured),
        "kinds": kinds,
        "count": len(TRAPS),
    }


def glossary() -> dict[str, Any]:
    """The documents' terms."""
    terms = [{**term, "jax": prose.inline(term["jax"])} for term in text("glossary")["term"]]
    return {"terms": terms}
