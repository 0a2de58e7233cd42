"""The newcomer's path in one script: JSON lines -> shards -> a model, trained and exported -> a server -> an answer."""

import json
import os
import shutil
import subprocess

import pytest
from launching import BIN, REPOSITORY, environment

import mere_ds
from tests.shards.toy_corpus import write_json_lines


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script asks by curl")
def test_from_json_lines_of_ones_own_to_an_answering_server(tmp_path):
    corpus = write_json_lines(tmp_path / "corpus", {"de": (60, 10, 10), "fr": (40, 10, 10)})
    out = tmp_path / "out"
    command = ["bash", REPOSITORY / "examples" / "own_data.sh", corpus, out, "tiny", "2"]
    env = environment() | {"PYTHONPATH": str(REPOSITORY), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    request, answer = (json.loads((out / name).read_text()) for name in ("request.json", "answer.json"))
    first = json.loads((corpus / "de.test.jsonl").read_text().splitlines()[0])
    assert request == {"text": first["text"], "lang": "de"}
    expected = mere_ds.load(out / "model").extract(first["text"], "de").to_dict()
    for triple, own in zip(answer.pop("triples"), expected.pop("triples"), strict=True):
        assert triple | {"score": 0} == own | {"score": 0} and triple["score"] == pytest.approx(own["score"], abs=1e-4)
    assert answer == expected
    assert "<!doctype html>" in (out / "page.html").read_text() and str(out / "model") in done.stdout.splitlines()[-1]
