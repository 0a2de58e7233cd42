"""Weights to start from instead of the encoder's own: of the same words, with other language symbols or none."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertModel

from mere_ds.encoders.sources import (
    TinySize,
    build_encoder,
    load_encoder,
    load_tokenizer,
    locate_weights,
    weights_digest,
)
from mere_ds.encoders.tokenizer_files import language_symbol
from mere_ds.errors import UserError
from mere_ds.sums import SUMS, write_sums

SIZE = TinySize(hidden=16, layers=1, heads=2, vocabulary=60, positions=64)
TEXTS = ["Anna Berg wurde in Köln geboren", "Seoul is the capital of Korea", "다니엘은 서울에서 태어났다"]


def tiny(folder, languages=("de", "en", "ko"), seed=0, **sizes):
    """(folder, its description) of a tiny encoder; the same words whatever languages and weights' seed."""
    size = TinySize(**{**SIZE.__dict__, **sizes})
    info = build_encoder("tiny", folder, lambda: TEXTS, list(languages), seed=seed, tiny=size)
    return folder, info


def words(model):
    return model.get_input_embeddings().weight.detach()


def inner(model):
    """All weights but the word embeddings and the pooler."""
    return {n: t for n, t in model.state_dict().items() if "word_embeddings" not in n and "pooler" not in n}


@pytest.fixture
def shards(tmp_path):
    return tiny(tmp_path / "shards")


@pytest.mark.parametrize("languages", [("de", "ko"), ("ar", "de", "en", "fr", "ko"), ("de", "en", "ko")])
def test_language_symbols_are_taken_by_their_name(shards, languages, tmp_path):
    other, _ = tiny(tmp_path / "other", languages, seed=1)
    model = load_encoder(*shards, weights=locate_weights(str(other)))
    given, own = BertModel.from_pretrained(other), load_encoder(*shards)
    assert words(model).shape == words(own).shape and model.config.vocab_size == len(words(own))
    first = min(shards[1].new_token_ids)
    assert torch.equal(words(model)[:first], words(given)[:first])
    assert all(torch.equal(tensor, inner(given)[name]) for name, tensor in inner(model).items())
    theirs = load_tokenizer(other).get_vocab()
    for language, row in shards[1].language_token_ids.items():
        known = theirs.get(language_symbol(language))
        assert torch.equal(words(model)[row], words(own)[row] if known is None else words(given)[known]), language


@pytest.mark.parametrize("symbols", [0, 3])
def test_of_weights_without_tokenizer_the_words_are_taken(shards, symbols, tmp_path, caplog):
    """As a masked language model saves them: with a head, without a pooler."""
    own = load_encoder(*shards)
    torch.manual_seed(1)
    other = BertForMaskedLM(own.config)
    other.resize_token_embeddings(len(words(own)) - 3 + symbols, mean_resizing=False)
    other.save_pretrained(tmp_path / "other")
    model, again = (load_encoder(*shards, weights=locate_weights(str(tmp_path / "other"))) for _ in range(2))
    assert ("3 rows beyond the vocabulary are not used" in caplog.text) == bool(symbols)
    assert torch.equal(words(model)[:-3], words(other)[: len(words(own)) - 3])
    assert torch.equal(words(model)[-3:], words(own)[-3:])
    assert all(torch.equal(tensor, other.bert.state_dict()[name]) for name, tensor in inner(model).items())
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_a_folder_s_encoder_takes_weights_as_well(foreign, tmp_path):
    source, original = foreign("bert")
    info = build_encoder(str(source), tmp_path / "shards", lambda: [], ["de", "en"])
    other = shutil.copytree(source, tmp_path / "other")
    torch.manual_seed(8)
    given = BertModel(original.config)
    given.save_pretrained(other)
    model = load_encoder(tmp_path / "shards", info, weights=locate_weights(str(other)))
    assert len(words(model)) == info.vocab_size == len(words(given)) + 2
    assert torch.equal(words(model)[:-2], words(given))
    assert not torch.equal(words(model)[-2], words(model)[-1])


def refused(shards, folder, says):
    with pytest.raises(UserError, match=says) as caught:
        load_encoder(*shards, weights=locate_weights(str(folder)))
    assert "\n" not in str(caught.value)


def test_other_words_sizes_and_architectures_are_refused(shards, foreign, tmp_path):
    refused(shards, tiny(tmp_path / "words", vocabulary=50)[0], "don't have the vocabulary of the shards' encoder")
    refused(shards, tiny(tmp_path / "wide", hidden=32)[0], "hidden_size = 32.* 16")
    refused(shards, tiny(tmp_path / "short", positions=32)[0], "max_position_embeddings = 32.* 64")
    refused(shards, foreign("xlm-r")[0], "model_type = xlm-roberta.* bert")
    same_number = shutil.copytree(shards[0], tmp_path / "swapped")
    tokenizer = json.loads((same_number / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    one, other = list(vocabulary)[20:22]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (same_number / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    refused(shards, same_number, "don't have the vocabulary of the shards' encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (same_number / name).unlink()
    load_encoder(*shards, weights=locate_weights(str(same_number)))  # nobody can tell
    cut = load_file(same_number / "model.safetensors")
    cut["embeddings.word_embeddings.weight"] = cut["embeddings.word_embeddings.weight"][:-4].clone()
    save_file(cut, same_number / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((same_number / "config.json").read_text())
    (same_number / "config.json").write_text(json.dumps(config | {"vocab_size": config["vocab_size"] - 4}))
    refused(shards, same_number, "don't have the vocabulary of the shards' encoder")


@pytest.mark.parametrize("ruin", ["gone", "loop"])
def test_a_lost_tokenizer_is_not_taken_for_none(shards, ruin, tmp_path):
    other = shutil.copytree(shards[0], tmp_path / "other")
    (other / "tokenizer.json").unlink()
    if ruin == "loop":
        (other / "tokenizer.json").symlink_to("tokenizer.json")
    refused(shards, other, "has a tokenizer_config.json but no tokenizer .*copy it again")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", SUMS])
def test_an_encoder_that_is_not_what_its_digests_say_is_refused(shards, tmp_path, name):
    other, _ = tiny(tmp_path / "other", seed=1)
    write_sums(other)
    expected = load_encoder(*shards, weights=locate_weights(str(other))).state_dict()
    build_encoder(str(other), tmp_path / "built", lambda: [], ["de"])
    content = (other / name).read_bytes()
    for ruined in (content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], content[: len(content) // 2], None):
        (other / name).unlink()
        if ruined is None:
            (other / name).symlink_to(name)  # a loop
        else:
            (other / name).write_bytes(ruined)
        refused(shards, other, f"{other} is damaged .*: copy or create it again")
        with pytest.raises(UserError, match="is damaged"):
            build_encoder(str(other), tmp_path / "built", lambda: [], ["de"])
    (other / name).unlink()
    (other / name).write_bytes(content)
    again = load_encoder(*shards, weights=locate_weights(str(other))).state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in expected.items())


def test_what_is_no_folder_with_safetensors_is_told_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="akoksal/MTMB.*mere-ds pretrain-mtmb") as caught:
        locate_weights("akoksal/MTMB")
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{}")
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        locate_weights(str(tmp_path))


def test_the_digest_is_of_weights_and_config(shards, tmp_path):
    folder = shards[0]
    digest = weights_digest(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    assert weights_digest(copy) == digest
    for name in ("config.json", "model.safetensors"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert weights_digest(copy) != digest
        (copy / name).write_bytes(content)
