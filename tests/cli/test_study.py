"""The command ``jaxdnn study``: what it writes and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from jaxdnn import cli
from jaxdnn.cli import study
from jaxdnn.study import recording, site


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["study", *arguments])
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's settings are for its own process."""
    monkeypatch.setattr(study.startup, "prepare_environment", lambda machine: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")


def test_it_writes_a_site_and_says_where_to_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = site.build

    def two_pages(out: Path, **settings: Any) -> site.Built:
        return build(out, only=("index", "glossary"), **settings)

    monkeypatch.setattr(site, "build", two_pages)
    out = tmp_path / "pages"
    assert run("--out", str(out)) == 0
    assert (out / "index.html").is_file()
    assert f"open {out / 'index.html'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the folder of the pages with --out"),
        (["--out", "here", "--record", "there"], "Give the folder of the pages with --out"),
        (["--out", "here", "--data-dir", "."], "--data-dir is for --record"),
        (["--out", "file"], "is a file; name a folder."),
        (["--out", "full"], "holds files that no earlier study wrote"),
        (["--record", "full"], "is a folder; name a file in it."),
        (["--record", "missing/file"], "does not exist; create it first."),
    ],
)
def test_bad_input_ends_with_a_sentence_and_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("full").mkdir()
    Path("full", "thesis.tex").touch()
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxdnn: ")
    assert message in error
    assert "Traceback" not in error


def test_recording_needs_torch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda name: None)
    assert run("--record", str(tmp_path / "recorded.json")) == 2
    assert "--record needs torch" in capsys.readouterr().err


def test_recording_is_told_part_by_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(path: Path, *, data_dir: Path | None, on_part: Any) -> None:
        on_part("losses of lenet")
        path.touch()

    monkeypatch.setattr(recording, "record", record)
    file = tmp_path / "recorded.json"
    assert run("--record", str(file)) == 0
    assert capsys.readouterr().out.splitlines() == ["losses of lenet", f"recording in {file}"]
