"""Paired significance against the same done sentence by sentence, and what it must not claim."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.errors import UserError
from mere_ds.evaluation.comparison import compare_runs
from mere_ds.evaluation.intervals import ROUNDS
from mere_ds.evaluation.many import scores_of_many
from mere_ds.evaluation.summary import scores_of
from tests.evaluation.made_up_runs import evaluate, train
from tests.evaluation.records import answers, many_record, record
from tests.evaluation.second_scorer import random_sentence
from tests.full_disk import files_of_at_most


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(records, ...): the folders of runs that gave these predictions."""

    def make(*predictions: list[dict], name: str = "test") -> list[str]:
        folders = [tmp_path_factory.mktemp("run") for _ in predictions]
        split, _, k = name.partition("-k")
        for folder, records in zip(folders, predictions, strict=True):
            evaluate(train(folder), records, int(k) if k else None, split)
        return [str(folder) for folder in folders]

    return make


def test_a_run_doesnt_differ_from_itself(run):
    (a,) = run(answers("1t0-0", "de") + answers("01", "ko"))
    result = compare_runs([a], [a])
    for kind in (result, result["characters"]):
        for row in (kind["average"], kind["pooled"], *kind["languages"].values()):
            assert (row["difference"], row["interval"], row["p"]) == (0, [0, 0], 1)


def test_tokens_and_characters_side_by_side(run):
    a, b = run(answers("1ttt"), answers("1100"))
    result = compare_runs([a], [b])
    assert result["average"]["difference"] == 50 and result["characters"]["average"]["difference"] == -25
    assert [result["characters"]["seeds"][side]["mean"] for side in "ab"] == [25, 50]


@pytest.mark.parametrize("sentences", [1, 5, 1000])
def test_one_sentence_is_no_gain(run, sentences):
    a, b = run(answers("1" * sentences), answers("1" * (sentences - 1) + "0"))
    row = compare_runs([a], [b])["average"]
    assert row["difference"] == pytest.approx(100 / sentences) and row["p"] == 1


def test_exact_p_of_a_small_example(run):
    """Six sentences that A alone gets right: of the 2 ** 6 exchanges two are as extreme."""
    a, b = run(answers("111111" + "10"), answers("000000" + "10"))
    row = compare_runs([a], [b])["languages"]["de"]
    assert row["a"] == 87.5 and row["b"] == 12.5 and row["difference"] == 75
    assert row["p"] == pytest.approx(2 / 64, abs=4 * (2 / 64 / ROUNDS) ** 0.5)
    assert row["interval"][0] > 0


def test_a_side_without_answers_has_no_false_positives(run):
    """Two right of four gold: with four answers 2 * 2 / (4 + 4), with two 2 * 2 / (4 + 2)."""
    a, b = run(answers("1100"), answers("11--"))
    row = compare_runs([a], [b])["pooled"]
    assert row["a"] == 50 and row["b"] == pytest.approx(200 * 2 / 6)


def slow(a: list[dict], b: list[dict], rounds: int) -> tuple[float, float]:
    """Average difference and p, by exchanging the records themselves."""
    draw = random.Random(0)
    apart, extreme = scores_average(a) - scores_average(b), 0
    for _ in range(rounds):
        pairs = [(y, x) if draw.random() < 0.5 else (x, y) for x, y in zip(a, b, strict=True)]
        one, other = map(scores_average, zip(*pairs, strict=True))
        extreme += abs(one - other) >= abs(apart) - 1e-9
    return apart, (1 + extreme) / (1 + rounds)


def scores_average(records) -> float:
    f1 = []
    for language in {r["lang"] for r in records}:
        of_language = [r for r in records if r["lang"] == language]
        right, given_answers = (sum(map(test, of_language)) for test in (_right, _answered))
        f1.append(200 * right / (len(of_language) + given_answers))
    return float(np.mean(f1))


def _right(record: dict) -> bool:
    return "triple" in record["right"]


def _answered(record: dict) -> bool:
    return record["predicted"] is not None


def test_against_exchanging_records(run):
    draw = random.Random(2)
    sides = [
        answers("".join(draw.choices("10-", weights, k=40)), "de") + answers("".join(draw.choices("10", k=7)), "ko")
        for weights in ((6, 3, 1), (4, 5, 1))
    ]
    apart, p = slow(*sides, rounds=1500)
    (a, b) = run(*sides)
    row = compare_runs([a], [b])["average"]
    assert 0.02 < p < 0.98, "an example that says something"
    assert row["difference"] == pytest.approx(apart) and row["p"] == pytest.approx(p, abs=0.05)
    assert row["a"] == pytest.approx(scores_of(sides[0])["average"]["triple"])


@settings(max_examples=20)
@given(st.data())
def test_sides_can_be_exchanged(run, data):
    marks = st.text("10-", min_size=4, max_size=12)
    one, other = data.draw(marks), data.draw(marks)
    size = min(len(one), len(other)) // 2
    sides = [answers(text[:size], "de") + answers(text[size : 2 * size], "ko") for text in (one, other)]
    a, b = run(*sides)
    forth, back = compare_runs([a], [b]), compare_runs([b], [a])
    for name in ("average", "pooled"):
        x, y = forth[name], back[name]
        assert x["p"] == y["p"] and x["difference"] == pytest.approx(-y["difference"])
        assert x["interval"] == pytest.approx([-bound for bound in reversed(y["interval"])])
        assert 0 < x["p"] <= 1 and x["interval"][0] - 1e-9 <= x["difference"] <= x["interval"][1] + 1e-9


def test_seeds_are_taken_together(run):
    a = run(answers("1110"), answers("1100"))
    b = run(answers("0110"), answers("0000"))
    result = compare_runs(a, b)
    assert result["average"]["a"] == 62.5 and result["average"]["b"] == 25
    assert result["seeds"]["a"] == {"mean": 62.5, "deviation": pytest.approx(12.5 * 2**0.5)}
    # differences by sentence are 2, 1, 0, 0 right answers: all four exchanges, two as extreme
    assert result["average"]["p"] == pytest.approx(0.5, abs=0.03)


def test_a_seed_given_twice_makes_nothing_surer(run):
    a, b = run(answers("1111101"), answers("0000111"))
    once, twice = (compare_runs(*sides)["average"] for sides in (([a], [b]), ([a, a], [b, b])))
    for name, value in once.items():
        assert twice[name] == pytest.approx(value)


def test_models_of_one_language_make_one_system(run):
    de, ko, fr = answers("1100", "de"), answers("01", "ko"), answers("1", "fr")
    whole, other, only_de, only_ko = run(ko + de, answers("1000", "de") + answers("11", "ko") + fr, de, ko)
    together = compare_runs([only_de, only_ko], [other])
    for name in ("languages", "average", "pooled"):
        assert together[name] == compare_runs([whole], [other])[name]
    assert together["left_out"] == ["fr"] and together["seeds"]["a"] == {"mean": 50, "deviation": None}
    assert compare_runs([only_de, only_ko] * 2, [other, other])["seeds"]["a"]["deviation"] == 0
    with pytest.raises(UserError, match="for every language"):
        compare_runs([only_de, whole], [other])
    with pytest.raises(UserError, match="no language in common"):
        compare_runs([only_de], [only_ko])


def test_translations_are_one_piece_of_evidence(run):
    """Six sentences that A alone gets right, and so their translations: of 2 ** 6 exchanges two are as extreme."""

    def twice(marks: str) -> list[dict]:
        both = [*answers(marks, "de"), *answers(marks[::-1], "ko")[::-1]]
        return [{**record, "id": f"{record['lang']}-{i % len(marks)}"} for i, record in enumerate(both)]

    a, b = run(twice("11111110"), twice("10000000"))
    apart, together = (compare_runs([a], [b], parallel_ids=parallel) for parallel in (False, True))
    for name in ("average", "pooled"):
        assert together[name]["difference"] == apart[name]["difference"] == 75
        assert together[name]["p"] == pytest.approx(2 / 64, abs=4 * (2 / 64 / ROUNDS) ** 0.5)
        assert apart[name]["p"] < 0.005
        low, high = together[name]["interval"]
        assert low < apart[name]["interval"][0] and high > apart[name]["interval"][1]
    assert together["languages"]["de"] == together["languages"]["ko"]
    flags.run(COMMANDS, ["compare", a, b, "--parallel_ids"], "mere-ds")


def test_a_language_that_a_resample_leaves_out(run):
    de = [{**record, "id": f"de-{i}"} for i, record in enumerate(answers("1100"))]
    (a,) = run([*de, {**answers("1", "uk")[0], "id": "uk-1"}])
    row = compare_runs([a], [a], parallel_ids=True)["average"]
    assert (row["difference"], row["interval"], row["p"]) == (0, [0, 0], 1)


def test_one_run_with_two_k(run, capsys):
    (a,) = run(answers("10"), name="test-k1")
    evaluate(Path(a), answers("11"), 6)
    assert compare_runs([a], [a], ks=(6, 1))["average"]["difference"] == 50
    flags.run(COMMANDS, ["compare", a, a, "--k=6,1"], "mere-ds")
    assert f"A = {a} with k = 6" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        flags.run(COMMANDS, ["compare", a, a, "--k=6,1,2"], "mere-ds")


def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, capsys):
    (a,) = run(answers("10"))
    with files_of_at_most(64), pytest.raises(SystemExit, match="1"):
        flags.run(COMMANDS, ["compare", a, a, f"--out={tmp_path}/new/out.json"], "mere-ds")
    said = capsys.readouterr().err
    assert said.startswith(f"mere-ds: {tmp_path}/new/out.json: File too large") and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_misuse(run):
    sentence, other = record("de", "wrote", "wrote", "ht"), record("de", "wrote", "wrote", "ht", id="1")
    a, b, short = run([sentence, sentence], [sentence, other], [sentence])
    with pytest.raises(UserError, match="sentence 2 of de differs .* same shards"):
        compare_runs([a], [b])
    with pytest.raises(UserError, match="sentence 2 of de differs"):
        compare_runs([short], [a])
    with pytest.raises(UserError, match="the same number of runs, one per seed"):
        compare_runs([a, a], [a])
    with pytest.raises(UserError, match=r"dev-k2.json: missing: run mere-ds evaluate .* --split=dev --k=2$"):
        compare_runs([a], [a], "dev", (2, 2))


def test_the_command(run, tmp_path, capsys):
    a, b = run(answers("11"), answers("01"), name="dev-k2")
    flags.run(
        COMMANDS, ["compare", f"{a},{a}", f"{b},{b}", "--split=dev", "--k=2", f"--out={tmp_path}/x.json"], "mere-ds"
    )
    assert capsys.readouterr().out.splitlines()[-1].startswith("A - B on average by characters: difference 50.0, 95 %")
    written = json.loads((tmp_path / "x.json").read_text())
    assert written == compare_runs([a, a], [b, b], "dev", (2, 2))


def test_any_number_of_triples(tmp_path):
    """B finds what A finds and further gold triples; each side's F1 is that of its evaluation."""
    draw, sides, folders = random.Random(3), ([], []), [tmp_path / "a", tmp_path / "b"]
    for number in range(60):
        sentence = random_sentence(draw)
        own = {(*t["head"], *t["tail"]) for t in sentence["found"]}
        more = [t for t in sentence["gold"] if None not in t["tokens"] and (*t["head"], *t["tail"]) not in own]
        for records, found in zip(sides, (sentence["found"], [*sentence["found"], *more]), strict=True):
            records.append(many_record(sentence | {"found": found}, "de", str(number)))
    for folder, records in zip(folders, sides, strict=True):
        evaluate(train(folder), records, triples="many")
    result = compare_runs([str(folders[1])], [str(folders[0])])
    for kind, compared in (("triple", result), ("triple_characters", result["characters"])):
        row = compared["average"]
        for side, records in zip("ba", sides, strict=True):
            assert row[side] == pytest.approx(scores_of_many(records)["average"][kind])
        low, high = row["interval"]
        assert 0 < low < row["difference"] < high and row["p"] < 0.01
    again = compare_runs([str(folders[0])], [str(folders[0])])["average"]
    assert (again["difference"], again["p"]) == (0, 1)
