"""README and docs: their commands run as they are pasted, their links lead somewhere, and the names in them are there.

README's commands make a corpus, shards and a run; those of the other pages find them, as their readers do. A block that
can't be run here is marked in the line before it with what it needs.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [README, *sorted((REPOSITORY / "docs").glob("*.md"))]
ALL = [*PAGES, *(REPOSITORY / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
NEEDS = {"cluster": "Slurm", "gpu": "GPUs", "network": "downloads", "long": "minutes, or never ends by itself"}
NOT_COMMANDS = {"", "console", "mermaid"}

_BLOCK = re.compile(r"(?:^<!-- needs: (?P<needs>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


class Block(NamedTuple):
    language: str
    needs: str | None
    code: str


def blocks(page: Path) -> list[Block]:
    return [Block(m["language"], m["needs"], m["code"]) for m in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(page: Path, language: str) -> str:
    """The blocks that can be run, one after another, as in one terminal."""
    return "\n".join(block.code for block in blocks(page) if block.language == language and block.needs is None)


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def run_program(folder: Path, *command: str) -> str:
    """Output of a program in a user's environment: the virtual environment is on no path before it is activated."""
    env = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    env["PATH"] = os.pathsep.join(p for p in env["PATH"].split(os.pathsep) if Path(p) != Path(sys.executable).parent)
    env["PYTHONPATH"] = str(REPOSITORY)  # an editable installation may be of another folder
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        env.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def run_bash(folder: Path, script: str) -> str:
    """As in a terminal; the first command that fails ends it."""
    return run_program(folder, "bash", "-euo", "pipefail", "-c", script)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A folder like the repository's after `make demo`, in which commands may write."""
    folder = tmp_path_factory.mktemp("docs") / "checkout"
    folder.mkdir()
    for name in ("mere_ds", "ds_configs", "slurm", "examples", "tests", "pyproject.toml"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module")
def after_readme(checkout) -> tuple[Path, str]:
    """The folder after README's commands, and what they printed."""
    return checkout, run_bash(checkout, commands(README, "bash"))


@pytest.mark.slow
def test_readme_goes_from_a_corpus_to_triples(after_readme):
    folder, shown = after_readme
    assert (folder / "runs/a/checkpoints/stage2/best/model.safetensors").exists()
    assert "average" in shown
    assert '"text": "Anna Berg wurde in Köln geboren."' in shown.splitlines()[-1] and '"triples"' in shown


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in ALL if p != README], ids=lambda page: page.name)
def test_commands_run_as_they_are_pasted(after_readme, page):
    folder, _ = after_readme
    if script := commands(page, "bash"):
        run_bash(folder, f"source .venv/bin/activate\n{script}")
    if script := commands(page, "python"):
        run_bash(folder, f"source .venv/bin/activate\npython - <<'PYTHON'\n{script}\nPYTHON")


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_a_block_that_is_not_run_says_why(page):
    found = blocks(page)
    fences = re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.M)
    assert len(fences) == 2 * len(found), "every block is found: its fences are at the margin"
    for block in found:
        assert block.needs is None or block.needs in NEEDS
        assert block.language in {"bash", "python", *NOT_COMMANDS}
        assert block.needs or block.language in ("bash", "python") or not re.search(r"^\$ ", block.code, re.M)


@pytest.mark.slow
def test_examples_run(after_readme):
    folder, _ = after_readme
    (folder / "texts").write_text("Anna Berg wurde in Köln geboren.\nIn Kiel lebt Jan Ohm.\n", encoding="utf-8")
    shown = run_bash(
        folder,
        """source .venv/bin/activate
        python examples/train.py corpus tried tiny 3
        python examples/compare.py runs/a tried/run
        python examples/extract.py runs/a de < texts
        """,
    )
    comparison, triples = shown.splitlines()[-6:-2], shown.splitlines()[-2:]
    assert [line.split(":")[0] for line in comparison] == ["fr", "de", "ko", "average"]
    scores, heads, relations, tails = zip(*(line.split("\t") for line in triples), strict=True)
    assert float(scores[0]) >= float(scores[1]) and all((*heads, *relations, *tails))


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.name)
def test_tests_that_are_named_are_there(page):
    for name in re.findall(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)`", prose(page)):
        assert list((REPOSITORY / "tests").glob(name if "/" in name else f"**/{name}")), name
