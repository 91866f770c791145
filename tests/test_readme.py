"""The README's example runs as written."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from jaxdnn.data.mnist import MNIST

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_example_runs_and_prints_what_it_promises(mnist_data: MNIST) -> None:
    [example] = re.findall(r"<!-- example -->\n```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 20
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, "README.md", "exec"), {})
    first, second, third = output.getvalue().splitlines()
    trained = re.fullmatch(r"test accuracy (\d\d\.\d)% after 938 steps", first)
    assert trained
    assert float(trained[1]) > 90
    accuracies = [float(number) for number in re.findall(r"(\d\d\.\d)%", second)]
    assert len(accuracies) == 2
    assert min(accuracies) > 90
    assert "'net.1.weight': (512, 784)" in third


@pytest.mark.parametrize("command", ["run", "test"])
def test_commands_are_one_line_each(command: str) -> None:
    [block] = re.findall(rf"<!-- command: {command} -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert block.count("\n") == 1
    assert block.startswith("python3 -m venv .venv && ")


def test_port_example_finds_what_it_promises() -> None:
    [example] = re.findall(r"<!-- example: port -->\n```python\n(.*?)```", README, re.DOTALL)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(example, "README.md", "exec"), {})
    verdict, divergence, trap = output.getvalue().splitlines()
    assert verdict == "fail"
    assert divergence.startswith("step 0, param 0.weight")
    assert trap == "adamw-default-decay"
