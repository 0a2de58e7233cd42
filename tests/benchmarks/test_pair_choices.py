"""The script that measures the choices of `--triples=many`: each is trained and scored, and finished ones stay."""

import json

import pytest
import torch

from benchmarks import pair_choices
from benchmarks.pair_choices import CHOICES, Choice, cross_entropies, formula, main
from benchmarks.triples_corpus import make_corpus
from mere_ds.errors import UserError
from mere_ds.model import pair_loss
from mere_ds.model.pair_heads import PairHeads

NAMES = ("Ada", "Bob", "Cem", "Dag")


def write_corpus(folder, dev=60):
    """Rows of which a third has no triple, the others one that the words tell."""
    folder.mkdir()
    for language in ("de", "en"):
        for split, count in (("train", 40), ("dev", dev), ("test", 40)):
            with (folder / f"{language}.{split}.jsonl").open("w") as file:
                for i in range(count):
                    head, tail = NAMES[i % 4], NAMES[(i // 4 + i + 1) % 4]
                    text = f"{head} {('knows', 'pays', 'and')[i % 3]} {tail} ."
                    spans = {"head": [0, len(head)], "tail": [len(text) - len(tail) - 2, len(text) - 2]}
                    triples = [] if i % 3 == 2 else [{"relation": ("knows", "pays")[i % 3], **spans}]
                    row = {"id": f"{split}-{i}", "lang": language, "text": text, "triples": triples}
                    file.write(json.dumps(row) + "\n")
    return folder


def test_dev_is_a_tenth_of_dev_and_keeps_translations_together(tmp_path):
    source, out = write_corpus(tmp_path / "source", dev=300), tmp_path / "out"
    make_corpus(source, out)
    rows = {path.name: path.read_text().splitlines() for path in out.iterdir()}
    for language in ("de", "en"):
        given = [(source / f"{language}.{split}.jsonl").read_text().splitlines() for split in ("train", "dev", "test")]
        assert rows[f"{language}.test.jsonl"] == given[2]
        parts = rows[f"{language}.train.jsonl"], rows[f"{language}.dev.jsonl"]
        assert sorted(sum(parts, [])) == sorted(given[0] + given[1])
        assert 15 < len(parts[1]) < 45 and not {*parts[1]} & {*given[0]}
    assert [[json.loads(row)["id"] for row in rows[f"{language}.dev.jsonl"]] for language in ("de", "en")] == 2 * [
        [json.loads(row)["id"] for row in rows["de.dev.jsonl"]]
    ]


def test_corpus_takes_some_rows_of_some_languages_and_files_of_many(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    write_corpus(tmp_path / "by language")
    source.mkdir()
    for split in ("train", "dev", "test"):
        parts = [(tmp_path / "by language" / f"{language}.{split}.jsonl").read_text() for language in ("de", "en")]
        (source / f"{split}.jsonl").write_text("".join(parts))
    make_corpus(source, out, ["en"], most=10)
    rows = [json.loads(row) for path in out.iterdir() for row in path.read_text().splitlines()]
    assert len(rows) == 30 and {row["lang"] for row in rows} == {"en"}
    with pytest.raises(UserError, match="has no rows of sv"):
        make_corpus(source, tmp_path / "more", ["sv"])
    (source / "dev.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(UserError, match=r"dev.jsonl, line 1: not a JSON object with id and lang"):
        make_corpus(source, tmp_path / "more")


def test_cross_entropies_against_torch():
    scores, gold = torch.randn(3, 7, dtype=torch.float64), torch.rand(3, 7) < 0.3
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, gold.double(), reduction="none").sum(1)
    torch.testing.assert_close(cross_entropies(scores, gold), expected)
    masked = torch.cat((scores, torch.full((3, 2), pair_choices.MASKED, dtype=torch.float64)), dim=1)
    torch.testing.assert_close(cross_entropies(masked, torch.nn.functional.pad(gold, (0, 2))), expected)


def test_each_formula_is_that_of_spans_and_links():
    """A sentence of three words of which the head is the first and the tail the last, for one relation."""
    torch.manual_seed(0)
    heads, h_BMD = PairHeads(1, 8, 4).double(), torch.randn(1, 6, 8, dtype=torch.float64)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    one = torch.zeros(1, dtype=torch.long)
    pairs, positions = pair_loss.Pairs(one, one, one), torch.tensor([[2, 2, 4, 4]])
    seen = []

    def losses(scores, _):
        seen.append(scores)
        return pair_loss.pair_losses(scores, pairs, positions, 1)

    found = {}
    for name in ("ZLPR", "BCE"):
        with formula(name):
            [found[name]] = heads(h_BMD, torch.ones(1, 6, dtype=torch.bool), one, one, losses, 1)
    flat_2X = seen[0].spans_S2MM[0].flatten(1)
    gold_2X = torch.zeros_like(flat_2X, dtype=torch.bool)
    gold_2X[0, 2 * 6 + 2] = gold_2X[1, 4 * 6 + 4] = True
    for name, loss in (("ZLPR", pair_loss.ranking_loss), ("BCE", cross_entropies)):
        torch.testing.assert_close(found[name][0, :2], loss(flat_2X, gold_2X))
    assert (found["ZLPR"] != found["BCE"]).all()


@pytest.mark.slow
def test_every_choice_is_measured_once(tmp_path, monkeypatch, capsys):
    assert len({*CHOICES.values()}) == len(CHOICES)
    for name in ("base", "BCE", "2 likely", "a term for the span's width"):
        assert name in CHOICES
    chosen = {name: CHOICES[name] for name in ("base", "BCE", "a term for the span's width")}
    monkeypatch.setattr(pair_choices, "CHOICES", chosen)
    corpus = write_corpus(tmp_path / "corpus")
    main(str(corpus), "tiny", str(tmp_path / "out"), layers=1, epochs=4)
    printed = capsys.readouterr().out
    lines = (tmp_path / "out/results.jsonl").read_text()
    results = dict(map(json.loads, lines.splitlines()))
    assert [*results] == [*chosen]
    for result in results.values():
        for row in result["scores"].values():
            low, high = row["interval"]
            assert 0 < low <= row["f1"] <= high <= 100
    assert results["base"]["scores"]["least"]["f1"] > 50
    monkeypatch.setattr(pair_choices, "CHOICES", chosen | {"other": Choice(kind="likely", pairing=8)})
    main(str(corpus), "tiny", str(tmp_path / "out"), layers=1, epochs=1)
    assert (tmp_path / "out/results.jsonl").read_text().startswith(lines)
    assert capsys.readouterr().out.startswith(printed.rstrip("\n"))
