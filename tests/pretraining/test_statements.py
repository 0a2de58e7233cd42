"""Relation statements of corpora in any format, with any number of triples a sentence."""

import json

import numpy as np
import pytest

from mere_ds.corpus.formats.options import SourceOptions
from mere_ds.corpus.reading import COLUMNS
from mere_ds.encoders.sources import load_tokenizer
from mere_ds.errors import UserError
from mere_ds.pretraining.statements import Statements, read_statements, train_corpus

TEXT = "Anna met Bert in Kiel"
ANNA, BERT, KIEL, BOTH = [0, 4], [9, 13], [17, 21], [0, 13]
WORDS = TEXT.split()


@pytest.fixture(scope="module")
def tokenizer(wee):
    return load_tokenizer(wee)


def write(folder, **files):
    """Files of JSON lines: for each a list of (id, [(head, relation, tail)])."""
    folder.mkdir()
    for name, sentences in files.items():
        rows = [
            {
                **{"id": id, "text": TEXT},
                "triples": [{"head": head, "relation": relation, "tail": tail} for head, relation, tail in triples],
            }
            for id, triples in sentences
        ]
        path = folder / f"{name.replace('_', '.')}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def read(source, tokenizer, parallel_ids=False, **options) -> Statements:
    return read_statements(train_corpus(source, options=SourceOptions(**options)), tokenizer, 60, parallel_ids)


def pairs(said: Statements, tokenizer) -> list[tuple[str, str] | None]:
    """Heads and tails by their word pieces, without blanks."""
    found: list[tuple[str, str] | None] = []
    for row in range(len(said)):
        tokens = [token.removeprefix("##") for token in tokenizer.convert_ids_to_tokens(said.words(row))]
        a, b, c, d = said.spans[row]
        found.append(("".join(tokens[a:b]), "".join(tokens[c:d])) if said.marked[row] else None)
    return found


def pieces(tokenizer, *words):
    return tuple("".join(t.removeprefix("##") for t in tokenizer.tokenize(word)) for word in words)


def test_a_sentence_is_a_statement_with_each_triple_and_one_without_any(tmp_path, tokenizer):
    triples = [(ANNA, "met", BERT), (BERT, "in", KIEL), (KIEL, "of", ANNA)]
    said = read(write(tmp_path / "c", de_train=[("1", triples), ("2", [])]), tokenizer)
    expected = [pieces(tokenizer, *names) for names in (("Anna", "Bert"), ("Bert", "Kiel"), ("Kiel", "Anna"))]
    assert pairs(said, tokenizer) == [*expected, None]
    assert {tuple(said.words(row)) for row in range(4)} == {tuple(said.words(0))}
    assert said.entities[0, 1] == said.entities[1, 0] and said.entities[1, 1] == said.entities[2, 0]
    assert len(set(said.groups[:3].tolist())) == 3 and said.notes["unmarked"] == 1


def test_the_same_marks_in_the_same_sentence_come_once_whatever_the_relation(tmp_path, tokenizer):
    twice = [(ANNA, "met", BERT), (ANNA, "knows", BERT), (BERT, "met", ANNA)]
    said = read(write(tmp_path / "c", de_train=[("1", twice), ("2", twice[:1]), ("3", []), ("4", [])]), tokenizer)
    assert len(said) == 3 and said.notes["repeated"] == 3


def test_entities_that_share_characters_are_for_masked_words_alone(tmp_path, tokenizer):
    said = read(write(tmp_path / "c", de_train=[("1", [(BOTH, "has", ANNA), (ANNA, "met", BERT)])]), tokenizer)
    assert said.marked.tolist() == [False, True]


def test_translations_share_the_pair_of_a_relation_that_each_has_once(tmp_path, tokenizer):
    de = [("de-1", [(ANNA, "met", BERT), (BERT, "in", KIEL)]), ("de-2", [(ANNA, "met", BERT), (KIEL, "met", BERT)])]
    fr = [("fr-1", [(KIEL, "in", ANNA), (BERT, "met", ANNA)]), ("fr-2", [(ANNA, "met", KIEL)])]
    folder = write(tmp_path / "c", de_train=de, fr_train=fr)
    for parallel_ids in (False, True):
        said = read(folder, tokenizer, parallel_ids)
        in_de, in_fr = (said.groups[said.languages == said.codes.index(code)].tolist() for code in ("de", "fr"))
        met, where, also_met = in_de  # de-2 repeats the first
        assert (met == in_fr[1]) == (where == in_fr[0]) == parallel_ids
        assert also_met not in in_fr and len(set(in_de)) == len(set(in_fr)) == 3 and met != in_fr[0]


def test_dev_and_test_stay_unseen_and_their_languages_too(tmp_path, tokenizer):
    one = [("1", [(ANNA, "met", BERT)])]
    folder = write(tmp_path / "c", de_train=one, de_dev=one, fr_test=one, uk_test=one)
    said = read(folder, tokenizer)
    assert len(said) == 1 and said.codes == ["de"]
    assert train_corpus(folder).bytes == (folder / "de.train.jsonl").stat().st_size
    with pytest.raises(UserError, match="contains no training files"):
        train_corpus(folder, "fr")
    assert read(write(tmp_path / "d", train=[], de_train=one), tokenizer).codes == ["de"]


def test_every_format_gives_the_same_statements(tmp_path, tokenizer):
    """A table of marked texts, JSON lines, and another tool's tokens."""
    links = [("Anna", "met", "Bert"), ("Bert", "in", "Kiel")]
    spans = {"Anna": ANNA, "Bert": BERT, "Kiel": KIEL}
    lines = write(tmp_path / "lines", de_train=[("1", [(spans[a], r, spans[b]) for a, r, b in links])])
    table, tool = tmp_path / "table", tmp_path / "tool"
    table.mkdir()
    tool.mkdir()
    rows = [TEXT.replace(a, f"<e1>{a}</e1>").replace(b, f"<e2>{b}</e2>") for a, _, b in links]
    marked = [f"1\t{a}\t{b}\t{r}\t{text}\tde\n" for (a, r, b), text in zip(links, rows, strict=True)]
    (table / "de_corpora_train.tsv").write_text("\t".join(COLUMNS) + "\n" + "".join(marked))
    at = {word: place for place, word in enumerate(WORDS)}
    relations = [[at[a], at[a], at[b], at[b], r, "", False, False] for a, r, b in links]
    row = {"doc_key": "1", "sentence": WORDS, "ner": [], "relations": relations}
    (tool / "news-train.json").write_text(json.dumps(row) + "\n")
    one, *others = read(lines, tokenizer), read(table, tokenizer), read(tool, tokenizer, lang="de", format="crossre")
    for other in others:
        for name in ("pieces", "ends", "spans", "languages", "entities", "groups"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        assert other.codes == one.codes == ["de"]


def test_what_the_reader_leaves_out_is_counted(tmp_path, tokenizer):
    relations = [[0, 0, 2, 2, "met", "", False, False], [0, 0, 9, 9, "met", "", False, False]]
    row = {"doc_key": "1", "sentence": WORDS, "ner": [], "relations": relations}
    (tmp_path / "x-train.json").write_text(json.dumps(row) + "\n{\n")
    said = read(tmp_path, tokenizer, lang="de", format="crossre")
    assert (len(said), said.notes["left_out"], said.notes["rejected"]) == (1, 1, 1)


@pytest.mark.slow
def test_the_command_trains_on_any_number_of_triples_and_resumes_whatever_the_source_is_called(pretrain, tmp_path):
    names = ["Ada", "Bo", "Cy", "Di"]
    rows = []
    for n in range(24):
        a, b, c = (names[(n + k) % 4] for k in range(3))
        text = f"{a} met {b} and {c} on day {n}"
        at = {name: [text.index(name), text.index(name) + len(name)] for name in (a, b, c)}
        triples = [{"head": at[x], "relation": "met", "tail": at[y]} for x, y in ((a, b), (a, c))]
        rows.append(json.dumps({"id": str(n), "text": text, "triples": triples if n % 6 else []}) + "\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "de.train.jsonl").write_text("".join(rows))
    pretrain(corpus=tmp_path / "one", out=tmp_path / "out", steps=2)
    pretrain(corpus=tmp_path / "two", out=tmp_path / "out", steps=2, format="jsonl")
    assert json.loads((tmp_path / "out" / "pretraining.json").read_text())["result"]["steps"] == 2
