"""How a result looks in a notebook."""

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxdnn.runs import tables

if TYPE_CHECKING:
    from jaxdnn.runs.plots import Picture

__all__ = ["result_html"]


def result_html(
    heading: str,
    rows: Sequence[tables.Row],
    epochs: Sequence[str],
    remarks: Sequence[str],
    picture: "Picture | None",
) -> str:
    """A result as HTML.

    Args:
      heading: what was run.
      rows: its figures.
      epochs: a line for each epoch shown.
      remarks: on mistakes of the document.
      picture: of its losses; None for none.
    """
    parts = [f"<p><b>{html.escape(heading)}</b></p>"]
    headings = ["figure", "", "printed in", "printed", "here", "same"]
    cells = [[r.entry, r.name, r.place, r.printed, r.here, r.same] for r in rows]
    if not any(row.figure for row in rows):
        headings, cells = ["figure", "", "here"], [[r.entry, r.name, r.here] for r in rows]
    parts.append(_table(headings, cells))
    if epochs:
        lines = "\n".join(epochs)
        parts.append(f"<pre>{html.escape(lines)}</pre>")
    if remarks:
        items = "".join(f"<li>{html.escape(remark)}</li>" for remark in remarks)
        parts.append(f"<ul>{items}</ul>")
    if picture is not None:
        encoded = base64.b64encode(picture._repr_png_()).decode()
        parts.append(f'<img alt="losses" src="data:image/png;base64,{encoded}">')
    return "\n".join(parts)


def _table(headings: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
