"""How the command line reads and shows the hyperparameters of a workflow."""

from collections.abc import Callable
from typing import Any

__all__ = ["hyperparameters"]


def hyperparameters(metavar: str, read: Callable[[str], Any]) -> Any:
    """A registry for tyro that reads the fields of type `jaxdnn.workflows.config.Real`.

    Such a field may be a number or, in a sweep, an array; tyro has no rule for that.

    Args:
      metavar: what help calls the value.
      read: makes the value of a word of the command line.

    Returns:
      A registry for `tyro.cli`.
    """
    import tyro.constructors

    from jaxdnn.workflows.config import Real

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def parse_real(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type != Real:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=metavar,
            instance_from_str=lambda words: read(words[0]),
            is_instance=lambda value: isinstance(value, float),
            str_from_instance=lambda value: [str(value)],
        )

    return registry
