"""The short programs of the study: which there are, and what they print.

`pairs` lists the notions of the concept map, each a program in torch, one in JAX, and a classic
mistake; `gradients` the three ways to one gradient; `mistakes` the programs that fail on purpose.
`execute` runs them, each side in a process of its own.
"""

import ast
import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CONCEPTS",
    "GRADIENTS",
    "MISTAKES",
    "Concept",
    "Program",
    "execute",
    "gradients",
    "mistakes",
    "pairs",
    "read",
]

CONCEPTS = (
    *("requires_grad", "backward", "accumulation", "zero_grad", "no_grad"),
    *("module", "sequential", "parameters", "state_dict"),
    *("optimizer_step", "momentum_buffers", "loop", "batch_dimension"),
    *("manual_seed", "data_loader", "random_split"),
    *("device", "train_eval", "item"),
)
"""The notions of the concept map, in the order in which the page has them."""

GRADIENTS = ("pytree", "linen", "nnx")
"""Three ways to the gradient of one network."""

MISTAKES = ("impurity", "retracing", "key_reuse", "tracer_leak", "branching", "donation")
"""Programs that fail, or go wrong without saying so."""

_HERE = Path(__file__).parent

_LIMIT_SECONDS = 300
"""All programs of one side take about ten seconds; a slow machine may take a while."""


class Program(NamedTuple):
    """A short program.

    Attributes:
      name: of its file.
      title: what its docstring's first line says before the colon.
      lead: the rest of that line.
      doc: the docstring's further paragraphs.
      code: the code without the docstring.
      path: the file.
    """

    name: str
    title: str
    lead: str
    doc: str
    code: str
    path: Path


class Concept(NamedTuple):
    """A notion of torch, its counterpart, and the mistake that is made in between."""

    torch: Program
    jax: Program
    mistake: Program


def read(path: Path) -> Program:
    """Read a program; its docstring begins with ``title: sentence``.

    Raises:
      ValueError: the file has no such docstring.
    """
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    first, _, doc = inspect.cleandoc(ast.get_docstring(tree) or "").partition("\n\n")
    title, colon, lead = " ".join(first.split()).partition(": ")
    if not colon:
        raise ValueError(f"{path} has no docstring of the form 'title: sentence'.")
    string = tree.body[0]
    lines = source.splitlines()[string.end_lineno :]
    return Program(path.stem, title, lead, doc, "\n".join(lines).strip("\n"), path)


def pairs() -> list[Concept]:
    """The concept map; torch's programs are text here, which needs no torch."""
    package = importlib.util.find_spec("reference_torch")
    assert package is not None
    assert package.origin is not None
    theirs = Path(package.origin).parent / "study" / "concepts"
    ours = _HERE / "concepts"
    return [
        Concept(
            read(theirs / f"{name}.py"),
            read(ours / f"{name}.py"),
            read(ours / f"{name}_mistake.py"),
        )
        for name in CONCEPTS
    ]


def gradients() -> list[Program]:
    """The three ways to one gradient."""
    return [read(_HERE / "gradients" / f"{name}.py") for name in GRADIENTS]


def mistakes() -> list[Program]:
    """The programs that fail on purpose."""
    return [read(_HERE / "mistakes" / f"{name}.py") for name in MISTAKES]


def execute(programs: Sequence[Program]) -> Mapping[str, str]:
    """Run programs in a new process, on the CPU, with none of this process's settings.

    Args:
      programs: of one framework.

    Returns:
      What each printed, by the path of its file.

    Raises:
      RuntimeError: the process itself failed.
    """
    files = [str(program.path) for program in programs]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_"))}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "default"}
    command = [sys.executable, "-m", "jaxdnn.study.execute", *files]
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_LIMIT_SECONDS
    )
    if result.returncode:
        raise RuntimeError(f"The examples could not be executed: {result.stderr[-2000:]}")
    return json.loads(result.stdout)
