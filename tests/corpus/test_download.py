import contextlib
import hashlib
import io
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import py7zr
import pytest

from mere_ds.corpus import download as download_module
from mere_ds.corpus.download import ARCHIVES, BASE_URL, RECORD, download
from mere_ds.errors import UserError

TSV = b"id\tentity_1\tentity_2\tlabel\ttext\tlang\n"


def packed(members: dict[str, bytes]) -> bytes:
    """A 7z archive; the names go in unchecked, as an attacker would put them."""
    stream = io.BytesIO()
    with py7zr.SevenZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive._writef(io.BytesIO(content), name)
    return stream.getvalue()


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` by `server.plan`; see the fixture."""

    def do_GET(self):
        plan, content = self.server.plan, self.server.files.get(self.path[1:])
        plan.requests.append(
            SimpleNamespace(path=self.path, range=self.headers["Range"], etag=self.headers["If-Range"])
        )
        if self.path in plan.redirects:
            return self.answer(302, b"", {"Location": plan.redirects[self.path]})
        if content is None:
            return self.answer(404, b"")
        tag = f'"{blob_id(content)}"'
        start = 0
        if plan.ranges and self.headers["Range"] and self.headers["If-Range"] in (None, tag):
            start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
        if start and start >= len(content):
            return self.answer(416, b"")
        headers = {"ETag": tag} if plan.etags else {}
        if start:
            headers["Content-Range"] = plan.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.answer(206 if start else 200, content[start:], headers)

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.plan.cuts.pop(0) if self.server.plan.cuts and status < 300 else len(body)
        if not self.server.plan.drip:
            return self.wfile.write(body[:cut])
        with contextlib.suppress(OSError):  # whoever asked has left
            for i in range(cut):
                self.wfile.write(body[i : i + 1])
                time.sleep(self.server.plan.drip)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """`files` by name; `plan`: cuts (bytes sent before the connection is closed, one an answer), ranges, etags, drip
    (seconds a byte)."""
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.files = {
            "one.7z": packed({"de_corpora_train.tsv": TSV, "de_corpora_test.tsv": TSV + b"1\n", "info.txt": b"hello"}),
            "two.7z": packed({"sub/folder/fr_corpora_train.tsv": TSV * 1000}),
        }
        http.plan = SimpleNamespace(
            cuts=[], drip=0, ranges=True, etags=True, redirects={}, content_range=None, requests=[]
        )
        http.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http
        http.shutdown()
        thread.join()


def fetch(server, out, **options):
    archives = {name: blob_id(content) for name, content in server.files.items()}
    return download(out, server.url, archives=archives, **options)


def test_the_default_is_pinned_and_over_https():
    assert re.fullmatch(r"https://github\.com/samsungnlp/smiler/raw/[0-9a-f]{40}/", BASE_URL)
    assert all(name.endswith(".7z") and re.fullmatch("[0-9a-f]{40}", blob) for name, blob in ARCHIVES.items())


def test_fetches_unpacks_and_records(server, tmp_path):
    out = tmp_path / "new" / "smiler"
    record = fetch(server, out)
    assert record == json.loads((out / RECORD).read_text())
    assert record["tsv_dir"] == str(out)
    assert record["not_unpacked"] == ["info.txt"]
    for entry, (name, content) in zip(record["archives"], server.files.items(), strict=True):
        assert (entry["file"], entry["url"], entry["bytes"]) == (name, f"{server.url}/{name}", len(content))
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["date"])
    tsvs = {"de_corpora_test.tsv": TSV + b"1\n", "de_corpora_train.tsv": TSV, "fr_corpora_train.tsv": TSV * 1000}
    assert {entry["file"]: entry["sha256"] for entry in record["files"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in tsvs.items()
    }
    assert {path.name: path.read_bytes() for path in out.glob("*.tsv")} == tsvs
    assert {path.name for path in out.iterdir()} == {*tsvs, *server.files, RECORD}


@pytest.mark.parametrize("keep_archives", [True, False])
def test_a_second_call_only_verifies(server, tmp_path, keep_archives):
    first = fetch(server, tmp_path, keep_archives=keep_archives)
    asked = len(server.plan.requests)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert ("one.7z" in files) == keep_archives
    assert fetch(server, tmp_path, keep_archives=keep_archives) == first
    assert len(server.plan.requests) == asked
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files


def test_a_missing_file_is_unpacked_again(server, tmp_path):
    fetch(server, tmp_path)
    asked = len(server.plan.requests)
    (tmp_path / "fr_corpora_train.tsv").unlink()
    fetch(server, tmp_path)
    assert (tmp_path / "fr_corpora_train.tsv").read_bytes() == TSV * 1000
    assert len(server.plan.requests) == asked


@pytest.mark.parametrize("name", ["one.7z", "de_corpora_train.tsv"])
def test_a_changed_file_is_noticed(server, tmp_path, name):
    fetch(server, tmp_path)
    (tmp_path / name).write_bytes(b"changed")
    with pytest.raises(UserError, match=f"{name}: has changed"):
        fetch(server, tmp_path)


def test_a_file_of_another_origin_is_not_overwritten(server, tmp_path):
    (tmp_path / "de_corpora_train.tsv").write_bytes(b"mine")
    with pytest.raises(UserError, match="de_corpora_train.tsv: a different file"):
        fetch(server, tmp_path)
    assert (tmp_path / "de_corpora_train.tsv").read_bytes() == b"mine"


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    server.plan.cuts = [100, 7]
    fetch(server, tmp_path)
    tag = f'"{blob_id(server.files["one.7z"])}"'
    asked = [(request.range, request.etag) for request in server.plan.requests if request.path == "/one.7z"]
    assert asked == [(None, None), ("bytes=100-", tag), ("bytes=107-", tag)]


@pytest.mark.parametrize("etags", [True, False])
def test_a_second_run_goes_on_where_the_first_stopped(server, tmp_path, etags):
    server.plan.etags = etags
    server.plan.cuts = [100, 0]
    with pytest.raises(UserError, match="broke after 100 bytes; run the same command again"):
        fetch(server, tmp_path)
    assert (tmp_path / "one.7z.part").read_bytes() == server.files["one.7z"][:100]
    fetch(server, tmp_path)
    assert server.plan.requests[2].range == "bytes=100-"
    assert (tmp_path / "one.7z").read_bytes() == server.files["one.7z"]
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("ranges", [True, False])
def test_starts_over_when_the_file_changed_or_ranges_are_ignored(server, tmp_path, ranges):
    server.plan.cuts = [100, 0]
    with pytest.raises(UserError):
        fetch(server, tmp_path)
    server.plan.ranges = ranges
    if ranges:
        server.files["one.7z"] = packed({"it_corpora_train.tsv": TSV})
    fetch(server, tmp_path)
    assert server.plan.requests[2].range == "bytes=100-"
    assert (tmp_path / "one.7z").read_bytes() == server.files["one.7z"]


def test_starts_over_when_the_part_is_longer_than_the_file(server, tmp_path):
    (tmp_path / "one.7z.part").write_bytes(b"x" * (len(server.files["one.7z"]) + 1))
    fetch(server, tmp_path)
    assert [request.range is None for request in server.plan.requests[:2]] == [False, True]


def test_a_server_that_sends_another_range_is_refused(server, tmp_path):
    (tmp_path / "one.7z.part").write_bytes(server.files["one.7z"][:100])
    server.plan.content_range = "bytes 50-60/61"
    with pytest.raises(UserError, match="another range"):
        fetch(server, tmp_path)
    assert (tmp_path / "one.7z.part").stat().st_size == 100


def test_a_server_that_never_sends_more_is_given_up(server, tmp_path):
    server.plan.ranges = False
    server.plan.cuts = [100] * 9
    with pytest.raises(UserError, match="broke after 100 bytes"):
        fetch(server, tmp_path)
    assert len(server.plan.requests) == 2


def test_another_content_than_the_published_is_refused(server, tmp_path):
    with pytest.raises(UserError, match="one.7z: is not the published archive"):
        download(tmp_path, server.url, archives={"one.7z": "0" * 40})
    assert not list(tmp_path.glob("*.tsv"))


def test_a_damaged_archive_is_reported(server, tmp_path):
    whole = server.files["two.7z"]
    server.files["two.7z"] = whole[:40] + bytes(byte ^ 255 for byte in whole[40:50]) + whole[50:]
    with pytest.raises(UserError, match="damaged"):
        fetch(server, tmp_path)
    server.files = {"one.7z": b"<html>not an archive</html>"}
    with pytest.raises(UserError, match="damaged"):
        fetch(server, tmp_path / "other")
    assert not list(tmp_path.rglob("*.tsv"))


@pytest.mark.parametrize(
    "name",
    ["../evil.tsv", "a/../../evil.tsv", "/tmp/evil.tsv", "C:/evil.tsv", "C:evil.tsv", "..\\evil.tsv", "\\\\host\\evil"],
)
def test_members_outside_the_folder_are_refused(server, tmp_path, name):
    out = tmp_path / "out"
    server.files["two.7z"] = packed({"fr_corpora_train.tsv": TSV, name: b"evil"})
    with pytest.raises(UserError, match=r"two.7z: the member '.*evil.*' points outside"):
        fetch(server, out)
    assert {path.name for path in tmp_path.rglob("*")} == {"out", *server.files}


def test_links_are_refused(server, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with py7zr.SevenZipFile(tmp_path / "links.7z", "w") as archive:
        archive.write(tmp_path / "link", "fr_corpora_train.tsv")
    server.files = {"links.7z": (tmp_path / "links.7z").read_bytes()}
    with pytest.raises(UserError, match="is a link"):
        fetch(server, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"links.7z"}


def test_two_members_for_one_file_are_refused(server, tmp_path):
    server.files["two.7z"] = packed({"sub/de_corpora_train.tsv": TSV})
    with pytest.raises(UserError, match="several TSV files with the same name"):
        fetch(server, tmp_path)


def test_a_full_disk_is_refused_before_it_is_full(server, tmp_path, monkeypatch):
    sizes = [len(content) for content in server.files.values()]
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=sizes[0] - 1))
    with pytest.raises(UserError, match=f"{sizes[0]:,} bytes needed to download"):
        fetch(server, tmp_path)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000 * len(TSV)))
    with pytest.raises(UserError, match="needed to unpack"):
        fetch(server, tmp_path)
    assert not list(tmp_path.glob("*.tsv"))


@pytest.mark.parametrize("url", ["http://example.org/", "ftp://localhost/", "file:///etc/", "localhost"])
def test_only_https_or_localhost(tmp_path, url):
    with pytest.raises(UserError, match="only https"):
        download(tmp_path / "out", url)
    assert not (tmp_path / "out").exists()


def test_redirects_are_followed_but_not_to_plain_http(server, tmp_path):
    server.plan.redirects = {"/one.7z": server.url + "/two.7z"}
    archives = {"one.7z": blob_id(server.files["two.7z"])}
    assert download(tmp_path / "out", server.url, archives=archives)["files"]
    server.plan.redirects = {"/one.7z": "http://example.org/one.7z"}
    with pytest.raises(UserError, match="one.7z: the server redirects .302. .*only https"):
        fetch(server, tmp_path / "other")


@pytest.mark.parametrize("target", ["http://[::1", "https://h:x/", "https://h:99999999/", "https://a..b/"])
def test_a_redirect_to_a_broken_address_is_one_line(server, tmp_path, target):
    server.plan.redirects = {"/one.7z": target}
    with pytest.raises(UserError, match="one.7z: the server redirects .302. to an (invalid )?address"):
        fetch(server, tmp_path)


def test_a_server_that_drips_is_given_up_and_gone_on_from(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module.network, "WINDOW_SECONDS", 0.05)
    content = server.files["one.7z"]
    server.files["one.7z"] = content[:1] + b"x" * 100_000
    server.plan.drip = 0.01
    with pytest.raises(UserError, match="one.7z: the server is too slow, .*run the same command again"):
        fetch(server, tmp_path)
    assert (tmp_path / "one.7z.part").stat().st_size > 0


def test_unreachable_and_missing(server, tmp_path):
    with pytest.raises(UserError, match="gone.7z: the server answered 404"):
        download(tmp_path, server.url, archives={"gone.7z": ""})
    with pytest.raises(UserError, match="cannot be reached .*copy the folder"):
        download(tmp_path, "http://127.0.0.1:1", archives={"one.7z": ""})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create this folder"):
        fetch(server, tmp_path / "file")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '"text"'])
def test_a_foreign_record_is_refused(server, tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(UserError, match="delete it and run again"):
        fetch(server, tmp_path)
