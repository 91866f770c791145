"""Numbers on a page, each with its place in the JSON that the page was drawn from."""

from collections.abc import Callable, Iterator
from typing import Any

from markupsafe import Markup

from jaxdnn.runs.tables import number_text

__all__ = ["flatten", "linked", "resolve"]


def resolve(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer.

    Example:
      >>> resolve({"a/b": [1, 2]}, "/a~1b/1")
      2
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list) else document[name]
    return document


def flatten(document: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """The numbers at and below a pointer, with their own pointers."""
    value = resolve(document, pointer)
    if not isinstance(value, list):
        yield pointer, value
        return
    for i in range(len(value)):
        yield from flatten(document, f"{pointer}/{i}")


def linked(
    document: Any,
    pointer: str,
    show: Callable[[Any], str] = number_text,
    *,
    most: int | None = None,
) -> Markup:
    """The numbers at a pointer as ``data`` elements, which say where in the JSON they are.

    Args:
      document: the page's JSON.
      pointer: a number or a nested list of numbers.
      show: how one is written.
      most: of a longer list, show the first ones only.

    Example:
      >>> linked({"loss": [0.5]}, "/loss")
      Markup('<data value="0.5" data-from="/loss/0">0.5</data>')
    """
    found = list(flatten(document, pointer))
    shown = found if most is None else found[:most]
    element = Markup('<data value="{}" data-from="{}">{}</data>')
    parts = [element.format(repr(value), place, show(value)) for place, value in shown]
    if len(shown) < len(found):
        parts.append(Markup("…"))
    return Markup(" ").join(parts)
