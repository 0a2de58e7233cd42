"""`tiny`: the same corpus and seed give the same vocabulary and weights; a text keeps case, accents and offsets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.encoders import tiny
from mere_ds.encoders.sources import TinySize, build_encoder, fingerprint, load_encoder, load_tokenizer
from mere_ds.errors import UserError

TEXTS = [
    f"{who} {verb} {what} in {where}, {year}."
    for who in ("Zoë Ångström", "Jürgen Groß", "김하늘", "Ольга", "ليلى", "李明")
    for verb in ("founded", "gründete", "a quitté", "основала")
    for what in ("the Rowing Club", "das Café", "학교", "library")
    for where in ("Łódź", "Seoul", "Brêst")
    for year in (1911, 1987)
]
SIZE = TinySize(hidden=16, layers=1, heads=2, vocabulary=400, positions=64)


def trained():
    return tiny.train_tokenizer(TEXTS, SIZE, seed=0)


TOKENIZER = trained()


@pytest.mark.slow
def test_another_process_trains_the_same_vocabulary():
    code = "import json, test_tiny; print(json.dumps(test_tiny.TOKENIZER.get_vocab(), sort_keys=True))"
    paths = [Path(__file__).parent, Path(tiny.__file__).parents[2]]
    code = f"import sys; sys.path[:0] = {list(map(str, paths))}; {code}"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == TOKENIZER.get_vocab() == trained().get_vocab()


def test_case_and_accents_are_kept_and_chinese_characters_stand_alone():
    assert TOKENIZER.tokenize("Ångström李明") == ["Ångström", "李", "明"]
    assert "gründete" in TOKENIZER.get_vocab() and "grundete" not in TOKENIZER.get_vocab()
    assert TOKENIZER("Café").input_ids != TOKENIZER("café").input_ids


@given(st.text(alphabet=sorted(set("".join(TEXTS)) | set("\t\n")), max_size=60))
def test_offsets_are_those_of_the_text(text):
    encoding = TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False)
    for piece, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
        assert piece == "[UNK]" or text[start:end] == piece.removeprefix("##")
    covered = {i for start, end in encoding.offsets for i in range(start, end)}
    assert {i for i, character in enumerate(text) if not character.isspace()} <= covered


def test_the_vocabulary_holds_special_tokens_first_and_is_as_large_as_asked():
    vocabulary = TOKENIZER.get_vocab()
    assert [vocabulary[token] for token in tiny.SPECIAL.values()] == [0, 1, 2, 3, 4]
    assert sorted(vocabulary.values()) == list(range(len(vocabulary))) and len(vocabulary) < SIZE.vocabulary
    assert len(tiny.train_tokenizer(TEXTS, TinySize(vocabulary=100), seed=0)) == 100
    assert TOKENIZER("Zoë").input_ids[0] == 2 and TOKENIZER("Zoë").input_ids[-1] == 3
    assert TOKENIZER.unk_token_id not in TOKENIZER(TEXTS[0]).input_ids


def test_what_is_rare_is_no_word_piece():
    texts = [
        f"{'Oftmals' if i < tiny.LEAST_FREQUENCY else 'x'} {'Selten' if i < tiny.LEAST_FREQUENCY - 1 else 'x'}"
        for i in range(9)
    ]
    words = tiny.train_tokenizer(texts, SIZE, seed=0).get_vocab()
    assert "Oftmals" in words and "Selten" not in words and {"S", "##n"} <= words.keys()


def test_a_script_of_many_characters_does_not_burst_the_vocabulary():
    hangul = ["".join(chr(0xAC00 + 7 * i + j) for j in range(7)) for i in range(1000)]
    small = tiny.train_tokenizer(hangul, SIZE, seed=0)
    assert len(small) <= SIZE.vocabulary


def test_the_sample_is_bounded_and_even(monkeypatch):
    assert tiny.sample(iter("abc"), 3, seed=0) == ["a", "b", "c"]
    drawn = [tiny.sample(map(str, range(50)), 10, seed) for seed in range(400)]
    assert all(len(set(sample)) == 10 for sample in drawn)
    counts = [sum(str(i) in sample for sample in drawn) for i in range(50)]
    assert min(counts) > 40 and max(counts) < 130  # 80 each, standard deviation 8


def test_the_weights_follow_the_seed_and_leave_the_generator_alone(tmp_path):
    before = torch.get_rng_state()
    seeds = {"one": 1, "two": 2, "again": 1}
    build = {
        name: build_encoder("tiny", tmp_path / name, lambda: TEXTS, ["de"], seed, tiny=SIZE)
        for name, seed in seeds.items()
    }
    model = load_encoder(tmp_path / "one", build["one"])
    assert torch.equal(before, torch.get_rng_state())
    files = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in seeds}
    assert files["one"] == files["again"] != files["two"]
    assert build["again"] == build["one"]
    assert fingerprint(load_tokenizer(tmp_path / "again")) == build["one"].fingerprint
    rows = len(TOKENIZER) + 1
    assert (model.config.hidden_size, model.config.intermediate_size, model.config.vocab_size) == (16, 64, rows)
    assert (build["one"].vocab_size, build["one"].max_length, build["one"].weights_in_folder) == (rows, 64, True)


def test_who_may_read_the_weights_is_as_the_umask_says(tmp_path):
    umask = os.umask(0o027)
    try:
        build_encoder("tiny", tmp_path / "tiny", lambda: TEXTS, ["de"], tiny=SIZE)
    finally:
        os.umask(umask)
    assert (tmp_path / "tiny" / "model.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("sizes", "words"),
    [({"heads": 3}, "multiple of its number of heads"), ({"layers": 0}, "layers"), ({"vocabulary": 10}, "at least 20")],
)
def test_sizes_that_do_not_fit_are_refused(sizes, words):
    with pytest.raises(UserError, match=words):
        TinySize(**sizes)


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_a_corpus_without_text_is_refused(texts):
    with pytest.raises(UserError, match="no text"):
        tiny.train_tokenizer(texts, SIZE, seed=0)
