"""What the README says can be pasted works: its Python runs in one go, its commands are there (examples run)."""

import pathlib
import re

import pytest

from sciml.__main__ import main

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(900)  # two minutes on a machine that does nothing else
def test_its_python_runs(tmp_path, monkeypatch, float32, capsys):
    """From top to bottom in one namespace, as a reader would paste it into one session, in jax's own precision."""
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for number, block in enumerate(_blocks("python")):
        exec(compile(block, f"README.md, block {number}", "exec"), names)
    assert names["data"].values.shape == (20, 11, 1, 64)
    assert names["result"].stats.skipped == 0
    assert len(_blocks("python")) >= 10


def test_its_commands_are_there(capsys):
    """Each `sciml VERB EXPERIMENT` of it is a verb and an experiment, and CI runs the very test command it gives."""
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    text = "\n".join(_blocks(""))
    for verb, experiment in re.findall(r"sciml (train|generate) (\S+)", text):
        assert verb in main.__globals__["__doc__"]
        assert experiment in listed
    assert "python -m pytest -n 2" in text
    assert "\npython -m pytest -n 2" in (ROOT / ".ci" / "run").read_text()


def test_its_pictures_and_files_are_there():
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README) + re.findall(
        r"`((?:examples|docs)/\S+?\.\w+)`", README
    ):
        assert (ROOT / path).is_file(), path
