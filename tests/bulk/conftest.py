"""A small model, and `mere-ds extract` in this process."""

import json
from pathlib import Path

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from tests.small_model import leave_run


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """A run whose model knows de, fr and pt-BR and gives one triple a text."""
    leave_run(folder := tmp_path_factory.mktemp("bulk") / "run")
    return folder


@pytest.fixture
def extract(run, capsysbinary):
    """Runs the command; gives what it printed. Whatever isn't its end with `code` fails, with what it said."""

    def extract(*argv, code: int = 0) -> str:
        ended = 0
        try:
            flags.run(COMMANDS, ["extract", str(run), *map(str, argv)], "mere-ds")
        except SystemExit as left:
            ended = left.code
        out, extract.said = (text.decode() for text in capsysbinary.readouterr())
        assert ended == code, extract.said
        if code:
            assert extract.said.count("\n") == 1, extract.said
        return out

    return extract


def answers(content: str | Path) -> list[dict]:
    text = content.read_text(encoding="utf-8") if isinstance(content, Path) else content
    return [json.loads(line) for line in text.split("\n")[:-1]]
