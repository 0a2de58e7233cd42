"""transformers is imported without reading its models' files each time."""

import subprocess
import sys
from types import ModuleType

import pytest

from mere_ds import transformers_contents
from mere_ds.transformers_contents import FUNCTION, keep_contents

PROGRAM = """
import sys
read = []
sys.addaudithook(lambda event, about: event == "open" and read.append(str(about[0])))
from mere_ds.transformers_contents import keep_contents
keep_contents()
import transformers, transformers.models
print(sum("transformers/models" in name and name.endswith(".py") for name in read))
print(*sorted(dir(transformers)), *sorted(dir(transformers.models)))
"""


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Imports transformers in a process of its own; returns how many files of models were read, and what it has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run() -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        count, names = done.stdout.splitlines()
        return int(count), names

    return run


def test_the_second_import_reads_no_files_of_models_and_has_all_they_define(imported):
    first, as_usual = imported()
    again, names = imported()
    assert first > 1000 and again < 20
    assert names == as_usual and " BertModel " in names


@pytest.fixture
def another(tmp_path, monkeypatch):
    """another(found): a version of transformers that finds this, each time anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record = tmp_path / "transformers-5.dist-info" / "RECORD"
    record.parent.mkdir()
    record.touch()

    def make(found) -> ModuleType:
        module = ModuleType("transformers.utils.import_utils")
        module.__file__ = str(tmp_path / "transformers" / "utils" / "import_utils.py")
        module.calls = []
        setattr(module, FUNCTION, lambda *args, **how: module.calls.append(args) or found)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        keep_contents()
        return module

    return make


STRUCTURE = {frozenset({"torch"}): {"models.bert": {"BertModel", "BertConfig"}}, frozenset(): {}}


def test_it_is_asked_once_for_each_folder_and_installation(another, tmp_path):
    module = another(STRUCTURE)
    assert [getattr(module, FUNCTION)(folder, prefix="models") for folder in "aabb"] == [STRUCTURE] * 4
    assert module.calls == [("a",), ("b",)]
    getattr(module, FUNCTION)("a", prefix="other")
    assert len(module.calls) == 3
    (tmp_path / "transformers-5.dist-info" / "RECORD").write_text("installed again")
    newer = another({})
    assert getattr(newer, FUNCTION)("a", prefix="models") == {}


def test_of_a_damaged_file_nothing_is_believed(another, tmp_path):
    module = another(STRUCTURE)
    getattr(module, FUNCTION)("a")
    (kept,) = (tmp_path / "cache" / "mere_ds" / "transformers").iterdir()
    for content in (kept.read_bytes()[:-5], kept.read_bytes().replace(b"Model", b"Modal"), b"[]", b"\xff", b""):
        kept.write_bytes(content)
        module.calls.clear()
        assert [getattr(module, FUNCTION)("a") for _ in range(2)] == [STRUCTURE] * 2
        assert len(module.calls) == 1, content


@pytest.mark.parametrize("found", [None, [1], {"a": 1}, {frozenset(): {"a": ["b"]}}, {frozenset(): 1}], ids=repr)
def test_another_kind_of_answer_is_passed_on_and_not_kept(another, tmp_path, found):
    module = another(found)
    assert [getattr(module, FUNCTION)("a") for _ in range(2)] == [found, found]
    assert module.calls == [("a",), ("a",)]


def test_without_the_function_or_for_a_checkout_all_stays(another, tmp_path, monkeypatch):
    bare = ModuleType("transformers.utils.import_utils")
    bare.__file__ = str(tmp_path / "transformers" / "utils" / "import_utils.py")
    monkeypatch.setitem(sys.modules, bare.__name__, bare)
    keep_contents()
    assert not hasattr(bare, FUNCTION)
    (tmp_path / "transformers-5.dist-info" / "RECORD").unlink()
    module = another(STRUCTURE)
    assert [getattr(module, FUNCTION)("a") for _ in range(2)] == [STRUCTURE] * 2 and len(module.calls) == 2


def test_a_cache_that_cannot_be_written_is_done_without(another, tmp_path, monkeypatch):
    (tmp_path / "cache").touch()  # no folder
    module = another(STRUCTURE)
    assert [getattr(module, FUNCTION)("a") for _ in range(2)] == [STRUCTURE] * 2 and len(module.calls) == 2

    def no_home() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(transformers_contents, "user_cache", no_home)
    module = another(STRUCTURE)
    assert getattr(module, FUNCTION)("a") == STRUCTURE
