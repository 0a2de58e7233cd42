"""Two models' answers scored alike, and sentences in the rival's form."""

import json

import pytest

from benchmarks.rivals.score import Side, at_equal_recall, difference, main
from benchmarks.rivals.words import example, labels_of, read, widest, words
from mere_ds.errors import UserError

TEXT = "Ada pays Bob."
PAYS = {"relation": "pays", "head": [0, 3], "tail": [9, 12]}
WRONG = {"relation": "pays", "head": [9, 12], "tail": [0, 3]}


def write(folder, rows):
    folder.mkdir(exist_ok=True)
    for split in ("dev", "test"):
        lines = [json.dumps({"id": f"{split}-{i}", "lang": "en", **row}) + "\n" for i, row in enumerate(rows)]
        for name in (f"en.{split}.jsonl", f"{split}.jsonl"):  # as a corpus, and as answers
            (folder / name).write_text("".join(lines))
    return str(folder)


def row(*triples, text=TEXT):
    return {"text": text, "triples": list(triples)}


@pytest.fixture
def corpus(tmp_path):
    """Three sentences with a triple, two without."""
    return write(tmp_path / "corpus", [*3 * [row(PAYS)], row(), row()])


@pytest.fixture
def gold(corpus):
    return {split: read(corpus, split) for split in ("dev", "test")}


def answers(tmp_path, name, *scored):
    """Of each sentence its triples as (triple, score)."""
    rows = [row(*({**triple, "score": score} for triple, score in one)) for one in scored]
    return write(tmp_path / name, rows)


def test_both_are_scored_from_the_best_threshold_of_dev_on(tmp_path, corpus, capsys):
    exact = answers(tmp_path, "a", [(PAYS, 0.9), (PAYS, 0.8)], [(PAYS, 0.7)], [(PAYS, 0.6)], [(WRONG, 0.2)], [])
    poor = answers(tmp_path, "b", [(PAYS, 0.9)], [(PAYS, 0.3)], [(WRONG, 0.9)], [(WRONG, 0.8)], [(WRONG, 0.1)])
    out = tmp_path / "out"
    main(corpus, exact, poor, str(out))
    result = json.loads((out / "scores.json").read_text())
    assert result["a"]["by_precision_characters"]["pooled"]["f1"] == 100
    assert result["b"]["by_precision_characters"]["pooled"]["gold"] == 3
    assert result["difference"]["pooled"]["a"] == 100
    assert result["difference"]["pooled"]["difference"] == 100 - result["difference"]["pooled"]["b"] > 0
    assert result["a"]["without_triples"]["answered"] == 0
    predicted = [json.loads(line)["predicted"] for line in (out / "a.jsonl").read_text().splitlines()]
    assert predicted == [*([{**PAYS, "score": score}] for score in (0.9, 0.7, 0.6)), [], []]
    assert "F1 of a - b" in capsys.readouterr().out


def test_false_triples_are_compared_at_the_recall_that_both_reach(tmp_path, gold):
    a = Side(answers(tmp_path, "a", [(PAYS, 0.9)], [(PAYS, 0.8)], [(PAYS, 0.5)], [(WRONG, 0.6)], []), gold)
    b = Side(answers(tmp_path, "b", [(PAYS, 0.9)], [(PAYS, 0.3)], [(WRONG, 0.2)], [(WRONG, 0.8)], [(WRONG, 0.4)]), gold)
    assert a.recall() == 1 and b.recall() == pytest.approx(2 / 3)
    assert at_equal_recall(a, b) == {
        "recall": pytest.approx(200 / 3),
        "sentences": 2,
        "a": 0,  # from 0.8 on
        "b": 100,  # from 0.3 on
        "only_a": 0,
        "only_b": 2,
    }
    assert a.threshold_of(0.0) == 1 and b.threshold_of(1.0) == 0, "as many as never found"


def test_equal_answers_differ_by_nothing(tmp_path, gold):
    side = Side(answers(tmp_path, "a", [(PAYS, 0.9)], [], [], [], []), gold)
    pooled = difference(side.records(0.5), side.records(0.5))["pooled"]
    assert pooled["a"] == pooled["b"] == 50 and pooled["interval"] == [0, 0] and pooled["p"] == 1


def test_answers_to_other_sentences_are_refused(tmp_path, corpus):
    with pytest.raises(UserError, match=r"dev.jsonl: answers other sentences than the corpus has"):
        main(corpus, answers(tmp_path, "a", []), answers(tmp_path, "b", []), str(tmp_path / "out"))


def test_sentences_in_the_rivals_form():
    list_of_words = ["Ada", "-", "Bob", "’", "s", "東", "京", "は", "3", ".", "5"]
    assert [word for word, _, _ in words("Ada-Bob’s 東京は 3.5")] == list_of_words
    text = "東京のAda pays Bob Li."
    triples = [
        {"relation": "pays", "head": [3, 6], "tail": [12, 18]},
        {"relation": "from", "head": [3, 6], "tail": [0, 2]},
        {"relation": "pays", "head": [12, 18], "tail": [4, 6]},  # within a word: the whole of it
    ]
    rows = [row(*triples, text=text)]
    one = example(rows[0], labels_of(rows))
    assert one["tokenized_text"] == ["東", "京", "の", "Ada", "pays", "Bob", "Li", "."]
    assert one["ner"] == [[0, 1, "entity"], [3, 3, "entity"], [5, 6, "entity"]]
    assert one["relations"] == [[1, 0, "from"], [1, 2, "pays"], [2, 1, "pays"]]
    assert one["rel_labels"] == ["from", "pays"] and widest([one]) == 2
