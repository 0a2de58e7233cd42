"""What a person reads."""

from mere_ds.evaluation.summary import scores_of
from mere_ds.evaluation.table import format_comparison, format_scores, sentence
from tests.evaluation.records import answers, record

ROW = {"a": 50.0, "b": 49.2, "difference": 0.8, "interval": [0.1, 1.5], "p": 0.02}


def test_scores():
    result = scores_of([*answers("1" * 3 + "0"), record("ko", "no_relation", "no_relation", "ht")])
    title, de, ko, average, pooled, without = format_scores(result).splitlines()
    assert title.split()[:4] == ["sentences", "relation", "pair", "head"]
    assert de.split()[:2] == ["de", "4"] and de.split()[6] == "75.0" and de.split()[-1] == "100.0"
    assert average.split()[6] == "87.5" and pooled.split()[:2] == ["pooled", "5"]
    assert len({len(line) for line in (title, de, ko, average, pooled)}) == 1
    assert without == "triple without no_relation: F1 75.0 average, 75.0 pooled (precision 75.0, recall 75.0)"
    assert len(format_scores(scores_of([])).splitlines()) == 1


def test_comparison():
    seeds = {"a": {"mean": 50.0, "deviation": 0.5}, "b": {"mean": 49.2, "deviation": None}}
    result = {
        "a": ["x", "y"],
        "b": ["z"],
        "k": {"a": None, "b": 2},
        "left_out": ["fr"],
        "seeds": seeds,
        "languages": {"de": ROW},
        "average": ROW,
        "pooled": ROW,
    }
    title, de, *_, a, b, left_out, last = format_comparison(result).splitlines()
    assert de.split() == ["de", "50.0", "49.2", "+0.8", "0.1", "to", "1.5", "0.0200"] and len(de) == len(title)
    assert (a, b) == ("A = x, y: 50.0 +- 0.5 over seeds", "B = z with k = 2")
    assert left_out == "not compared, as one side alone has them: fr"
    assert last == "A - B on average: difference 0.8, 95 % 0.1 to 1.5, p = 0.0200"
    assert sentence({**ROW, "p": 0.06}).endswith("p = 0.0600; no more than chance may make")
