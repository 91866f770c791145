"""The README's examples, run as a reader runs them, print what it says."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

DECIMAL = re.compile(r"\d+\.\d+(?:e[-+]?\d+)?")

END_OF_EXAMPLE = "\f"


def examples_of(section: str) -> list[tuple[str, str]]:
    """Every Python block with the block behind it, which has to be its output."""
    blocks = [*BLOCK.findall(section), ("", "")]
    examples = []
    for (language, code), (next_language, output) in itertools.pairwise(blocks):
        if language == "python":
            assert next_language == "text", f"the output of this example is not shown:\n{code}"
            examples.append((code, output))
    return examples


EXAMPLES = {
    section.partition("\n")[0]: examples
    for section in re.split(r"^## ", README, flags=re.MULTILINE)
    if (examples := examples_of(section))
}
"""By heading. The examples of a section follow each other like the cells of a notebook."""

SLOW = {("Use", 1), ("Check your own port", 2)}
"""One trains on MNIST; the other runs the first one again, to compare with its recording."""


@pytest.mark.parametrize(
    ("heading", "number"),
    [
        pytest.param(heading, i, marks=pytest.mark.slow if (heading, i) in SLOW else ())
        for heading, examples in EXAMPLES.items()
        for i in range(1, len(examples) + 1)
    ],
)
def test_examples_print_what_they_promise(
    heading: str,
    number: int,
    clean_environment: dict[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """In a process of their own: what the tests set must not help."""
    codes, promises = zip(*EXAMPLES[heading][:number], strict=True)
    if "mnist.load()" in codes[-1]:
        request.getfixturevalue("mnist_data")  # skips where there is none
    result = subprocess.run(
        [sys.executable, "-c", f"\nprint({END_OF_EXAMPLE!r})\n".join(codes)],
        env=clean_environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    for output, promised in zip(result.stdout.split(END_OF_EXAMPLE), promises, strict=True):
        assert words(output) == words(promised)
        # Another processor rounds otherwise, and a network trained on it classifies otherwise.
        assert decimals(output) == pytest.approx(decimals(promised), rel=0.01)


def words(output: str) -> list[str]:
    """What is printed but for its decimals and for where its lines are broken."""
    return DECIMAL.sub("#", output).split()


def decimals(output: str) -> list[float]:
    return [float(number) for number in DECIMAL.findall(output)]


def test_the_first_example_is_short() -> None:
    [(example, _)] = EXAMPLES["Use"]
    assert len([line for line in example.splitlines() if line]) <= 20


@pytest.mark.parametrize("command", ["run", "test"])
def test_commands_are_one_line_each(command: str) -> None:
    [block] = re.findall(rf"<!-- command: {command} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert block.count("\n") == 1
    assert block.startswith("python3 -m venv .venv && ")
