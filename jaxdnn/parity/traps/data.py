"""Mistakes in the data and in the precision."""

from jaxdnn.parity.traps.trap import Trap

__all__ = ["TRAPS"]

TRAPS: dict[str, Trap] = {
    "batch-order": Trap(
        "data",
        "the port sees the same rows in another order",
        "torch's permutation",
        "its own",
        "exchange indices, never seeds",
    ),
    "last-batch": Trap(
        "data",
        "one side leaves out a last batch that is not full, or pads it",
        "drop_last=False keeps a shorter last batch",
        "it is dropped or filled up",
        "keep it; its mean counts for fewer examples",
    ),
    "reduced-precision": Trap(
        "precision",
        "the port converts to a type with fewer bits on the way",
        "the type of the parameters throughout",
        "bfloat16, float16 or float32 in between",
        "take the conversion out, or accept that the port is another computation",
    ),
}
