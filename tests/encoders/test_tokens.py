"""Language symbols, literal special tokens, loading, fingerprints."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from transformers import AutoTokenizer

from mere_ds.encoders.sources import build_encoder, fingerprint, load_tokenizer
from mere_ds.encoders.tokenizer_files import read_tokenizer
from mere_ds.encoders.tokens import add_languages, roles_of, save_tokenizer, wrap
from mere_ds.errors import UserError

LANGUAGES = ["de", "en", "zh-tw"]
LITERALS = [
    "[de]",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "[PAD]",
    "<s>",
    "</s>",
    "<pad>",
    "<unk>",
    "<mask>",
    "[zh-tw]",
    "<s",
    "s>",
]
KINDS = ["bert", "xlm-r"]


@pytest.fixture
def built(foreign, tmp_path):
    def make(kind, languages=LANGUAGES):
        source, _ = foreign(kind)
        info = build_encoder(str(source), tmp_path / "out", lambda: [], languages)
        return tmp_path / "out", info, source

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_symbols_are_single_tokens_after_the_old_vocabulary(built, kind):
    folder, info, source = built(kind)
    tokenizer, old = load_tokenizer(folder), AutoTokenizer.from_pretrained(source)
    assert tokenizer.convert_tokens_to_ids(["[de]", "[en]", "[zh-tw]"]) == [len(old) + i for i in range(3)]
    assert info.language_token_ids == {"de": len(old), "en": len(old) + 1, "zh-tw": len(old) + 2}
    assert tokenizer("the Haus singing").input_ids == old("the Haus singing").input_ids
    assert roles_of(tokenizer) == roles_of(old)


@pytest.mark.parametrize("kind", KINDS)
def test_languages_added_twice_change_nothing(built, kind):
    folder, info, _ = built(kind)
    tokenizer = load_tokenizer(folder)
    assert add_languages(tokenizer, LANGUAGES) == []
    assert fingerprint(tokenizer) == info.fingerprint


@pytest.mark.parametrize("kind", KINDS)
@given(parts=st.lists(st.sampled_from([*LITERALS, " ", "Haus", "ab", "ß", ","]), max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_text_spells_a_special_token(built, kind, parts, request):
    tokenizer, alone = kept(request, built, kind)
    text = "".join(parts)
    special = set(tokenizer.backend_tokenizer.get_added_tokens_decoder())
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    assert not special & set(encoding.ids)
    assert tokenizer(text, add_special_tokens=False).input_ids == encoding.ids
    covered = {i for start, end in encoding.offsets for i in range(start, end)}
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered
    assert all(0 <= start <= end <= len(text) for start, end in encoding.offsets)
    without_transformers = alone.backend_tokenizer.encode(text, add_special_tokens=False)
    assert without_transformers.ids == encoding.ids and without_transformers.offsets == encoding.offsets


def kept(request, built, kind):
    """One built tokenizer, as transformers' and as tokenizers' own, for all of hypothesis' examples of a test."""
    if not hasattr(request.node, "tokenizers"):
        folder, *_ = built(kind)
        request.node.tokenizers = load_tokenizer(folder), read_tokenizer(folder)
    return request.node.tokenizers


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_is_the_same_without_transformers(built, kind):
    folder, info, _ = built(kind)
    ours, theirs = read_tokenizer(folder), load_tokenizer(folder)
    assert ours.fingerprint == info.fingerprint
    for name in ("cls_token_id", "sep_token_id", "pad_token_id", "model_max_length"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.roles == roles_of(theirs)
    assert len(ours) == len(theirs) and ours.all_special_ids == sorted(theirs.all_special_ids)


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_behind_a_literal_are_right(built, kind):
    tokenizer = load_tokenizer(built(kind)[0])
    text = "a [SEP] <s> Haus, [de] der"
    encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
    at = encoding.char_to_token(text.index("Haus"))
    start, end = encoding.offsets[at]
    assert text[start:end].strip() == "Haus"
    start, end = encoding.offsets[-1]
    assert text[start:end].strip() == "der"


def test_a_symbol_that_is_there_keeps_its_id(built, tmp_path, foreign):
    folder, _, _ = built("bert")
    tokenizer = load_tokenizer(folder)
    size = len(tokenizer)
    assert add_languages(tokenizer, ["de", "fr"]) == [size]
    assert tokenizer.convert_tokens_to_ids(["[de]", "[fr]"]) == [size - 3, size]


@pytest.mark.parametrize("language", ["", "d e", "a]b", "SEP"])
def test_an_odd_language_code_is_refused(built, language):
    with pytest.raises(UserError, match="language code"):
        built("bert", [language])


def test_a_tokenizer_without_sentence_ends_is_refused():
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(UserError, match="no cls_token and no sep_token"):
        add_languages(wrap(backend, {"pad_token": "a", "unk_token": "[UNK]"}, 10), ["de"])


def test_a_tokenizer_that_takes_literals_for_special_tokens_is_refused():
    words = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[PAD]": 3}
    roles = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    with pytest.raises(UserError, match=r"'\[(CLS|SEP|PAD)\]' in a text"):
        add_languages(wrap(backend, roles, 10), ["de"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_outlives_layout_truncation_and_padding(built, kind):
    folder, info, _ = built(kind)
    tokenizer = load_tokenizer(folder)
    tokenizer.backend_tokenizer.enable_truncation(7)
    tokenizer.backend_tokenizer.enable_padding(length=9)
    assert fingerprint(tokenizer) == info.fingerprint
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["truncation"] = {"max_length": 5, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    if kind == "bert":
        content["model"]["vocab"] = dict(sorted(content["model"]["vocab"].items()))
    (folder / "tokenizer.json").write_text(json.dumps(dict(reversed(content.items())), indent=7))
    tokenizer = load_tokenizer(folder)
    assert fingerprint(tokenizer) == info.fingerprint
    assert tokenizer.backend_tokenizer.truncation is None


def swap_two_tokens(content):
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary["Haus"], vocabulary["the"] = vocabulary["the"], vocabulary["Haus"]
    else:
        vocabulary[4], vocabulary[5] = vocabulary[5], vocabulary[4]


def rename_one_token(content):
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary["Hauz"] = vocabulary.pop("Haus")
    else:
        vocabulary[5][0] = "▁Hauz"


def rename_a_symbol(content):
    content["added_tokens"][-1]["content"] = "[xx]"


def change_the_normaliser(content):
    content["normalizer"] = json.loads(normalizers.NFD().__getstate__())


CHANGES = [swap_two_tokens, rename_one_token, rename_a_symbol, change_the_normaliser]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_tells_another_tokenizer(built, kind, change):
    folder, info, _ = built(kind)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert fingerprint(load_tokenizer(folder)) != info.fingerprint


def test_the_fingerprint_tells_other_roles(built):
    folder, info, _ = built("bert")
    tokenizer = load_tokenizer(folder)
    tokenizer.cls_token = "[MASK]"
    assert fingerprint(tokenizer) != info.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_is_loaded_by_transformers_too(built, kind, tmp_path):
    folder, info, _ = built(kind)
    tokenizer = load_tokenizer(folder)
    (tmp_path / "copy").mkdir()
    save_tokenizer(tokenizer, tmp_path / "copy")
    assert fingerprint(load_tokenizer(tmp_path / "copy")) == info.fingerprint
    assert AutoTokenizer.from_pretrained(folder)("the [de] <s>").input_ids == tokenizer("the [de] <s>").input_ids


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_missing_or_damaged_file_is_named(built, name):
    folder, _, _ = built("bert")
    content = (folder / name).read_text(encoding="utf-8")
    (folder / name).write_text(content[: len(content) // 2], encoding="utf-8")
    with pytest.raises(UserError, match="can't be read|invalid JSON"):
        load_tokenizer(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"(has no {name}|{name}: No such file)"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda values: values.clear(), "cls_token, sep_token, pad_token, model_max_length"),
        (lambda values: values.update(pad_token=""), "pad_token"),
        (lambda values: values.update(cls_token=["[CLS]"]), "cls_token"),
        (lambda values: values.update(sep_token="[NONE]"), "sep_token"),
        (lambda values: values.update(mask_token="[NONE]"), "mask_token"),
        (lambda values: values.update(model_max_length="64"), "model_max_length"),
        (lambda values: values.update(model_max_length=-1), "model_max_length"),
    ],
)
def test_settings_that_are_lacking_or_odd_are_one_line(built, change, named):
    folder = built("bert")[0]
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"no valid {named}: ") as refused:
        load_tokenizer(folder)
    assert "\n" not in str(refused.value)
