"""Parsing of hyperparameters as flags."""

from typing import Any

__all__ = ["hyperparameters"]


def hyperparameters(metavar: str) -> Any:
    """A registry for tyro that reads the fields of type `jaxdnn.workflows.config.Real`.

    Such a field is a number or, under vmap, an array; as a flag it is a number.

    Args:
      metavar: name of the value in the help text.

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
            instance_from_str=lambda words: float(words[0]),
            is_instance=lambda value: isinstance(value, float),
            str_from_instance=lambda value: [str(value)],
        )

    return registry
