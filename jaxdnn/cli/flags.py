"""How the command line reads and shows the hyperparameters of a workflow."""

from typing import Any

__all__ = ["real_parsers"]


def real_parsers(metavar: str) -> Any:
    """For tyro: a hyperparameter that may be an array in a sweep is a plain number as a flag.

    Args:
      metavar: what help calls the number.

    Returns:
      A registry for `tyro.cli`.
    """
    import tyro.constructors

    from jaxdnn.workflows.config import Real

    parsers = tyro.constructors.ConstructorRegistry()

    @parsers.primitive_rule
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

    return parsers
