"""--windows: a long training sentence becomes several that overlap, and each of its triples is in one or is counted."""

import json
import random
import shutil
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds.corpus.example import Example, Triple
from mere_ds.corpus.graphemes import trim, whole_graphemes
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.shards.encoding import FRAME, SentenceEncoder
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import read_shard
from mere_ds.shards.sealing import seal
from mere_ds.shards.summary import summary
from mere_ds.shards.windows import training_windows, windows
from tests.shards.test_encoding import PIECES, TOKENIZERS
from tests.shards.toy_corpus import make_shards, row_of_many, triples_of, whole_split, write_json_lines

NAMES = sorted(TOKENIZERS)


def encoder_of(name: str, max_length: int) -> SentenceEncoder:
    return SentenceEncoder(TOKENIZERS[name], ["en", "zh"], max_length)


def sentence(text: str, *triples: Triple) -> Example:
    return Example("7", "en", text, triples, "en.train.jsonl", 1)


# The rule

TEXTS = st.lists(PIECES, max_size=120).map("".join)
LENGTHS = st.integers(FRAME + 1, 24)


@given(TEXTS, LENGTHS, st.sampled_from(NAMES))
@settings(max_examples=200)
def test_all_that_has_tokens_is_in_a_window_and_no_window_is_too_long(text, max_length, name):
    check(text, max_length, name)


SPARSE = "mont " + " " * 600 + "is" + "z" * 400 + " a\u0301" + "\u0301" * 60 + "\u0000" * 600 + "town"
"""Many characters a token, or many in a grapheme."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_length", [FRAME + 1, 12])
def test_so_it_is_where_many_characters_are_few_tokens(max_length, name):
    check(SPARSE, max_length, name)


def check(text, max_length, name):
    encoder = encoder_of(name, max_length)
    found = list(windows(encoder, text, "en"))
    at = 0
    for window in found:
        assert text.startswith(window.text, window.start) and window.text
        gap = text[at : window.start]
        assert not gap or not encoder.encode_texts([gap], ["en"])[0].offsets, "nothing with tokens is left out"
        assert FRAME < len(window.encoded.ids) <= max_length and not window.encoded.truncated
        assert all(0 <= a <= b <= len(window.text) for a, b in window.encoded.offsets)
        at = window.start + len(window.text)
    assert not encoder.encode_texts([text[at:]], ["en"])[0].offsets
    assert all(one.start < two.start for one, two in pairwise(found))
    [whole] = encoder.words([text])
    assert len(found) <= 2 + 4 * len(whole.encoding) // encoder.room


@given(TEXTS, LENGTHS, st.sampled_from(NAMES), st.data())
@settings(max_examples=200)
def test_each_triple_is_in_every_window_that_holds_both_its_spans(text, max_length, name, data):
    def span():
        start = data.draw(st.integers(0, len(text) - 1))
        return start, data.draw(st.integers(start + 1, min(len(text), start + 12)))

    some = range(data.draw(st.integers(0, 5)) if text else 0)
    example = sentence(text, *(Triple(span(), f"r{n}", span()) for n in some))
    encoder = encoder_of(name, max_length)
    plain, found = list(windows(encoder, text, "en")), training_windows(encoder, example)
    assert len(found) == len(plain)
    for window, part in zip(plain, found, strict=True):
        end = window.start + len(window.text)
        inside = [
            n for n, (head, _, tail) in enumerate(example.triples)
            if window.start <= min(head[0], tail[0]) and max(head[1], tail[1]) <= end
        ]  # fmt: skip
        assert part.numbers == inside and part.example.text == window.text
        assert part.encoded.ids == window.encoded.ids.tolist() and not part.encoded.truncated
        for number, moved, encoded in zip(inside, part.example.triples, part.encoded.triples, strict=True):
            given_ = example.triples[number]
            assert moved.relation == given_.relation
            for ours, theirs in ((moved.head, given_.head), (moved.tail, given_.tail)):
                assert window.text[slice(*ours)] == text[slice(*theirs)]
            for position, its in zip((0, 2), (moved.head, moved.tail), strict=True):
                first, last = encoded.positions[position : position + 2]
                if first >= 0 and encoded.exact[position // 2]:
                    assert window.encoded.characters(window.text, first, last) == trim(window.text, its)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(FRAME + 8, 24), st.sampled_from(NAMES))
def test_words_of_up_to_half_a_window_stay_whole_and_keep_their_tokens(lengths, max_length, name):
    """Their letters are tokens, or the word is one."""
    words = [chr(ord("a") + n % 26) * length for n, length in enumerate(lengths)]
    encoder, text = encoder_of(name, max_length), " ".join(words)
    most = max(len(encoder.encode_texts([" " + word], ["en"])[0].offsets) for word in words)
    found = list(windows(encoder, text, "en"))
    for window in found:
        first = len(text[: window.start].split())
        if most <= (max_length - FRAME) // 2:
            assert window.start == 0 or " " in text[window.start - 1 : window.start + 1]
            its = window.text.split()
            assert its == words[first : first + len(its)]
            assert window.encoded.ids.tolist() == encoder.encode_texts([window.text], ["en"])[0].ids.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_word_longer_than_a_window_is_cut_between_graphemes(name):
    for unit in ("e\u0301", "👩\u200d👩", "北", "각"):
        text = unit * 60
        found = list(windows(encoder_of(name, 20), text, "en"))
        for window in found:
            for place in (window.start, window.start + len(window.text)):
                assert whole_graphemes(text, (place, place)) == (place, place)
        assert found[0].start == 0 and found[-1].start + len(found[-1].text) == len(text)


def test_windows_overlap_by_half():
    encoder = encoder_of("wordpiece", 10 + FRAME)
    text = " ".join(["mont", "is", "a", "town", "big"] * 6)
    starts = [len(text[: window.start].split()) for window in windows(encoder, text, "en")]
    assert starts == [0, 5, 10, 15, 20]
    assert [len(window.text.split()) for window in windows(encoder, text, "en")] == [10] * 5


@pytest.mark.parametrize("tail, where", [(9, [0]), (4, [0]), (14, []), (7, [0])])
def test_a_pair_up_to_half_a_window_apart_is_always_together(tail, where):
    encoder = encoder_of("wordpiece", 10 + FRAME)
    words = ["mont", "is", "a", "town", "big"] * 6
    places = [sum(map(len, words[:n])) + n for n in range(len(words))]

    def span(n):
        return places[n], places[n] + len(words[n])

    found = training_windows(encoder, sentence(" ".join(words), Triple(span(0), "r", span(tail))))
    assert [n for n, window in enumerate(found) if window.numbers] == where
    for first in range(len(words) - 5):
        near = sentence(" ".join(words), Triple(span(first), "r", span(first + 4)))
        assert any(window.numbers for window in training_windows(encoder, near))


# In shards


def long_lines(folder, sizes=None, seed=1):
    """JSON lines of which every third row is as long as several others, with far and near triples."""
    folder = write_json_lines(folder, sizes or {"de": (60, 0, 12), "fr": (40, 0, 6)}, seed)
    draw = random.Random(seed)
    for path in folder.glob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for number in range(0, len(rows), 3):
            parts = [row_of_many("", rows[0]["lang"], draw) for _ in range(4)]
            text, triples = "", []
            for part in parts:
                by = len(text)
                triples += [
                    {**t, "head": [n + by for n in t["head"]], "tail": [n + by for n in t["tail"]]}
                    for t in part["triples"]
                ]
                text += part["text"] + " "
            triples.append({"head": [0, 2], "relation": "born-in", "tail": [len(text) - 3, len(text) - 1]})
            rows[number] |= {"text": text, "triples": triples}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


MOST = 24


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return long_lines(tmp_path_factory.mktemp("long") / "lines")


@pytest.fixture(scope="module")
def uncut(long, tmp_path_factory) -> Manifest:
    """Shards without --windows."""
    return make_shards(long, tmp_path_factory.mktemp("uncut") / "out", max_length=MOST)


@pytest.fixture(scope="module")
def cut(long, uncut, tmp_path_factory) -> Manifest:
    encoder = str(uncut.encoder_folder)
    return make_shards(long, tmp_path_factory.mktemp("cut") / "out", max_length=MOST, windows=True, encoder=encoder)


def rows_of(folder, split):
    return {
        (row["lang"], row["id"]): row
        for path in sorted(folder.glob(f"*.{split}.jsonl"))
        for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    }


def records_of(manifest, split):
    shards = manifest.splits[split].shards
    return [r for s in shards for member in read_shard(manifest.source, s, "json") for r in member["json"]]


def distinct(row):
    return list(dict.fromkeys(((*t["head"],), t["relation"], (*t["tail"],)) for t in row["triples"]))


def stored(manifest, split):
    """Every sentence as its tokens and its triples' labels and positions."""
    sentences = whole_split(manifest, split)
    for place, (start, length) in enumerate(zip(sentences.starts.tolist(), sentences.lengths.tolist(), strict=True)):
        triples = sorted((manifest.labels[label], *where) for label, where, _ in triples_of(sentences, place))
        yield tuple(sentences.tokens[start : start + length].tolist()), tuple(triples)


def test_training_is_the_windows_of_its_sentences_and_what_falls_between_is_counted(long, cut):
    encoder = SentenceEncoder(load_tokenizer(cut.encoder_folder), cut.languages, MOST)
    dev = {(record["lang"], record["id"]) for record in records_of(cut, "dev")}
    expected, counts = Counter(), {name: Counter() for name in ("sentences", "windows", "repeated_triples", "between")}
    labels = Counter()
    for (language, name), row in rows_of(long, "train").items():
        if (language, name) in dev:
            continue
        found, triples = list(windows(encoder, row["text"], language)), distinct(row)
        homes = Counter()
        for window in found:
            end, inside = window.start + len(window.text), []
            for number, (head, relation, tail) in enumerate(triples):
                if window.start <= min(head[0], tail[0]) and max(head[1], tail[1]) <= end:
                    homes[number] += 1
                    spans = [
                        [
                            place + 2
                            for place, (a, b) in enumerate(window.encoded.offsets)
                            if a + window.start < span[1] and b + window.start > span[0]
                        ]
                        for span in (head, tail)
                    ]
                    inside.append((relation, *(its[end] for its in spans for end in (0, -1))))
                    labels[language, relation] += 1
            expected[tuple(window.encoded.ids.tolist()), tuple(sorted(inside))] += 1
        if len(found) > 1:
            counts["sentences"][language] += 1
            counts["windows"][language] += len(found)
            counts["repeated_triples"][language] += homes.total() - len(homes)
        counts["between"][language] += len(triples) - len(homes)
    assert Counter(stored(cut, "train")) == expected
    assert cut.windows == {name: counts[name] for name in ("sentences", "windows", "repeated_triples")}
    assert min(n for of in cut.windows.values() for n in of.values()) > 0
    train = cut.splits["train"]
    assert {(a, b): n for a, of in train.counts.items() for b, n in of.items()} == labels and not train.truncated
    for file in cut.files:
        if file["split"] == "train":
            given_ = [
                distinct(row) for (language, _), row in rows_of(long, "train").items() if language == file["language"]
            ]
            assert file["kept"] == file["rows"] == len(given_)
            assert sum(file["labels"].values()) + sum(file["left_out"].values()) == sum(map(len, given_))
            # as without windows, what a dev row loses to the maximum length is counted too
            assert file["left_out"]["between_windows"] == counts["between"][file["language"]] > 0
            assert set(file["left_out"]) <= {"between_windows", "span_beyond_max_length"}


def test_dev_and_test_are_what_they_are_without_windows(cut, uncut):
    for split in ("dev", "test"):
        assert records_of(cut, split) == records_of(uncut, split)
        assert cut.splits[split] == uncut.splits[split] and cut.splits[split].truncated
    assert cut.missed_test == uncut.missed_test
    assert uncut.windows is None and '"windows"' not in (uncut.source.folder / "manifest.json").read_text()


def test_what_falls_between_is_in_the_rejects_with_its_row(long, cut):
    lines = (cut.source.folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    rejects = [reject for reject in map(json.loads, lines) if reject["reason"] == "between_windows"]
    given_ = rows_of(long, "train")
    assert rejects and all(reject["kept"] for reject in rejects)
    for reject in rejects:
        row = json.loads(reject["raw"])
        assert row["text"] == given_[row["lang"], row["id"]]["text"]


def test_the_summary_and_a_view_say_how_many(cut):
    between = sum(file["left_out"].get("between_windows", 0) for file in cut.files if "left_out" in file)
    sentences, parts, repeated = (sum(counts.values()) for counts in cut.windows.values())
    line = (
        f"windows: {sentences} training sentences of more than {MOST} tokens became {parts}; {repeated} triples were "
        f"added because they are in several windows, {between} are in none"
    )
    assert line in summary(cut).splitlines() and f"between_windows {between}" in summary(cut)
    assert cut.only(["fr"]).windows == {name: {"fr": counts["fr"]} for name, counts in cut.windows.items()}


def test_shards_without_long_sentences_are_the_same_with_windows(lines, many, tmp_path):
    encoder = str(many.encoder_folder)
    options = {"sentences_per_shard": 30, "sentences_per_member": 7, "windows": True, "encoder": encoder}
    again = make_shards(lines, tmp_path / "out", **options)
    assert again.windows == {"sentences": {}, "windows": {}, "repeated_triples": {}}
    for split in ("train", "dev", "test"):
        assert again.splits[split] == many.splits[split]
    assert again.index_sha256 == many.index_sha256


def test_the_same_command_gives_the_same_bytes_whether_rows_are_read_before_or_not(long, cut, uncut, tmp_path):
    again = make_shards(long, tmp_path / "out", max_length=MOST, windows=True, encoder=str(uncut.encoder_folder))
    assert again == cut
    tiny = [make_shards(long, tmp_path / name, max_length=MOST, windows=True) for name in ("a", "b")]
    assert tiny[0] == tiny[1] and tiny[0].windows["sentences"] == cut.windows["sentences"]


def test_translations_of_a_divided_sentence_stay_together(tmp_path):
    folder = long_lines(tmp_path / "lines", {"de": (40, 0, 8), "fr": (40, 0, 8)})
    shards = make_shards(folder, tmp_path / "out", max_length=MOST, windows=True, parallel_ids=True)
    dev = Counter(record["id"] for record in records_of(shards, "dev"))
    assert dev and set(dev.values()) == {2}
    rows = rows_of(folder, "train")
    long_ones = {name for (_, name), row in rows.items() if row["text"].endswith(" ")}
    assert long_ones & set(dev), "a long sentence may be dev"
    assert shards.splits["dev"].sentences == dev.total()


def test_texts_of_test_are_not_divided_but_dropped(long, uncut, tmp_path):
    folder = shutil.copytree(long, tmp_path / "lines")
    leak = next(row for row in rows_of(folder, "train").values() if row["text"].endswith(" "))
    with (folder / f"{leak['lang']}.test.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(leak) + "\n")
    encoder = str(uncut.encoder_folder)
    options = {"max_length": MOST, "windows": True, "encoder": encoder}
    shards = make_shards(folder, tmp_path / "out", drop_leaks=True, **options)
    kept = make_shards(folder, tmp_path / "kept", **options)
    assert shards.dropped_leaks == {"train": {leak["lang"]: 1}}
    assert sum(shards.splits["train"].by_language.values()) < sum(kept.splits["train"].by_language.values())


def test_windows_are_for_many_triples(corpus, tmp_path):
    with pytest.raises(UserError, match="--windows is for many triples a sentence: omit it, or pass --triples=many"):
        make_shards(corpus, tmp_path / "out", windows=True)
    assert not (tmp_path / "out").exists()


WRONG = {
    "of one triple": (("triples",), "one"),
    "other names": (("windows",), {"sentences": {}}),
    "an unknown language": (("windows", "windows"), {"xx": 3}),
    "no count": (("windows", "sentences"), {"de": -1}),
    "a flag": (("windows",), True),
}


@pytest.mark.parametrize("case", WRONG)
def test_entries_that_cannot_be_are_one_line(cut, tmp_path, case):
    folder = shutil.copytree(cut.source.folder, tmp_path / "shards")
    plain = inner = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    path, value = WRONG[case]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / "manifest.json").write_bytes(seal(plain))
    with pytest.raises(UserError, match=r"manifest\.json: ") as refused:
        Manifest.load(folder)
    assert "\n" not in str(refused.value)
