"""Docstrings, notes and formulas as HTML."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from latex2mathml.converter import convert
from markupsafe import Markup, escape

__all__ = ["Docstring", "display", "docstring", "inline", "mathml"]

_SECTIONS = ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:", "Example:", "Reference:")

_INLINE = re.compile(
    r"``(?P<code>.+?)``|:math:`(?P<math>.+?)`|`(?P<link>[^`]+?) <(?P<url>[^>]+)>`_|`(?P<name>.+?)`",
    re.DOTALL,
)


class Docstring(NamedTuple):
    """A docstring in two parts.

    Attributes:
      prose: its paragraphs and formulas, as HTML.
      sections: what follows from the first ``Args:`` or ``Example:`` on, as it stands; may be
        empty.
    """

    prose: Markup
    sections: str


def mathml(latex: str, *, block: bool = False) -> Markup:
    r"""A formula as MathML.

    Args:
      latex: the formula.
      block: whether it stands on its own line.

    Example:
      >>> mathml("x^2")  # doctest: +ELLIPSIS
      Markup('<math ...<msup><mi>x</mi><mn>2</mn></msup>...</math>')
    """
    return Markup(convert(latex, display="block" if block else "inline"))


def display(latex: str) -> Markup:
    """A formula on its own line, in a box that scrolls if it is too wide."""
    box = Markup('<div class="formula scroll" role="group" aria-label="Formula">{}</div>')
    return box.format(mathml(latex, block=True))


def inline(text: str) -> Markup:
    """One paragraph's markup: ``code`` in double or single backticks, and ``:math:``.

    Example:
      >>> inline("``x`` is squared")
      Markup('<code>x</code> is squared')
    """
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[end : found.start()]))
        parts.append(_marked(found))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def _marked(found: re.Match[str]) -> Markup:
    if (formula := found["math"]) is not None:
        return mathml(formula)
    if (url := found["url"]) is not None:
        return Markup('<a href="{}">{}</a>').format(url, found["link"])
    return Markup("<code>{}</code>").format(found["code"] or found["name"])


def docstring(text: str) -> Docstring:
    r"""Split a docstring into prose and sections, and render the prose.

    Args:
      text: a cleaned docstring, without indentation.

    Example:
      >>> docstring("Twice ``x``.\n\nExample:\n  >>> 2").sections
      'Example:\n  >>> 2'
    """
    lines = text.strip().splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() in _SECTIONS]
    cut = starts[0] if starts else len(lines)
    prose = Markup("\n").join(_paragraphs("\n".join(lines[:cut]).strip()))
    return Docstring(prose, "\n".join(lines[cut:]).strip())


def _paragraphs(text: str) -> Iterator[Markup]:
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        if paragraph.startswith(".. math::"):
            yield display(" ".join(paragraph.removeprefix(".. math::").split()))
        elif paragraph.startswith("- "):
            items = re.split(r"^- ", paragraph, flags=re.MULTILINE)[1:]
            entries = (Markup("<li>{}</li>").format(inline(item.strip())) for item in items)
            yield Markup("<ul>{}</ul>").format(Markup("").join(entries))
        else:
            yield Markup("<p>{}</p>").format(inline(" ".join(paragraph.split())))
