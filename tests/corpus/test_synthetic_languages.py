"""The grammar of language files, the fourteen files themselves, and how sentences are shared out."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.corpus.smiler import LABEL_COUNTS
from mere_ds.corpus.synthetic import checking
from mere_ds.corpus.synthetic.grammar import load_language, parse_language
from mere_ds.corpus.synthetic.parts import Names, is_test_name
from mere_ds.corpus.synthetic.sentences import Writer
from mere_ds.corpus.synthetic.shares import LABELS, apportion, label_sizes, split_sizes

SMALL = """
# a comment
[kind first]
Ada | Bo | Cy | Di | Ed | Flo | Gus | Hal | Ida | Jo | Kay | Lee
[kind person]
{first} {first}son | {first} {|van }{first}man
[kind place]
{first}{ton|by}
[kind number]
{1000..9000:,}
[label birth-place]
{head}{aside} was born in {tail}, {number} miles off.
{^tail}ers saw {head:person} born.
[before]
Says {person}:
[after]
, or so {person} said.
{person} left for {place}.
[aside]
(see {person})
, says {person},
"""


@pytest.mark.parametrize("code", SMILER_LANGUAGES)
def test_language_files_pass_their_check(code):
    language = load_language(code)
    assert checking.problems(code, language) == []
    assert set(language.labels) == set(LABELS[code])
    assert all(len(set(patterns)) >= 3 for patterns in language.labels.values())


def test_sizes_of_the_label_sets():
    sizes = {code: len(labels) for code, labels in LABELS.items()}
    assert sizes == dict.fromkeys(SMILER_LANGUAGES, 22) | {
        "en": 36, "ko": 28, "pl": 21, "es": 21, "ar": 9, "ru": 8, "fa": 8, "uk": 7,
    }  # fmt: skip
    assert "no_relation" not in LABELS["pl"] and "birth-place" not in LABELS["ar"]


def test_sentences_from_a_small_grammar():
    language = parse_language(SMALL)
    for test in (False, True):
        writer = Writer(language, Random(3), test)
        written = [writer.sentence("birth-place") for _ in range(300)]
        for sentence in written:
            assert f"<e1>{sentence.head}</e1>" in sentence.text and f"<e2>{sentence.tail}</e2>" in sentence.text
            assert is_test_name(sentence.head) == is_test_name(sentence.tail) == test
            assert not re.search(r",[.,]|\.,|[{}|]", sentence.text)
            assert sentence.text.endswith(".")
        texts = " ".join(sentence.text for sentence in written)
        for example in ("</e1> (see ", "</e1>, says ", "</e2>ers saw ", ", or so ", " left for ", "Says "):
            assert example in texts
        assert re.search(r" \d,\d\d\d miles", texts)


def test_an_introduction_stands_once_directly_before_the_core():
    text = SMALL.replace("Says {person}:", "Says {person}:\nAsks {person}:\n{person} rose.\n{person} sat.")
    writer = Writer(parse_language(text), Random(3), test=False)
    for _ in range(300):
        before = re.split("<e[12]>", writer.sentence("birth-place").text)[0]
        assert ":" not in before.removesuffix(": ")


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("[kind place]", "[kinds place]", "line 7: not a section"),
        ("[label birth-place]", "[label birth]", "unknown label"),
        ("{number} miles", "{numbers} miles", "kind numbers is not defined"),
        ("{head:person} born", "{head:people} born", "kind people is not defined"),
        ("saw {head:person}", "saw {tail}", "exactly once"),
        ("{1000..9000:,}", "{9000..1000}", "an empty range"),
        ("{1000..9000:,}", "{1000-9000}", "cannot read"),
        ("{ton|by}", "{ton|by", "unbalanced brace"),
        ("(see {person})", "(see {head})", "only allowed in patterns"),
        ("Ada |", "Ada |  |", "an empty alternative"),
        ("(see {person})", "<e1>", "a mark or a tab"),
        ("# a comment", "a line", "before the first section"),
        ("[kind number]", "[kind tail]", "may not have this name"),
    ],
)
def test_faults_are_named(old, new, fault):
    assert old in SMALL
    with pytest.raises(ValueError, match=re.escape(fault)):
        parse_language(SMALL.replace(old, new, 1))


def test_the_check_finds_what_a_file_lacks():
    found = "\n".join(checking.problems("uk", parse_language(SMALL)))
    for problem in ("has-type is missing", "birth-place is not one of", "fewer than 3 patterns", "[after] has fewer"):
        assert problem in found
    assert "kind person has" in found
    cycle = parse_language(SMALL.replace("{first}{ton|by}", "New {place}"))
    assert checking.problems("uk", cycle) == ["these kinds are parts of themselves or have no names: ['place']"]


def test_command_prints_samples(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["checking", "uk", "--samples=7"])
    assert checking.main() == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "no problem found"
    assert [line.split(":")[0] for line in shown[-7:]] == list(LABELS["uk"])


@pytest.mark.parametrize("test", [False, True])
def test_names_keep_to_their_side_and_out_of_the_avoided(test):
    language = parse_language(SMALL + "[kind year]\n{1900..2000} | {1900..2000:ar}\n")
    names = Names(language.kinds, language.entity_kinds, Random(1), test)
    for kind in ("year", "person"):
        surfaces = sorted({names.surface(kind) for _ in range(500)})
        assert len(surfaces) > 10 and all(is_test_name(surface) == test for surface in surfaces)
        names.avoid = tuple(surface.casefold() for surface in surfaces[::2])
        assert not {names.surface(kind).casefold() for _ in range(500)} & set(names.avoid)


@given(
    st.integers(0, 5000),
    st.lists(st.tuples(st.floats(0.001, 1000), st.integers(0, 40)), min_size=1, max_size=20),
)
def test_apportion_is_exact_and_keeps_floors(total, shares):
    weights, floors = map(list, zip(*shares, strict=True))
    parts = apportion(total, weights, floors)
    assert sum(parts) == total and min(parts) >= 0
    if total >= sum(floors):
        assert all(part >= floor for part, floor in zip(parts, floors, strict=True))


@given(st.integers(140, 2_000_000), st.sampled_from(["small", "mid", "full"]))
def test_split_sizes_are_exact(sentences, english):
    sizes = split_sizes(sentences, SMILER_LANGUAGES, english)
    assert sum(map(sum, sizes.values())) == sentences
    assert all(train > 0 and test > 0 for train, test in sizes.values())
    if sentences >= 2000:
        assert all(test >= 20 and train >= 3 * len(LABELS[code]) for code, (train, test) in sizes.items())


def test_labels_keep_their_weights():
    sizes = label_sizes("en", 1_000_000, 3)
    for label, count in sizes.items():
        assert count == pytest.approx(1_000_000 * LABEL_COUNTS[label] / sum(LABEL_COUNTS.values()), abs=1)
