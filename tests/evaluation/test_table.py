"""What a person reads."""

from mere_ds.evaluation.summary import scores_of
from mere_ds.evaluation.table import format_comparison, format_scores, sentence
from tests.evaluation.records import answers, record

ROW = {"a": 50.0, "b": 49.2, "difference": 0.8, "interval": [0.1, 1.5], "p": 0.02}
NO_SEEDS = {side: {"mean": 50.0, "deviation": None} for side in "ab"}


def test_scores():
    result = scores_of([*answers("11t0"), record("ko", "no_relation", "no_relation", "ht")])
    kinds, title, de, ko, average, pooled, *without = format_scores(result).splitlines()
    assert kinds.split("  ")[-1] == "by characters" and kinds.split("by")[1].strip() == "tokens"
    of_kind = ["pair", "head", "tail", "triple", "triple", "95", "%"]
    assert title.split() == ["sentences", "relation", *of_kind, *of_kind]
    cells = de.split()
    assert cells[:3] == ["de", "4", "100.0"] and cells[3:7] == ["75.0"] * 4, "by tokens"
    assert cells[10:14] == ["50.0", "75.0", "50.0", "50.0"], "by characters"
    low, high = result["intervals_characters"]["languages"]["de"]
    assert cells[14:] == [f"{low:.1f}", "to", f"{high:.1f}"]
    assert average.split()[6] == "87.5" and pooled.split()[:2] == ["pooled", "5"]
    assert len({len(line) for line in (kinds, title, de, ko, average, pooled)}) == 1
    assert without == [
        "triple by tokens without no_relation: F1 75.0 average, 75.0 pooled (precision 75.0, recall 75.0)",
        "triple by characters without no_relation: F1 50.0 average, 50.0 pooled (precision 50.0, recall 50.0)",
    ]
    assert len(format_scores(scores_of([])).splitlines()) == 2


def test_cells_of_long_names_and_large_numbers_stay_apart():
    name = "a-language-with-a-very-long-name-of-its-own"
    result = scores_of([record(name, "x", "x", "ht"), record("ko", "x", "x", "ht")])
    result["languages"][name]["sentences"] = 10**30
    lines = [line.split() for line in format_scores(result).splitlines()]
    assert lines[2][:3] == [name, str(10**30), "100.0"] and len(lines[2]) == len(lines[3])
    assert lines[4][:3] == ["average", str(10**30 + 1), "100.0"]
    row = {**ROW, "a": 10.0**12, "difference": 10.0**12, "interval": [-(10.0**12), 10.0**12]}
    table = {"languages": {name: row}, "average": ROW, "pooled": ROW, "seeds": NO_SEEDS}
    sides = {"a": ["x"], "b": ["z"], "k": {"a": None, "b": None}, "left_out": [], "remarks": {"a": [[]], "b": [[]]}}
    first = format_comparison({**table, **sides, "characters": table}).splitlines()[1]
    assert first.split() == [name, f"{10.0**12:.1f}", "49.2", f"+{10.0**12:.1f}", *(first.split()[4:7]), "0.0200"]


def test_comparison():
    seeds = {"a": {"mean": 50.0, "deviation": 0.5}, "b": {"mean": 49.2, "deviation": None}}
    result = {
        "a": ["x", "y"],
        "b": ["z"],
        "k": {"a": None, "b": 2},
        "left_out": ["fr"],
        "remarks": {"a": [[], []], "b": [["stage one only"]]},
        "seeds": seeds,
        "languages": {"de": ROW},
        "average": ROW,
        "pooled": ROW,
        "characters": {
            "seeds": {"a": {"mean": 40.0, "deviation": 0.7}, "b": {"mean": 39.0, "deviation": None}},
            **dict.fromkeys(("average", "pooled"), {**ROW, "difference": 1.0}),
            "languages": {"de": {**ROW, "a": 40.0}},
        },
    }
    title, de, *_, a, b, left_out, tokens, characters = format_comparison(result).splitlines()
    titles, rows = format_comparison(result).splitlines()[::4][:2], format_comparison(result).splitlines()[1::4][:2]
    assert [line.split("  ")[0] for line in titles] == ["triple F1 by tokens", "triple F1 by characters"]
    assert [row.split()[:2] for row in rows] == [["de", "50.0"], ["de", "40.0"]]
    assert de.split() == ["de", "50.0", "49.2", "+0.8", "0.1", "to", "1.5", "0.0200"] and len(de) == len(title)
    assert (a, b) == (
        "A = x, y: 50.0 +- 0.5 and 40.0 +- 0.7 over seeds",
        "B = z (stage one only) with k = 2",
    )
    assert left_out == "not compared, as only one side has them: fr"
    assert tokens == "A - B on average by tokens: difference 0.8, 95 % 0.1 to 1.5, p = 0.0200"
    assert characters == "A - B on average by characters: difference 1.0, 95 % 0.1 to 1.5, p = 0.0200"
    assert sentence({**ROW, "p": 0.06}).endswith("p = 0.0600; not significant")
