"""`mere-ds serve` as a user starts and stops it, with a model."""

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.corpus.sentences import with_sentencex
from mere_ds.documents import extract_document, windows_of
from mere_ds.inference import Extractor
from mere_ds.serving.program import engine_of
from mere_ds.serving.settings import TOKEN
from tests.serving.served import Client, serving
from tests.small_model import LANGUAGES, TEXTS, leave_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve") / "run"
    return folder, leave_run(folder)


@pytest.fixture
def started(run):
    """started(FLAGS): the process, and a client for its address."""
    processes = []

    def start(*argv, env=None):
        command = [
            sys.executable,
            "-c",
            "from mere_ds.cli import main; main()",
            "serve",
            str(run[0]),
            "--port=0",
            *argv,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        line = process.stderr.readline()
        assert line.endswith("answers; Ctrl-C stops\n"), line + process.stderr.read()
        return process, Client(urlsplit(line.split()[0]).port)

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.slow
def test_a_thousand_requests_at_once_get_what_the_library_gives(run, started):
    """On 100 connections at a time, with limits of their own, while others send nonsense; then it stops."""
    extractor = Extractor.load(run[1], precision="fp32")
    texts = [f"{text} {n} " + "Stein Gau " * (n % 9 if n % 50 else 400) for n in range(334) for text in TEXTS]
    languages = LANGUAGES * 334
    expected = list(extractor.extract(texts, languages))
    assert any(answer["triples"] for answer in expected) and any("note" in answer for answer in expected)
    process, client = started("--max_batch=64", "--precision=fp32")
    with ThreadPoolExecutor(100) as pool:
        asked = [
            pool.submit(client.ask, {"text": text, "lang": lang}) for text, lang in zip(texts, languages, strict=True)
        ]
        nonsense = [pool.submit(client.ask, b"{" * (n + 1)) for n in range(50)]
        status, many = client.ask({"texts": texts[:100], "lang": "de", "min_score": 0.5, "max_triples": 1})
        answers = [its.result() for its in asked]
    assert {status for status, _ in answers} == {200} and {its.result()[0] for its in nonsense} == {400}
    others = 0
    for (_, answer), text, lang, one in zip(answers, texts, languages, expected, strict=True):
        assert (answer["text"], answer["lang"], answer.get("note")) == (text, lang, one.get("note"))
        assert [alike(t)[-1] for t in answer["triples"]] == [alike(t)[-1] for t in one["triples"]]
        others += [alike(t) for t in answer["triples"]] != [alike(t) for t in one["triples"]]
    assert others <= len(texts) / 100, "only where two triples have the same score to its last digits"
    assert status == 200 and len(many["answers"]) == 100
    assert all(t["score"] >= 0.5 for answer in many["answers"] for t in answer["triples"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0 and process.stderr.read() == ""


def alike(triple: dict) -> tuple:
    """Of a triple computed in another batch, where the last digits of sums differ."""
    head, tail = (tuple(triple[side].values()) for side in ("head", "tail"))
    return head, triple["relation"], tail, pytest.approx(triple["score"], abs=2e-5)


def test_a_document_gets_what_the_library_gives_and_is_never_cut_off(run):
    extractor = Extractor.load(run[1], precision="fp32")
    long = "Anna Berg und " + "Stein Gau " * 100 + "."
    document = f"{TEXTS[0]} {TEXTS[0]}\n\n{long} {TEXTS[0]}"
    assert len(list(windows_of(extractor, long, "de", with_sentencex()))) > 1, "a sentence that is too long"
    expected = list(extract_document(extractor, document, "de"))
    with serving(engine_of(extractor, "model"), max_batch=3) as server, ThreadPoolExecutor(4) as pool:
        client = Client(server.port)
        asked = [pool.submit(client.ask, {"document": document, "lang": "de"}) for _ in range(3)]
        beside = pool.submit(client.ask, {"texts": [TEXTS[0]] * 3, "lang": "de"})
        answers = [its.result() for its in asked]
        assert client.ask({"document": "1234. 5678.", "lang": "auto"})[1]["lang"] is None
    for status, answer in answers:
        assert status == 200 and answer["lang"] == "de" and "note" not in answer
        assert [alike(triple) for triple in answer["triples"]] == [alike(triple) for triple in expected] != []
    assert all(answer["triples"] for answer in beside.result()[1]["answers"])


@pytest.mark.slow
def test_languages_are_detected_and_ctrl_c_ends_it_with_success(run, started):
    process, client = started()
    assert client.get("/healthz")[0] == 200
    (expected,) = Extractor.load(run[1]).extract([TEXTS[1]], "auto")
    status, answer = client.ask({"text": TEXTS[1], "lang": "auto"})
    assert status == 200 and (answer["lang"], answer.get("note")) == (expected["lang"], expected.get("note"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0 and process.stderr.read() == ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--host=0.0.0.0"], "other machines reach this address: set a token in MERE_DS_TOKEN first"),
        (["--max_batch=0"], "--max_batch=0: must be at least 1"),
        (["--port=70000"], "--port=70000: must be at least 0 and at most 65535"),
        (["--min_score=2"], "--min_score=2: must be between 0 and 1"),
    ],
)
def test_what_cannot_be_served_is_refused(run, argv, said, capsys, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(SystemExit, match="2"):
        flags.run(COMMANDS, ["serve", str(run[0]), *argv], "mere-ds")
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
