"""The server over HTTP: what each path answers, what is refused, and how it ends."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from mere_ds.errors import UserError
from mere_ds.serving.batching import Limits
from mere_ds.serving.settings import TOKEN, ServeSettings, is_allowed, listener, token_of_environment
from tests.serving.served import Client, StandIn, answer_to, serving

TEXT = "Anna 😀 wohnt in Köln"


@pytest.fixture(scope="module")
def client():
    with serving(StandIn().engine(), max_text=100, max_body=5000, max_queue=8) as server:
        yield Client(server.port)


def values(client) -> dict[tuple, float]:
    families = text_string_to_metric_families(client.get("/metrics")[2].decode())
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def test_one_text_and_many(client):
    assert client.ask({"text": TEXT, "lang": "de"}) == (200, answer_to(TEXT, "de"))
    asked = {"texts": [TEXT, {"text": "a b c d", "lang": "KO"}, ""], "lang": "de", "min_score": 0.3, "max_triples": 2}
    limits = Limits(0.3, 2)
    answers = [answer_to(text, language, limits) for text, language in ((TEXT, "de"), ("a b c d", "ko"), ("", "de"))]
    assert client.ask(asked) == (200, {"answers": answers})
    assert client.ask({"texts": []}) == (200, {"answers": []})


def test_a_document_is_read_sentence_by_sentence_with_its_own_offsets(client):
    text = "Ada kennt Bo.\n\n Bo lebt in Köln . 😀 Ada auch."
    status, answer = client.ask({"document": text, "lang": "de", "max_triples": 1})
    assert status == 200 and (answer["text"], answer["lang"]) == (text, "de") and "note" not in answer
    found = [(triple["head"], triple["tail"]) for triple in answer["triples"]]
    assert [(head["text"], tail["text"]) for head, tail in found] == [("Ada", "kennt"), ("\n\n", "Bo"), ("😀", "Ada")]
    assert all(text[span["start"] : span["end"]] == span["text"] for pair in found for span in pair)
    assert client.ask({"document": " . ", "lang": "de"}) == (
        *(200,), {"text": " . ", "lang": "de", "triples": [], "note": "empty text"}
    )  # fmt: skip
    assert client.ask({"document": "a b. boom. c d.", "lang": "de"})[0] == 500


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"{", {}),
        (415, b'{"text": "a", "lang": "de"}', {"content_type": "text/plain"}),
        (415, b'{"text": "a", "lang": "de"}', {"content_type": ""}),
        (422, b'{"text": "a", "lang": "xx"}', {}),
        (413, b'{"text": "%s", "lang": "de"}' % (b"a" * 101), {}),
        (413, b'"%s"' % (b"a" * 5000), {}),
        (421, b'{"text": "a", "lang": "de"}', {"host": "evil.example"}),
        (500, b'{"text": "boom", "lang": "de"}', {}),
        (413, b'{"document": "a.b.c.d.e.f.g.h.i.", "lang": "de"}', {}),
    ],
)
def test_what_is_refused_is_said_in_one_line(client, status, body, headers):
    got, answer = client.ask(body, **headers)
    assert got == status and list(answer) == ["error"]
    assert answer["error"].isprintable() and "Traceback" not in answer["error"] and "secret" not in answer["error"]


def test_paths_and_methods_that_there_are_not(client):
    for method, path, status in (("GET", "/../etc/passwd", 404), ("GET", "/extract", 405), ("PUT", "/metrics", 405)):
        got, headers, body = client.send(method, path)
        assert got == status and "no such path" in json.loads(body)["error"] or "method" in json.loads(body)["error"]
        assert headers["x-content-type-options"] == "nosniff"


def test_a_chunked_body_is_counted_as_it_comes(client):
    with socket.create_connection(("127.0.0.1", client.port)) as its:
        its.sendall(
            b"POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(6):
            its.sendall(b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert its.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_whose_length_is_stated_in_two_ways_is_refused(client):
    with socket.create_connection(("127.0.0.1", client.port)) as its:
        its.sendall(
            b"POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert its.recv(100).startswith(b"HTTP/1.1 400")


def test_the_description_is_valid_and_true(client):
    document = json.loads(client.get("/openapi.json")[2])
    OpenAPIV31SpecValidator(document).validate()
    extract = document["paths"]["/extract"]["post"]

    def validator(content):
        return Draft202012Validator({**content["application/json"]["schema"], "components": document["components"]})

    request = validator(extract["requestBody"]["content"])
    for asked in (
        {"text": TEXT, "lang": "de"},
        {"texts": [TEXT, {"text": "a b", "lang": "ko"}], "lang": "de", "min_score": 0.1, "max_triples": None},
        {"text": "a", "lang": "xx"},
        {"text": "a", "texts": [], "lang": "de"},
        {"text": "a" * 101, "lang": "de"},
        {"texts": ["a"] * 9, "lang": "de"},
        {"text": 1, "lang": "de"},
        {"text": "a", "lang": "de", "min_score": 2},
        {"text": "boom", "lang": "de"},
        {"document": "a b. c d.", "lang": "de", "min_score": 0.1},
        {"document": "a b. c d."},
        {"document": "a" * 101, "lang": "de"},
        {"document": "a", "text": "a", "lang": "de"},
    ):
        status, answer = client.ask(asked)
        assert request.is_valid(asked) == (status in (200, 500)), asked
        validator(extract["responses"][str(status)]["content"]).validate(answer)
    about = json.loads(client.get("/about")[2])
    validator(document["paths"]["/about"]["get"]["responses"]["200"]["content"]).validate(about)
    assert (about["languages"], about["labels"], about["min_score"]) == (["de", "ko", "pt-BR"], ["first"], 0.2)


def test_measures_count_what_was_done(client):
    before = values(client)
    client.ask({"texts": ["a b", "c d"], "lang": "de"})
    client.ask({"text": 1})
    client.get("/nowhere/" + "x" * 100)
    after = values(client)

    def more(*key):
        return after[key] - before.get(key, 0)

    assert more("mere_ds_requests_total", "/extract", "200") == 1
    assert more("mere_ds_requests_total", "/extract", "422") == 1
    assert more("mere_ds_requests_total", "404", "other") == 1
    assert more("mere_ds_batch_texts_sum") == 2
    assert more("mere_ds_request_seconds_count", "/extract") == 2
    assert after[("mere_ds_queue_texts",)] == 0


@contextmanager
def busy(max_queue):
    """A server that computes the text "a b" until its stand-in may go on: stand-in, client, pool, and the answer."""
    stand_in = StandIn()
    with serving(stand_in.engine(), max_queue=max_queue, max_batch=1) as server, ThreadPoolExecutor() as pool:
        stand_in.may_go_on.clear()
        client = Client(server.port)
        first = pool.submit(client.ask, {"text": "a b", "lang": "de"})
        assert stand_in.is_computing.wait(60)
        yield stand_in, client, pool, first


def test_a_full_queue_is_answered_at_once_and_what_was_accepted_is_computed():
    with busy(max_queue=2) as (stand_in, client, pool, first):
        second = pool.submit(client.ask, {"texts": ["c d", "e f"], "lang": "de"})
        while values(client)[("mere_ds_queue_texts",)] < 2:
            pass
        body = b'{"text": "g h", "lang": "de"}'
        status, headers, answer = client.send("POST", "/extract", body, content_type="application/json")
        assert status == 429 and int(headers["retry-after"]) >= 1 and "queue is full" in json.loads(answer)["error"]
        assert client.ask({"document": "g. h.", "lang": "de"})[0] == 429
        assert client.get("/healthz")[0] == 200, "the server answers while it computes"
        stand_in.may_go_on.set()
        assert first.result() == (200, answer_to("a b", "de"))
        assert second.result()[0] == 200


def test_each_sentence_of_a_document_has_a_place_in_the_queue():
    with busy(max_queue=4) as (stand_in, client, pool, first):
        document = pool.submit(client.ask, {"document": "c d. e f. g h.", "lang": "de"})
        while values(client)[("mere_ds_queue_texts",)] < 3:
            pass
        assert client.ask({"document": "i j. k l.", "lang": "de"})[0] == 429, "one place is left"
        stand_in.may_go_on.set()
        assert first.result()[0] == 200
        status, answer = document.result()
    assert status == 200 and [triple["head"]["text"] for triple in answer["triples"]] == ["c", "e", "g"]
    assert sorted(text for batch in stand_in.batches for text in batch) == ["a b", "c d", "e f", "g h"]


def test_a_request_whose_client_went_away_is_not_computed():
    stand_in = StandIn()
    with serving(stand_in.engine(), max_batch=1) as server, ThreadPoolExecutor() as pool:
        stand_in.may_go_on.clear()
        client = Client(server.port)
        first = pool.submit(client.ask, {"text": "a b", "lang": "de"})
        assert stand_in.is_computing.wait(60)
        body = json.dumps({"text": "c d", "lang": "de"}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as its:
            head = "POST /extract HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            its.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while values(client)[("mere_ds_queue_texts",)] < 1:
                pass
        while values(client)[("mere_ds_queue_texts",)] > 0:
            pass
        stand_in.may_go_on.set()
        assert first.result()[0] == 200
        assert values(client)[("mere_ds_requests_total", "/extract", "499")] == 1
    assert stand_in.batches == [["a b"]]


def test_told_to_stop_it_answers_what_it_has_accepted():
    stand_in = StandIn()
    with serving(stand_in.engine(), max_batch=1) as server, ThreadPoolExecutor(9) as pool:
        stand_in.may_go_on.clear()
        client = Client(server.port)
        asked = [pool.submit(client.ask, {"text": f"text {n}", "lang": "de"}) for n in range(7)]
        assert stand_in.is_computing.wait(60)
        while values(client)[("mere_ds_queue_texts",)] < 6:
            pass
        server.stop()
        with pytest.raises(ConnectionError):  # refused, or reset while it was not yet accepted
            while client.get("/healthz"):
                pass
        stand_in.may_go_on.set()
        assert [its.result() for its in asked] == [(200, answer_to(f"text {n}", "de")) for n in range(7)]


def test_a_token_is_asked_for():
    with serving(StandIn().engine(), token="Right-1") as server:
        client = Client(server.port)
        assert client.get("/healthz")[0] == 200
        for path in ("/metrics", "/about", "/openapi.json", "/nowhere"):
            status, headers, body = client.get(path)
            assert status == 401 and headers["www-authenticate"] == "Bearer" and "TOKEN" in json.loads(body)["error"]
        asked = {"text": "a b", "lang": "de"}
        for wrong in ("", "Bearer", "Bearer ", "Bearer right-1", "Basic Right-1", "Bearer Right-1x", "Bearer é"):
            assert client.ask(asked, authorization=wrong)[0] == 401, wrong
        for right in ("Bearer Right-1", "bearer Right-1"):
            assert client.ask(asked, authorization=right) == (200, answer_to("a b", "de"))
        document = json.loads(client.get("/openapi.json", authorization="Bearer Right-1")[2])
        OpenAPIV31SpecValidator(document).validate()
        assert document["paths"]["/extract"]["post"]["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        *[(its, True) for its in ("localhost", "LOCALHOST:80", "127.0.0.1:8000", "[::1]:8000", "::1", "10.1.2.3")],
        *[(its, True) for its in ("mere.example.org", "Mere.Example.org:443")],
        *[
            (its, False)
            for its in ("", "evil.example", "127.0.0.1.evil.example", "localhost.evil", "[evil]:80", "a:b:c")
        ],
    ],
)
def test_names_under_which_it_answers(host, fits):
    assert is_allowed(host, ("mere.example.org",)) == fits


def test_no_site_may_read_its_answers(client):
    origin = {"origin": "https://evil.example"}
    preflight = client.send("OPTIONS", "/extract", access_control_request_method="POST", **origin)
    assert preflight[0] == 405
    for _, headers, _ in (preflight, client.get("/about", **origin)):
        assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_for_others_needs_a_token(host):
    with pytest.raises(UserError, match=f"--host={host}: other machines reach this address: set a token in {TOKEN}"):
        listener(ServeSettings(host=host, port=0), None)


def test_addresses_that_cannot_be_had():
    with pytest.raises(UserError, match="--host=no.such.invalid: no such address"):
        listener(ServeSettings(host="no.such.invalid"), None)
    with listener(ServeSettings(port=0), None) as its:
        its.listen()
        port = its.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={port}: .* pass another --port"):
            listener(ServeSettings(port=port), None)


@pytest.mark.parametrize("token", ["", " ", "two words", "ä", "line\n"])
def test_tokens_that_no_header_carries(monkeypatch, token):
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(UserError, match=TOKEN):
        token_of_environment()
