"""Shards in object stores, by their own drivers: as from the folder, or one line that says what to do.

S3 is moto's server."""

import socket
import sys
import threading
from functools import partial
from importlib import import_module

import pytest
import torch
from launching import deepspeed_config
from meddling import set_environment
from ranks import run_ranks

from mere_ds.errors import MachineError, UserError
from mere_ds.shards import fetching, object_store
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.plan import EpochPlan
from mere_ds.shards.reading import ShardReader
from mere_ds.shards.remote import open_source
from tests.shards.other_stores import ACCOUNT, Store
from tests.shards.s3_server import LOGIN, S3, busy, cut, drop


@pytest.fixture(scope="module")
def uploaded(manifest):
    with pytest.MonkeyPatch.context() as patch:
        server = S3(manifest.source.folder)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.upload()
    yield server
    server.close()


@pytest.fixture
def s3(uploaded, monkeypatch):
    """The server, with its login in the environment."""
    for name, value in uploaded.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(fetching, "PAUSES", (0, 0))
    forget_drivers()
    uploaded.asked.clear()
    uploaded.faults.clear()
    uploaded.most = 0
    return uploaded


def forget_drivers(scheme: str = "s3"):
    """A driver reads the environment once in a thread."""
    type(object_store.STORES[scheme].driver()).clear_instance_cache()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def batches(manifest):
    plan = EpochPlan(manifest.index_of("train"), 16, window=64)
    with ShardReader(manifest, "train", plan, micro=16) as reader:
        yield from reader


def kept(folder) -> list[str]:
    """Files in the cache that are not of the encoder."""
    return [path.name for path in folder.glob("*") if len(path.name) >= 64]


def test_all_is_as_from_the_folder_in_small_ranges_and_the_second_time_nothing_is_fetched(
    manifest, s3, cache, monkeypatch
):
    monkeypatch.setattr(object_store, "RANGE", 7000)
    loaded = Manifest.load(s3.address, cache)
    assert loaded == manifest and loaded.sha256 == manifest.sha256
    for ours, theirs in zip(batches(loaded), batches(manifest), strict=True):
        assert torch.equal(ours.token_ids_BM, theirs.token_ids_BM) and torch.equal(ours.labels_T, theirs.labels_T)
    config = loaded.encoder_folder / "config.json"
    assert config.read_bytes() == (manifest.encoder_folder / "config.json").read_bytes()
    shard = manifest.splits["train"].shards[0]
    assert s3.asked[shard.file] == -(-shard.bytes // 7000) > 1 and s3.most == 7000

    s3.asked.clear()
    again = Manifest.load(s3.address.rstrip("/"), cache)
    assert list(batches(again)) and again.encoder_folder == loaded.encoder_folder
    assert set(s3.asked) == {"manifest.json"}


def test_another_object_than_the_manifest_says_is_refused_and_not_kept(manifest, s3, cache):
    shard, source = manifest.splits["train"].shards[1], open_source(s3.address, cache)
    whole = manifest.source.read(shard)
    damaged = bytes([*whole[:-1], whole[-1] ^ 1])
    for content, text in (
        (damaged, "damaged, its sha256 does not match the manifest"),
        (whole[:-1], f"has {shard.bytes - 1} bytes instead of {shard.bytes}"),
        (whole + b"x", f"is longer than {shard.bytes} bytes"),
    ):
        s3.put(shard.file, content)
        s3.asked.clear()
        with pytest.raises(UserError, match=f"{s3.address}{shard.file}: {text}"):
            source.read(shard)
        assert s3.asked[shard.file] == (len(content) <= shard.bytes) and not kept(cache)
    s3.put(shard.file, whole)
    assert source.read(shard) == whole


def test_what_is_not_there_is_named(manifest, s3, cache):
    shard = manifest.splits["train"].shards[2]
    s3.remove(shard.file)
    with pytest.raises(UserError, match=f"{s3.address}{shard.file}: the store has no such file: pass the address of a"):
        open_source(s3.address, cache).read(shard)
    s3.put(shard.file, manifest.source.read(shard))
    with pytest.raises(UserError, match=r"s3://nowhere/shards/manifest\.json: the store has no such file"):
        Manifest.load("s3://nowhere/shards", cache)


def test_a_login_that_is_wrong_or_absent_is_refused_at_once_and_not_shown(s3, cache, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)  # moto asks its IAM, which knows nobody
        with pytest.raises(UserError, match=r"manifest\.json: the store refuses access: log in, by AWS_") as wrong:
            Manifest.load(s3.address, cache)
    for name in LOGIN:
        monkeypatch.delenv(name)
    forget_drivers()
    with pytest.raises(UserError, match=r"manifest\.json: the store refuses access: log in, by AWS_") as absent:
        Manifest.load(s3.address, cache)
    for told in (wrong, absent):
        assert "\n" not in str(told.value) and not {*LOGIN.values()} & {*str(told.value).split()}
    assert not caplog.text


def test_a_public_file_needs_no_login(manifest, s3, cache, monkeypatch):
    shard = manifest.splits["train"].shards[0]
    s3.put(shard.file, manifest.source.read(shard), ACL="public-read")
    for name in LOGIN:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FSSPEC_S3_ANON", "true")
    config, found = import_module("fsspec.config"), {}
    config.set_conf_env(found)  # as fsspec does when it is imported
    monkeypatch.setitem(config.conf, "s3", found["s3"])
    forget_drivers()
    assert open_source(s3.address, cache).read(shard) == manifest.source.read(shard)


@pytest.mark.parametrize("fault", [drop, cut, busy])
def test_a_broken_connection_is_tried_again_and_then_the_machine_s_fault(manifest, s3, cache, fault):
    shard, source = manifest.splits["train"].shards[0], open_source(s3.address, cache)
    s3.faults[shard.file] = [fault] * 2
    assert source.read(shard) == manifest.source.read(shard)
    assert s3.asked[shard.file] == 3
    (cache / shard.sha256).unlink()
    s3.faults[shard.file] = [fault] * 9  # the driver asks twice where a connection was open already
    with pytest.raises(MachineError, match=f"{s3.address}{shard.file}: failed after 3 attempts") as told:
        source.read(shard)
    assert "\n" not in str(told.value) and not kept(cache)


def no_name(*_, **__):
    raise socket.gaierror(socket.EAI_NONAME, "No such name")


def test_no_server_is_the_machine_s_fault_and_an_impossible_one_the_user_s(s3, cache, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(
        MachineError, match=r"manifest\.json: failed after 3 attempts \(Connection refused\): check server"
    ):
        Manifest.load(s3.address, cache)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
    monkeypatch.setattr("socket.getaddrinfo", no_name)
    forget_drivers()
    with pytest.raises(MachineError, match=r"manifest\.json: failed after 3 attempts \(No such name\): check"):
        Manifest.load(s3.address, cache)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nowhere")
    forget_drivers()
    with pytest.raises(UserError, match=r"manifest\.json: ValueError: check the address, and AWS_"):
        Manifest.load(s3.address, cache)


def test_a_store_that_hangs_is_given_up(manifest, s3, cache, monkeypatch):
    monkeypatch.setattr(object_store, "RANGE_SECONDS", 0.2)
    shard, end = manifest.splits["train"].shards[0], threading.Event()

    def hang(environ, start_response):
        end.wait(10)
        return drop(environ, start_response)

    s3.faults[shard.file] = [hang] * 3
    with pytest.raises(MachineError, match=r"failed after 3 attempts \(the store is too slow, no 4 MiB in 0\.2 s\)"):
        open_source(s3.address, cache).read(shard)
    end.set()
    assert not kept(cache)


@pytest.mark.parametrize(("scheme", "library"), [("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs")])
def test_a_driver_that_is_not_installed_is_named(scheme, library, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    line = rf"shards at {scheme}:// need {library}, which is not installed: pip install 'mere-ds\[{scheme}\]'"
    with pytest.raises(UserError, match=line):
        Manifest.load(f"{scheme}://bucket/shards", cache)


@pytest.fixture(params=["gs://bucket/shards/", "az://bucket/shards/", "hf://datasets/org/name/shards/"])
def other(request, manifest, monkeypatch, cache):
    """The server of another store, and the address of the shards there."""
    store = Store(manifest.source.folder)
    account = f"AccountName={ACCOUNT};AccountKey=Z2VoZWlt;BlobEndpoint={store.url}/{ACCOUNT};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"DefaultEndpointsProtocol=http;{account}")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
    hub = "huggingface_hub.constants"  # which reads HF_ENDPOINT when it is imported
    monkeypatch.setattr(f"{hub}.ENDPOINT", store.url)
    monkeypatch.setattr(f"{hub}.HUGGINGFACE_CO_URL_TEMPLATE", store.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(fetching, "PAUSES", (0,))
    forget_drivers(request.param[:2])
    yield store, request.param
    store.close()


def test_other_stores_are_read_by_their_own_drivers(manifest, other, cache, monkeypatch):
    store, address = other
    monkeypatch.setattr(object_store, "RANGE", 7000)
    loaded = Manifest.load(address, cache)
    assert loaded == manifest and loaded.encoder_folder
    assert [b.rows_B.tolist() for b in batches(loaded)] == [b.rows_B.tolist() for b in batches(manifest)]
    shard = manifest.splits["train"].shards[0]
    assert store.asked[f"shards/{shard.file}"] == -(-shard.bytes // 7000) and store.most == 7000
    with pytest.raises(UserError, match=rf"{address}none/manifest\.json: the store has no such file"):
        Manifest.load(f"{address}none", cache)
    store.fault = 403
    with pytest.raises(UserError, match=rf"{address}manifest\.json: the store refuses access: log in, by [A-Z]+_"):
        Manifest.load(address, cache)


def test_other_stores_that_hang_are_given_up(other, cache, monkeypatch):
    store, address = other
    monkeypatch.setattr(object_store, "RANGE_SECONDS", 0.2)
    store.fault = threading.Event()
    with pytest.raises(MachineError, match=r"failed after 2 attempts \(the store is too slow, no 4 MiB in 0\.2 s\)"):
        Manifest.load(address, cache)
    store.fault.set()


@pytest.mark.slow
def test_ranks_train_from_a_store(s3, cache, tmp_path):
    knobs = {"stage": "1", "max_steps": 1, "batch_size": 16, "bottleneck": 16}
    knobs["deepspeed_config"] = deepspeed_config(tmp_path)
    meddle = partial(set_environment, s3.environment)
    run_ranks(2, meddle=meddle, shards=s3.address, shard_cache=cache, run=tmp_path / "run", **knobs).ended(0)
    assert s3.asked.pop("manifest.json") == 2 and set(s3.asked.values()) == {1}, "the ranks share what one has fetched"
    assert "train-00000.tar" in s3.asked and (tmp_path / "run/checkpoints/stage1/best").exists()
