"""An output that is begun on one machine and gone on with on another: no mixture of what differs between them."""

import json
import re
import shutil

import pytest

from mere_ds.bulk import reading
from mere_ds.bulk.finishing import record_of
from mere_ds.bulk.progress import work_folder
from mere_ds.inference import Extractor
from mere_ds.model import use
from tests.full_disk import files_of_at_most

AT_ONCE, UNITS = 8, 4


@pytest.fixture
def machine(monkeypatch):
    """Says how fast a precision is from now on."""
    return lambda best: monkeypatch.setattr(use, "best_precision", lambda device: best)


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The dtypes of the models that were loaded."""
    found: list[str] = []
    load = Extractor.load.__func__

    def noted(cls, *given, **how):
        extractor = load(cls, *given, **how)
        found.append(str(next(extractor.backend.model.parameters()).dtype).removeprefix("torch."))
        return extractor

    monkeypatch.setattr(Extractor, "load", classmethod(noted))
    return found


@pytest.fixture
def argv(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(reading, "LINES_AT_ONCE", AT_ONCE)
    (file := tmp_path / "in.txt").write_text(
        "".join(f"Anna Berg {n} was born in Oslo\n" for n in range(UNITS * AT_ONCE))
    )
    return ["--lang=de", f"--file={file}", f"--out={tmp_path / 'out.jsonl'}", "--processes=1"]


def made_from(out) -> dict:
    return json.loads(record_of(out).read_text())["made_from"]


def test_what_was_begun_goes_on_in_its_precision(extract, machine, computed, argv, tmp_path):
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    machine("bf16")
    extract(*argv[:2], f"--out={whole}")
    assert made_from(whole)["precision"] == "bf16"
    with files_of_at_most(whole.stat().st_size // 2):
        extract(*argv, code=1)
    machine("fp32")
    extract(*argv, "--precision=fp32", code=2)
    assert 'precision was "bf16", is "fp32"' in extract.said
    computed.clear()
    extract(*argv)
    assert computed == ["bfloat16"] and out.read_bytes() == whole.read_bytes()
    computed.clear()
    extract(*argv)
    assert not computed and "nothing to do" in extract.said, "whole, whatever is fastest here"
    extract(*argv, "--overwrite", "--precision=fp32")
    assert made_from(out)["precision"] == "fp32"


def test_begun_again_it_is_in_what_is_fastest_here(extract, machine, computed, argv, tmp_path):
    machine("bf16")
    with files_of_at_most(2000):
        extract(*argv, code=1)
    machine("fp32")
    computed.clear()
    extract(*argv, "--noresume")
    assert computed == ["float32"] and made_from(tmp_path / "out.jsonl")["precision"] == "fp32"


def test_parts_take_each_others_precision_and_others_are_not_joined(extract, machine, computed, argv, tmp_path):
    out = tmp_path / "out.jsonl"
    machine("bf16")
    extract(*argv, "--part=1/2")
    machine("fp32")
    for again in ((), ("--noresume",)):
        computed.clear()
        extract(*argv, "--part=2/2", *again)
        assert computed == ["bfloat16"]
    shutil.copytree(work_folder(out), kept := tmp_path / "kept")
    extract(*argv, "--join=2")
    assert made_from(out)["precision"] == "bf16"
    out.unlink()  # now both begin at the same time, neither knowing of the other
    work_folder(out).mkdir()
    extract(*argv, "--part=2/2")
    for path in kept.glob("1-of-2.*"):
        shutil.copy(path, work_folder(out))
    extract(*argv, "--join=2", code=2)
    assert re.search('precision was "(bf16|fp32)", is "(bf16|fp32)"', extract.said) and not out.exists()


def test_another_version_of_the_detector_is_refused(extract, argv, monkeypatch, tmp_path):
    pytest.importorskip("eldc")
    argv = ["--lang=auto", *argv[1:]]
    with files_of_at_most(2000):
        extract(*argv, code=1)
    monkeypatch.setattr("mere_ds.use_commands.version_of", lambda name: "0.0.1")
    extract(*argv, code=2)
    assert 'detector was "' in extract.said and 'is "0.0.1"' in extract.said
