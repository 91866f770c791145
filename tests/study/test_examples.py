"""The short programs: each runs, and those that should fail do."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from jaxdnn.study import examples
from jaxdnn.study.examples import Program

FAILING = {
    "backward_mistake": "TypeError: Gradient only defined for scalar-output functions",
    "branching": "jax.errors.TracerBoolConversionError",
    "donation": "RuntimeError: Array has been deleted",
    "item_mistake": "jax.errors.ConcretizationTypeError",
    "key_reuse": "jax.errors.KeyReuseError",
    "tracer_leak": "jax.errors.UnexpectedTracerError",
    "train_eval_mistake": "jax.errors.TracerBoolConversionError",
}

CONCEPTS = examples.pairs()

OURS = [program for concept in CONCEPTS for program in (concept.jax, concept.mistake)]
OURS += [*examples.gradients(), *examples.mistakes()]
THEIRS = [concept.torch for concept in CONCEPTS]


@pytest.fixture(scope="module")
def printed() -> Mapping[str, str]:
    ours, theirs = examples.execute(OURS), examples.execute(THEIRS)
    return {
        **{f"jax {program.name}": ours[str(program.path)] for program in OURS},
        **{f"torch {program.name}": theirs[str(program.path)] for program in THEIRS},
    }


@pytest.mark.slow
def test_programs_run_and_fail_as_they_should(printed: Mapping[str, str]) -> None:
    for name, output in printed.items():
        side, _, program = name.partition(" ")
        assert output, f"{name} prints nothing"
        expected = FAILING.get(program) if side == "jax" else None
        if expected is None:
            assert "Traceback" not in output, f"{name}:\n{output}"
        else:
            assert expected in output, f"{name}:\n{output}"
        assert "site-packages" not in output
        assert not re.search(r'File "/', output), output


@pytest.mark.slow
def test_three_ways_to_one_gradient(printed: Mapping[str, str]) -> None:
    outputs = {printed[f"jax {name}"] for name in examples.GRADIENTS}
    assert len(outputs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["zero_grad", "momentum_buffers", "accumulation"], ids=lambda name: name
)
def test_both_sides_compute_the_same(printed: Mapping[str, str], name: str) -> None:
    def decimals(output: str) -> list[float]:
        return [float(number) for number in re.findall(r"-?\d+\.\d+", output)]

    ours, theirs = (decimals(printed[f"{side} {name}"]) for side in ("jax", "torch"))
    assert ours
    assert ours == pytest.approx(theirs)


def test_every_file_is_listed() -> None:
    for programs in (OURS, THEIRS):
        for folder in {program.path.parent for program in programs}:
            listed = {program.path for program in programs if program.path.parent == folder}
            assert set(folder.glob("*.py")) == listed


@pytest.mark.parametrize("program", OURS + THEIRS, ids=lambda program: program.path.stem)
def test_programs_are_short_and_introduced(program: Program) -> None:
    lines = [line for line in program.code.splitlines() if line.strip()]
    assert 4 <= len(lines) <= 21
    assert program.lead.endswith(".")
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(program.code))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert ("torch" in imported) == (program in THEIRS)


def test_a_program_without_a_title_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "nameless.py"
    file.write_text('"""No colon."""\n\nprint(1)\n', encoding="utf-8")
    with pytest.raises(ValueError, match="title: sentence"):
        examples.read(file)
