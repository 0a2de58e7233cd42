"""Shards from a server: the same batches as from the folder, through a bounded cache, whatever the server does."""

import hashlib
import json
import shutil
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from launching import deepspeed_config
from ranks import run_ranks
from safetensors.torch import load_file

from mere_ds import network
from mere_ds.encoders.sources import fingerprint, load_encoder, load_tokenizer
from mere_ds.errors import MachineError, UserError
from mere_ds.evaluation.run import evaluate_runs
from mere_ds.shards import fetching
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader, TextReader
from mere_ds.shards.remote import ShardCache, absolute, open_source
from mere_ds.shards.sealing import seal
from mere_ds.shards.web_server import may_follow
from tests.shards.file_server import Server, answer, drip, drip_headers, drop, fail, redirect

GIB = 2**30


@pytest.fixture
def server(manifest, tmp_path):
    server = Server(shutil.copytree(manifest.source.folder, tmp_path / "shards"))
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSES", (0, 0, 0))


def cached(folder) -> dict[str, int]:
    """Size of each shard, index or rest of one in the cache."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if len(path.name) >= 64}


def reader_of(manifest, **options) -> ShardReader:
    plan = EpochPlan(manifest.index_of("train"), 16, window=64)
    return ShardReader(manifest, "train", plan, micro=16, **options)


def batches(manifest, **options):
    with reader_of(manifest, **options) as reader:
        yield from reader


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        for name in ("token_ids_BM", "mask_BM", "labels_T", "languages_B", "positions_T4", "rows_B"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def test_all_is_as_from_the_folder_and_the_second_time_nothing_is_fetched(manifest, server, cache):
    loaded = Manifest.load(server.address, cache)
    assert loaded == manifest and loaded.sha256 == Manifest.load(server.folder).sha256
    assert_same(batches(loaded), batches(manifest))
    rows = range(manifest.splits["test"].sentences)
    assert TextReader(loaded, "test").texts_of(rows) == TextReader(manifest, "test").texts_of(rows)
    loaded.check_tokenizer(fingerprint(load_tokenizer(loaded.encoder_folder)))
    ours, theirs = (load_encoder(m.encoder_folder, m.encoder).state_dict() for m in (loaded, manifest))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {path.name for path in loaded.encoder_folder.iterdir()} == {file.file for file in manifest.encoder_files}
    assert set(server.asked.values()) == {1}

    server.asked.clear()
    again = Manifest.load(server.address.rstrip("/"), cache)
    assert_same(batches(again, prefetch=False), batches(manifest))
    assert again.encoder_folder == loaded.encoder_folder
    assert server.asked == {"manifest.json": 1}


@pytest.mark.parametrize("shards_kept", [0.5, 3])
def test_the_cache_keeps_its_bound(manifest, server, cache, shards_kept):
    largest = max(shard.bytes for shard in manifest.splits["train"].shards)
    most = largest * shards_kept
    loaded = Manifest.load(server.address, cache, most / GIB)
    held = []
    for ours, theirs in zip(batches(loaded, prefetch=False), batches(manifest), strict=True):
        assert_same([ours], [theirs])
        sizes = cached(cache).values()
        held.append(len(sizes))
        assert sum(sizes) <= most or len(sizes) == 1
    assert max(held) == 1 if shards_kept < 1 else max(held) > 1


def test_what_was_not_used_for_longest_goes_first_and_foreign_files_stay(manifest, server, cache):
    shards = manifest.splits["train"].shards[:4]
    cache.mkdir()
    (cache / "thesis.txt").write_bytes(b"years of work" * 10_000)
    dead = cache / f"{'0' * 64}.part"  # what a killed process leaves
    dead.write_bytes(b"x" * shards[0].bytes)
    source = open_source(server.address, cache, 3.5 * max(shard.bytes for shard in shards) / GIB)
    a, b, c, d = shards
    for shard in (a, b, c, a):
        source.read(shard)
    assert not dead.exists() and set(cached(cache)) == {a.sha256, b.sha256, c.sha256}
    source.read(d)
    assert set(cached(cache)) == {a.sha256, c.sha256, d.sha256}
    assert (cache / "thesis.txt").stat().st_size == 130_000


def test_processes_share_a_cache_of_one_shard_and_a_large_one_is_filled_once(manifest, server, cache):
    shards = manifest.splits["train"].shards

    def read_all(folder, gib, order, got):
        source = open_source(server.address, folder, gib)
        got += [source.read(shard) == manifest.source.read(shard) for shard in order]

    for folder, gib in ((cache / "large", 1.0), (cache / "small", 1e-9)):
        server.asked.clear()
        got: list[bool] = []
        orders = (shards, shards[::-1], shards, shards[::-1])
        threads = [threading.Thread(target=read_all, args=(folder, gib, order, got)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [True] * 4 * len(shards)
        if gib == 1.0:
            assert set(server.asked.values()) == {1}
    assert len(cached(cache / "small")) == 1


def test_different_shards_are_fetched_at_once_and_the_same_one_only_once(manifest, server, cache):
    """The server answers neither request before it has both."""
    both, shards = threading.Barrier(2, timeout=20), manifest.splits["train"].shards[:2]

    def wait_for_the_other(handler):
        both.wait()
        answer(manifest.source.read(shards[handler.path.endswith(shards[1].file)]), None, handler)

    server.faults = {shard.file: [wait_for_the_other] for shard in shards}
    source, got = open_source(server.address, cache), []
    threads = [
        threading.Thread(target=lambda shard=shard: got.append(source.read(shard) == manifest.source.read(shard)))
        for shard in (*shards, *shards)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [True] * 4 and not both.broken
    assert server.asked == {shard.file: 1 for shard in shards} and len(cached(cache)) == 2


def test_a_cached_file_that_changed_is_fetched_again(manifest, server, cache):
    shard, loaded = manifest.splits["train"].shards[0], Manifest.load(server.address, cache)
    loaded.source.read(shard)
    (cache / shard.sha256).write_bytes(b"changed")
    assert loaded.source.read(shard) == manifest.source.read(shard)
    config = loaded.encoder_folder / "config.json"
    config.write_text("{}")
    again = Manifest.load(server.address, cache)
    assert (again.encoder_folder / "config.json").read_bytes() == (server.folder / "encoder/config.json").read_bytes()


@pytest.mark.parametrize("name", ["train-00002.tar", "train-00002.index.npy", "index.npz", "encoder/config.json"])
def test_a_damaged_file_is_refused_by_name_and_not_kept(server, cache, name):
    path = server.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{server.address}{name}: damaged, its sha256 does not match the manifest"):
        loaded = Manifest.load(server.address, cache)
        assert list(batches(loaded)) and loaded.encoder_folder
    assert server.asked[name] == 1
    assert not list(cache.rglob("*.part")) and not list(cache.rglob("config.json"))
    for kept in cached(cache):
        assert hashlib.sha256((cache / kept).read_bytes()).hexdigest() == kept


def test_another_size_is_refused_and_an_endless_file_cut_off(manifest, server, cache):
    shard, source = manifest.splits["train"].shards[0], open_source(server.address, cache)
    whole = manifest.source.read(shard)
    sent = 0

    def endless(handler):
        nonlocal sent
        answer(b"", None, handler)
        try:
            while sent < 1 << 30:
                handler.wfile.write(whole)
                sent += len(whole)
        except OSError:
            handler.close_connection = True

    for fault, text in (
        (partial(answer, whole[:-512], len(whole) - 512), f"has {shard.bytes - 512} bytes instead of {shard.bytes}"),
        (partial(answer, whole[:9], shard.bytes + 1), f"is longer than {shard.bytes} bytes"),
        (endless, f"is longer than {shard.bytes} bytes"),
    ):
        server.faults[shard.file] = [fault]
        with pytest.raises(UserError, match=f"{shard.file}: {text}"):
            source.read(shard)
        assert not cached(cache)
    assert sent < 1 << 28


@pytest.mark.parametrize("name", ["manifest.json", "train-00001.tar", "encoder/tokenizer.json"])
def test_a_file_that_the_server_lacks_is_named(server, cache, name):
    (server.folder / name).unlink()
    with pytest.raises(UserError, match=rf"{server.address}{name}: the server has no such file \(404\)"):
        loaded = Manifest.load(server.address, cache)
        assert list(batches(loaded)) and loaded.encoder_folder
    assert server.asked[name] == 1


def test_broken_connections_and_a_busy_server_are_tried_again(manifest, server, cache):
    shard, source = manifest.splits["train"].shards[0], open_source(server.address, cache)
    cut = partial(answer, manifest.source.read(shard)[:1000], shard.bytes)
    for faults in ([drop, drop], [cut, drop, cut], [partial(fail, 503), partial(fail, 429)]):
        server.faults[shard.file], expected = faults, len(faults) + 1
        server.asked.clear()
        assert source.read(shard) == manifest.source.read(shard)
        assert server.asked[shard.file] == expected
        (cache / shard.sha256).unlink()


def test_a_server_that_stays_away_is_the_machine_s_fault(manifest, server, cache):
    shard, source = manifest.splits["train"].shards[0], open_source(server.address, cache)
    server.faults[shard.file] = [partial(fail, 500)] * 9
    with pytest.raises(MachineError, match=f"{shard.file}: failed after 4 attempts .*the server answered 500"):
        source.read(shard)
    assert server.asked[shard.file] == 4
    server.close()
    with pytest.raises(MachineError, match="failed after 4 attempts .*[Rr]efused") as told:
        source.read(shard)
    assert server.address in str(told.value) and "\n" not in str(told.value)
    assert not cached(cache)


@pytest.mark.parametrize("code", [400, 401, 403])
def test_a_refusal_is_not_tried_again(manifest, server, cache, code):
    shard = manifest.splits["train"].shards[0]
    server.faults[shard.file] = [partial(fail, code)]
    with pytest.raises(UserError, match=f"{shard.file}: the server answered {code}"):
        open_source(server.address, cache).read(shard)
    assert server.asked[shard.file] == 1


def test_redirects_lead_to_http_alone(manifest, server, cache):
    shard, source = manifest.splits["train"].shards[0], open_source(server.address, cache)
    server.faults[shard.file] = [partial(redirect, f"/shards/./{shard.file}")]
    assert source.read(shard) == manifest.source.read(shard)
    (cache / shard.sha256).unlink()
    for target in (f"file://{server.folder}/{shard.file}", "ftp://127.0.0.1/x?secret", "data:,x", server.address * 2):
        server.faults[shard.file] = [partial(redirect, target)] * 20
        with pytest.raises(UserError, match=rf"{shard.file}: the server") as told:
            source.read(shard)
        assert "secret" not in str(told.value) and not cached(cache)
    server.faults[shard.file] = [partial(redirect, shard.file)] * 20
    with pytest.raises(UserError, match=r"redirects \(302\) form a loop or have no target"):
        source.read(shard)


@pytest.mark.parametrize("target", ["http://[::1", "http://h:99999999/x", "http://a..b/", "http://h:x/", "http://h:0/"])
def test_a_redirect_to_a_broken_address_is_one_line(manifest, server, cache, target):
    shard = manifest.splits["train"].shards[0]
    server.faults[shard.file] = [partial(redirect, target)] * 20
    with pytest.raises(UserError, match=f"{shard.file}: the server redirects .302.") as told:
        open_source(server.address, cache).read(shard)
    assert target not in str(told.value) and not cached(cache) and server.asked[shard.file] == 1


@pytest.mark.parametrize("fault", [drip, drip_headers])
def test_a_server_that_drips_is_given_up(manifest, server, cache, monkeypatch, fault):
    monkeypatch.setattr(network, "WINDOW_SECONDS", 0.1)
    monkeypatch.setattr(fetching, "PAUSES", (0,))
    shard = manifest.splits["train"].shards[0]
    server.faults[shard.file] = [fault] * 2
    with pytest.raises(MachineError, match=r"failed after 2 attempts \(the server is too slow, \d+ bytes in"):
        open_source(server.address, cache).read(shard)
    assert not cached(cache) and server.asked[shard.file] == 2


@pytest.mark.parametrize(
    ("first", "target", "allowed"),
    [("https", "http", False), ("https", "https", True), ("http", "https", True), ("https", "file", False)],
)
def test_a_redirect_never_leads_from_https_to_http(first, target, allowed):
    assert may_follow(f"{first}://host/a", f"{target}://other/a") == allowed


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["splits"]["train"]["shards"][0].update(file="../train.tar"),
        lambda plain: plain["splits"]["train"]["shards"][0].update(file="http://elsewhere/a.tar"),
        lambda plain: plain["splits"]["train"]["shards"][0].update(sha256="../../" + "0" * 58),
        lambda plain: plain["splits"]["train"]["shards"][0].update(bytes=-1),
        lambda plain: plain["encoder_files"][0].update(file="../../.bashrc"),
        lambda plain: plain["encoder_files"][0].update(file=".hidden"),
        lambda plain: plain["encoder_files"][0].update(file="/etc/passwd"),
        lambda plain: plain["encoder_files"][0].update(sha256=None),
        lambda plain: plain["encoder_files"][0].update(mode="0777"),
        lambda plain: plain.update(index_sha256="../../x"),
    ],
)
def test_a_manifest_that_leads_out_of_folder_or_cache_is_refused_before_anything_is_fetched(server, cache, change):
    path = server.folder / "manifest.json"
    plain = json.loads(path.read_text(encoding="utf-8"))
    change(plain)
    path.write_bytes(seal(plain))
    with pytest.raises(UserError, match=r"manifest\.json: "):
        Manifest.load(server.address, cache)
    assert server.asked == {"manifest.json": 1} and not cache.exists()


@pytest.mark.parametrize(
    "place",
    [
        *(
            "s3:///shards",
            "s3://bucket:80/shards",
            "file:///shards",
            "pipe://cat",
            "ftp://host/shards",
            "http://",
            "https:///shards",
        ),
        *("http://host:99999/", "http://[::1/", "http://host/a b", "http://host/ä", "http://host/a\nb"),
        *("https://user:geheim@host/shards", "https://geheim@host/", "https://host/?t=geheim", "https://host/#geheim"),
        *("s3://key:geheim@bucket/shards", "az://geheim@account/shards", "hf://org/name/shards?token=geheim"),
    ],
)
def test_addresses_that_are_not_used(place):
    with pytest.raises(UserError, match="the shards' address") as told:
        Manifest.load(place)
    assert "geheim" not in str(told.value)


def test_places_that_mean_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("shards") == str(tmp_path / "shards")
    assert absolute("https://host/shards") == absolute("https://host/shards/") == "https://host/shards/"


def test_a_full_disk_and_a_cache_that_cannot_be_made_are_one_line(manifest, server, tmp_path, monkeypatch):
    shard = manifest.splits["train"].shards[0]
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match=r"cache .*/file/cache: Not a directory: .* pass another --shard_cache"):
        open_source(server.address, tmp_path / "file" / "cache").read(shard)
    source = open_source(server.address, tmp_path / "cache")
    source.read(shard)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=shard.bytes - 1))
    other = manifest.splits["train"].shards[1]
    server.asked.clear()
    with pytest.raises(MachineError, match=f"0 MiB free, but 1 MiB needed for {other.file}: make room"):
        source.read(other)
    assert not server.asked and not cached(tmp_path / "cache")


def test_the_cache_is_the_user_s_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ShardCache().folder == tmp_path / "mere_ds" / "shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert ShardCache().folder == tmp_path / "home" / ".cache" / "mere_ds" / "shards"


def test_leaving_does_not_wait_for_a_server_that_hangs(server, cache, monkeypatch):
    asked, end = threading.Event(), threading.Event()

    def hang(handler):
        asked.set()
        end.wait(10)
        drop(handler)

    loaded = Manifest.load(server.address, cache)
    server.faults = {shard.file: [hang] for shard in loaded.splits["train"].shards}
    monkeypatch.setattr("mere_ds.shards.reading.LEAVE_SECONDS", 0.01)
    with reader_of(loaded):
        assert asked.wait(10)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "shard-reader")
    assert thread.is_alive()
    end.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.slow
def test_ranks_train_and_a_run_is_scored_from_a_server(server, cache, tmp_path):
    knobs = {
        "stage": "1",
        "epochs": 1,
        "batch_size": 16,
        "bottleneck": 16,
        "deepspeed_config": deepspeed_config(tmp_path),
    }
    run_ranks(2, shards=server.address, shard_cache=cache, run=tmp_path / "run", **knobs).ended(0)
    asked = dict(server.asked)
    assert asked.pop("manifest.json") == 2 and set(asked.values()) == {1}, "the ranks share what one has fetched"
    remote_scores, local_scores = (
        evaluate_runs([tmp_path / "run"], place, "test", which="stage1") for place in (None, str(server.folder))
    )
    for (scores,) in (remote_scores, local_scores):
        assert scores["made_from"]["shards"].pop("place") and scores["made_from"]["shards"]["as_trained"]
    assert remote_scores == local_scores
    assert server.asked["test-00000.tar"] == 1 and "train-00000.tar" in asked
    run_ranks(2, shards=server.folder, run=tmp_path / "local", **knobs).ended(0)
    weights = [load_file(tmp_path / f"{run}/checkpoints/stage1/best/model.safetensors") for run in ("run", "local")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
