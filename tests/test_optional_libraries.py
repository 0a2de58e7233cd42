"""An installation without extras: what works, and what says which extra to install."""

import json
import re
import subprocess
import sys

import pytest

import mere_ds
from mere_ds.cli import COMMANDS
from mere_ds.errors import UserError
from mere_ds.optional_libraries import EXTRAS, from_import_error, needed

ABSENT = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(sum(EXTRAS.values(), ()))!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def bare(*argv, code=0):
    """What mere-ds prints and says where no library of an extra is installed."""
    return bare_python("from mere_ds.cli import main\nmain()", *argv, code=code)


def bare_python(program, *argv, code=0):
    """The same of a program in Python."""
    done = subprocess.run([sys.executable, "-c", ABSENT + program, *map(str, argv)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_help_needs_no_extra():
    shown = bare("--help")
    assert all(command in shown for command in COMMANDS)
    assert f"mere_ds {mere_ds.__version__}" in bare("--version")
    for command in ("extract", "train", "shard"):
        assert f"mere-ds {command} " in bare(command, "--help")


def test_corpora_are_made_read_and_converted_without_extras(tmp_path):
    corpus, converted = tmp_path / "corpus", tmp_path / "converted"
    made = json.loads(bare("synthesize", corpus, "--sentences=60", "--languages=de,fr"))
    assert made
    assert "de" in bare("inspect", corpus)
    bare("convert", corpus, converted)
    assert (converted / "de.train.jsonl").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("train", "--shards=none", "--run=run"),
        ("shard", "corpus", "shards", "--encoder=tiny"),
        ("pretrain-mtmb", "corpus", "--out=out"),
        ("download", "out"),
    ],
    ids=lambda argv: argv[0],
)
def test_a_command_without_its_extra_says_what_to_install(argv):
    (line,) = bare(*argv, code=2).splitlines()
    assert line.startswith("mere-ds: this needs ") and line.endswith("not installed: pip install 'mere-ds[train]'")


def test_the_component_for_spacy_says_what_to_install_where_it_is_imported():
    said = bare_python(
        """
from mere_ds import UserError
try:
    import mere_ds.spacy_component
except UserError as error:
    print(error)
"""
    )
    line = "the component for spaCy's pipelines needs spacy, which is not installed: pip install 'mere-ds[formats]'\n"
    assert said == line


@pytest.mark.parametrize("library", sorted({library for libraries in EXTRAS.values() for library in libraries}))
def test_each_missing_library_is_named_with_an_extra_that_brings_it(library):
    with pytest.raises(UserError) as raised, needed("cats need"):
        raise ModuleNotFoundError(name=f"{library}.part")
    line = r"cats need \S+, which is not installed: pip install 'mere-ds\[(\w+)\]'"
    assert library in EXTRAS[re.fullmatch(line, str(raised.value))[1]]


def test_another_missing_module_is_not_explained_away():
    assert from_import_error(ModuleNotFoundError(name="mere_ds.nothing")) is None
    with pytest.raises(ModuleNotFoundError), needed("cats need"):
        import mere_ds.nothing  # noqa: F401
