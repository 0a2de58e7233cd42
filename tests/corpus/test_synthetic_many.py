"""The synthetic corpus of `--triples=many`: spans, triples, kinds of overlap, decidable texts, the same bytes again."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds import cli
from mere_ds.corpus.languages import SMILER_LANGUAGES
from mere_ds.corpus.synthetic import checking
from mere_ds.corpus.synthetic.generator import synthesize
from mere_ds.corpus.synthetic.grammar import load_language, parse_language
from mere_ds.corpus.synthetic.many import OVERLAPS, ManyWriter, overlaps
from mere_ds.corpus.synthetic.parts import is_test_name
from mere_ds.corpus.synthetic.roles import LABEL_KINDS
from mere_ds.errors import UserError

TOTAL, AT_LEAST = 5600, 400

SMALL = """
[kind first]
Ada | Bo | Cy | Di | Ed | Flo | Gus | Hal | Ida | Jo | Kay | Lee
[kind person]
{first} {first}son | {first} {|van }{first}man
[kind place]
{first}{ton|by}
[label birth-place]
{head} was born in {tail}.
It was {tail} where {head} was born.
[join]
, and
[facts]
{(a}Friends of {b:person}{a)} was founded by its namesake. => a org-has-founder b
{a:person} and {b:person} come from {c:place}. => a birth-place c, b birth-place c
[before]
Says {person}:
[after]
, or so {person} said.
{person} left for {place}.
"""


def rows_of(folder, pattern="*.jsonl"):
    """{file name: its rows, triples as (head, relation, tail) with spans as pairs}."""
    found = {}
    for path in sorted(folder.glob(pattern)):
        rows = found[path.name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for row in rows:
            row["triples"] = [(tuple(t["head"]), t["relation"], tuple(t["tail"])) for t in row["triples"]]
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return folder, synthesize(folder, TOTAL, seed=5, at_least=AT_LEAST, processes=1, triples="many")


@settings(max_examples=150)
@given(st.sampled_from(SMILER_LANGUAGES), st.integers(0, 10**6), st.booleans(), st.integers(0, 5))
def test_a_sentence_has_the_triples_asked_for_at_spans_that_carry_its_names(code, seed, test, count):
    sentence = ManyWriter(load_language(code), Random(seed), test).sentence(count)
    text = sentence.text
    assert len(sentence.triples) == len(set(sentence.triples)) == count
    for head, relation, tail in sentence.triples:
        assert head != tail and relation in LABEL_KINDS and relation != "no_relation"
        for start, end in (head, tail):
            assert 0 <= start < end <= len(text)
            assert text[start:end] == sentence.names[start, end] == text[start:end].strip()
            assert is_test_name(text[start:end]) == test
    assert text == text.strip() and len(text.split()) <= 100
    assert not any(mark in text for mark in ("{", "}", "<", ">", "  "))
    assert ManyWriter(load_language(code), Random(seed), test).sentence(count) == sentence


@pytest.mark.parametrize("code", SMILER_LANGUAGES)
def test_written_sentences_pass_the_check_with_all_kinds_on_both_sides(code):
    for test in (False, True):
        assert checking.many_problems(checking.many_samples(load_language(code), 360, seed=3, test=test), test) == []


def test_files_rows_and_counts(corpus):
    folder, counts = corpus
    written = rows_of(folder)
    assert set(written) == {f"{code}.{split}.jsonl" for code in SMILER_LANGUAGES for split in ("train", "test")}
    assert sum(map(len, written.values())) == TOTAL == counts["sentences"] == counts["train"] + counts["test"]
    for name, rows in written.items():
        assert [row["id"] for row in rows] == [str(number) for number in range(len(rows))]
        assert {row["lang"] for row in rows} == {name[:2]} and all(set(row) == {*row, "text"} for row in rows)
        told = counts["files"][name]
        kinds = Counter(kind for row in rows for kind in overlaps(row["triples"]))
        assert told["overlaps"] == {kind: kinds[kind] for kind in OVERLAPS}
        assert (told["language"], told["sentences"]) == (name[:2], len(rows))
        assert told["triples"] == sum(len(row["triples"]) for row in rows)
        assert told["without"] == sum(not row["triples"] for row in rows)


def test_a_quarter_of_each_language_has_none_and_all_numbers_and_kinds_are_there(corpus):
    folder, _ = corpus
    for code in SMILER_LANGUAGES:
        rows = [row for of_file in rows_of(folder, f"{code}.*").values() for row in of_file]
        numbers = Counter(len(row["triples"]) for row in rows)
        assert len(rows) >= AT_LEAST and set(numbers) == {0, 1, 2, 3, 4, 5}
        assert numbers[0] / len(rows) == pytest.approx(0.25, abs=0.01)
        assert {kind for row in rows for kind in overlaps(row["triples"])} == set(OVERLAPS)


def test_one_text_states_one_set_of_triples(corpus):
    stated = {}
    for rows in rows_of(corpus[0]).values():
        for row in rows:
            assert stated.setdefault(row["text"], row["triples"]) == row["triples"]


def test_entities_of_the_test_files_are_in_no_training_file(corpus):
    names = {"train": set(), "test": set()}
    for name, rows in rows_of(corpus[0]).items():
        for row in rows:
            spans = [span for head, _, tail in row["triples"] for span in (head, tail)]
            names[name.split(".")[1]] |= {row["text"][slice(*span)].casefold() for span in spans}
    assert len(names["test"]) > 500 and not names["train"] & names["test"]


def test_no_head_is_born_twice_in_a_sentence(corpus):
    """A head that is named again is the head of other labels then: no sentence contradicts itself."""
    again = 0
    for rows in rows_of(corpus[0]).values():
        for row in rows:
            of = {(label, head): row["text"][slice(*head)] for head, label, _ in row["triples"]}
            assert len({(label, name) for (label, _), name in of.items()}) == len(of)
            again += len({head for _, head in of}) > len(set(of.values()))
    assert again > 100


def test_same_seed_same_bytes_with_one_and_two_processes(tmp_path):
    arguments = {"languages": "uk,ko", "triples": "many"}
    first = synthesize(tmp_path / "one", 600, seed=7, processes=1, **arguments)
    assert first == synthesize(tmp_path / "two", 600, seed=7, processes=2, **arguments)
    synthesize(tmp_path / "other", 600, seed=8, processes=1, **arguments)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    other = contents(tmp_path / "other")
    assert all(content != other[name] for name, content in contents(tmp_path / "one").items())


@pytest.mark.parametrize(
    ("triples", "digest"),
    [
        ("one", "5f86abd2fc42e66c12d75fc430f95d96bf30fad202d495b2b82cf005b6c17bfd"),
        ("many", "d3db7b34fe80b7874192e14343d54d456562f865f680ed7442ab70e793d7ffaf"),
    ],
)
def test_the_bytes_are_those_of_every_other_machine(tmp_path, triples, digest):
    synthesize(tmp_path, 1400, seed=7, processes=1, triples=triples)
    digests = [hashlib.sha256(content).hexdigest() for _, content in sorted(contents(tmp_path).items())]
    assert hashlib.sha256("".join(digests).encode()).hexdigest() == digest


def test_the_command_ends_with_a_table(tmp_path, capsys):
    cli.synthesize(str(tmp_path), sentences=200, languages="de,fr", triples="many")
    header, *lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["language", "sentences", "triples", "without", *OVERLAPS]
    assert {line[0] for line in lines} == {"de", "fr", "all"} and lines[-1][:2] == ["all", "200"]
    rows = [row for of_file in rows_of(tmp_path).values() for row in of_file]
    assert lines[-1][2] == str(sum(len(row["triples"]) for row in rows))
    assert lines[-1][3] == f"{sum(not row['triples'] for row in rows) / 200:.1%}"


def test_another_form_is_refused(tmp_path):
    with pytest.raises(UserError, match="--triples=two: must be one or many"):
        synthesize(tmp_path, 200, triples="two")
    assert not list(tmp_path.iterdir())


A, B, C, INNER = (0, 4), (10, 12), (20, 29), (22, 24)


@pytest.mark.parametrize(
    ("triples", "kinds"),
    [
        ([], set()),
        ([(A, "r", B)], {"normal"}),
        ([(A, "r", B), (C, "q", (30, 31))], {"normal"}),
        ([(A, "r", B), (C, "r", (30, 31))], {"normal", "same_relation"}),
        ([(A, "r", B), (A, "q", C)], {"same_entity"}),
        ([(A, "r", B), (C, "q", A)], {"same_entity"}),
        ([(A, "r", B), (A, "r", C)], {"same_entity", "same_relation"}),
        ([(A, "r", B), (A, "q", B)], {"same_pair"}),
        ([(A, "r", B), (B, "q", A)], {"both_directions"}),
        ([(A, "r", C), (INNER, "q", B)], {"normal", "nested"}),
        ([(C, "r", INNER)], {"normal", "nested"}),
    ],
)
def test_kinds_of_overlap(triples, kinds):
    assert overlaps(triples) == kinds


def test_sentences_from_a_small_grammar():
    writer = ManyWriter(parse_language(SMALL), Random(3), test=False)
    texts = [writer.sentence(index % 6).text for index in range(300)]
    together = " ".join(texts)
    for example in ("Friends of ", " come from ", ", and ", ", or so ", "Says "):
        assert example in together
    assert ", and It" not in together, "a line with a capital of its own starts a sentence"


def test_a_sentence_that_needs_more_names_of_a_kind_than_there_are_is_drawn_again():
    """Three of the Polish occupations are test names: no test sentence can have four of them."""
    polish = load_language("pl")
    patterns = {label: polish.labels[label][:1] for label in ("birth-place", "has-occupation")}
    writer = ManyWriter(replace(polish, labels=patterns, facts=[]), Random(1), test=True)
    for _ in range(30):
        labels = Counter(label for _, label, _ in writer.sentence(5).triples)
        assert labels["has-occupation"] <= 3 and labels.total() == 5


@pytest.mark.parametrize(
    "old, new, fault",
    [
        (" => a org-has-founder b", "", "not a triple"),
        ("a org-has-founder b", "a founder b", "not a triple"),
        ("a org-has-founder b", "a org-has-founder a", "not a triple"),
        ("b birth-place c", "b birth-place d", "each entity must"),
        ("a birth-place c, b birth-place c", "a birth-place c", "each entity must"),
        ("a birth-place c, b birth-place c", "a birth-place c, b birth-place c, a birth-place c", "a triple twice"),
        ("{a:person} and {b:person}", "{a:person} and {a:person}", "each entity must"),
        ("{c:place}. =>", "{c:town}. =>", "kind town is not defined"),
        ("{b:person}{a)}", "{b:person}", "each entity must"),
        ("{(a}Friends of {b:person}{a)}", "{a)}Friends of {b:person}{(a}", "edges of a name"),
        ("{person} left", "{a:person} left", "only allowed in patterns"),
        ("{person} left", "{(a}{person} left", "only allowed in patterns"),
    ],
)
def test_faults_of_a_line_of_facts_are_named(old, new, fault):
    assert old in SMALL
    with pytest.raises(ValueError, match=fault):
        parse_language(SMALL.replace(old, new, 1))


def test_the_check_finds_lines_that_read_the_same_and_state_different_triples():
    clash = SMALL + "[facts]\n{a:person} was born in {b:place}. => a birth-place b, b loc-leader a\n"
    for text, clashes in ((SMALL, 0), (clash, 1)):
        found = checking.problems("uk", parse_language(text))
        assert sum("states different triples" in problem for problem in found) == clashes
        assert any("[facts] has fewer" in problem for problem in found)


def test_the_check_finds_what_is_wrong_with_sentences():
    written = checking.many_samples(load_language("en"), 360, seed=3)
    several = next(index for index, sentence in enumerate(written) if len(sentence.triples) == 2)
    sentence = written[several]
    (start, end), label, tail = sentence.triples[0]

    def found(**changes):
        changed = [*written[:several], replace(sentence, **changes), *written[several + 1 :]]
        return "\n".join(checking.many_problems([*changed, sentence], test=False))

    assert found() == ""
    assert "a span is not its name's" in found(triples=(((start, end - 1), label, tail), sentence.triples[1]))
    assert "a span is not its name's" in found(names={**sentence.names, (start, end): "someone"})
    assert "a triple twice" in found(triples=(sentence.triples[0],) * 2)
    assert "states different triples" in found(triples=sentence.triples[:1])
    assert "a name of the other side" in "\n".join(checking.many_problems(written, test=True))
    assert checking.many_problems(written[:1], test=False)[:2] == [
        "no sentence has normal",
        "no sentence has same_entity",
    ]


def test_command_prints_samples(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["checking", "uk", "--samples=6", "--triples=many"])
    assert checking.main() == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["no problem found", "no problem found in the sentences"]
    assert all(kind in shown[2] for kind in OVERLAPS)
    assert sum(line.startswith("    ") for line in shown[3:]) == 0 + 1 + 2 + 3 + 4 + 5
