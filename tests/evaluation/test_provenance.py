"""What an evaluation was made from, and that nobody reads one that is of another model, other data or other answers."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.corpus.smiler import unlike_smiler
from mere_ds.errors import UserError
from mere_ds.evaluation import provenance
from mere_ds.evaluation.comparison import compare_runs
from mere_ds.evaluation.provenance import read_evaluation
from mere_ds.evaluation.report.making import make_report
from mere_ds.evaluation.report.runs import load_rows
from mere_ds.evaluation.report.tables import table_2, table_k
from mere_ds.runs.run_folder import RunFolder
from mere_ds.runs.trained import trained_model
from tests.evaluation.made_up_runs import ROWS, evaluate, ingredients_of, make_checkpoint, train
from tests.evaluation.records import answers

BOTH = (1, 2)


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished and evaluated mERE."""
    folder = train(tmp_path / "run", BOTH, system="mERE")
    evaluate(folder, answers("110"))
    return folder


def refused(run: Path) -> str:
    """The one line with which report and compare refuse a run."""
    said = set()
    for reader in (lambda: load_rows([str(run)]), lambda: compare_runs([str(run)], [str(run)])):
        with pytest.raises(UserError) as error:
            reader()
        said.add(str(error.value))
    (line,) = said
    assert "\n" not in line
    return line


def test_an_evaluation_tells_what_it_was_made_from(run):
    evaluation = read_evaluation(RunFolder(run), "test")
    made, model = evaluation.made_from, trained_model(RunFolder(run))
    assert made["checkpoint"]["sha256"] == model.sha256 and made["checkpoint"]["stage"] == 2
    assert made["trained"]["stage1"]["--concatenate"] == 2 and made["trained"]["stage2"]["--top_k"] == 3
    assert made["predictions"]["lines"] == 3 and made["sentences"]["de"]["count"] == 3
    assert set(made["versions"]) == {"mere_ds", "python", "torch", "deepspeed", "transformers"}
    assert evaluation.is_usual and not evaluation.remarks()


def test_a_model_that_was_trained_anew_is_not_reported_with_the_old_scores(run):
    train(run, BOTH, system="mERE", learning_rate=1e-3)
    line = refused(run)
    assert "made from stage 2's step-" in line and "is now stage 2's step-" in line
    assert line.endswith(f"run mere-ds evaluate {run}")
    evaluate(run, answers("110"))
    (row,) = load_rows([str(run)])
    assert row.knobs["learning_rate"] == 1e-3


def test_a_stage_one_that_was_trained_anew_under_its_stage_two_is_refused(run):
    make_checkpoint(run, 1, ingredients_of(1, system="mERE", epochs=9))
    assert "stage two was trained on a different stage one" in refused(run)
    with pytest.raises(UserError, match="train stage two again"):
        trained_model(RunFolder(run))
    assert trained_model(RunFolder(run), "stage1").stage == 1


def test_knobs_come_from_the_checkpoint_and_not_from_config_json(run):
    path = run / "config.json"
    told = json.loads(path.read_text())
    told["stage2"] |= {"learning_rate": 7.0, "system": "mERE14"}
    path.write_text(json.dumps(told))
    (row,) = load_rows([str(run)])
    assert row.name == "mERE" and row.knobs["learning_rate"] == 3e-5


@pytest.mark.parametrize("part", ["test.json", "test.jsonl"])
def test_no_flipped_bit_goes_unseen(run, part):
    path = run / "evaluation" / part
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert "mere-ds evaluate" in refused(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"made_from": 3}', '{"a": NaN}', "[" * 20000, "\x00"])
def test_scores_without_a_record_are_refused(run, content):
    (run / "evaluation" / "test.json").write_text(content)
    assert "evaluation/test.json: " in refused(run)


def test_scores_and_predictions_of_two_evaluations_are_no_pair(run, tmp_path):
    other = train(tmp_path / "other", BOTH, system="mERE")
    evaluate(other, answers("000"))
    os.replace(other / "evaluation" / "test.jsonl", run / "evaluation" / "test.jsonl")
    assert "changed since the scores were made from it" in refused(run)


def test_the_sweep_of_k_is_of_one_model_scored_alike(run):
    for k in (1, 6):
        evaluate(run, answers("100"), k)
    rows = load_rows([str(run)])
    assert table_k(rows).columns == ["k = 1", "k = 3", "k = 6"]
    for how in ({"which": "latest"}, {"precision": "bf16"}, {"shards": "6" * 64}):
        evaluate(run, answers("100"), 6, **how)
        with pytest.raises(UserError, match=r"test-k6.json: its .*mere-ds evaluate .*--k=6"):
            table_k(rows)
    train(run, BOTH, system="mERE", seed=4)
    evaluate(run, answers("110"))
    with pytest.raises(UserError, match=r"test-k1.json: made from .*--k=1"):
        table_k(load_rows([str(run)]))


def test_runs_that_were_asked_other_sentences_are_not_put_side_by_side(run, tmp_path):
    other = train(tmp_path / "other", system="mBERT")
    evaluate(other, answers("1100"))
    with pytest.raises(UserError, match="its 4 sentences of de .* are not the 3 of .* report them separately"):
        load_rows([str(run), str(other)])


def test_what_is_not_as_usual_is_said_in_the_row_and_beside_the_comparison(run, capsys):
    for how, said in (
        ({"which": "stage1"}, "stage one only"),
        ({"which": "latest"}, "latest checkpoint"),
        ({"shards": "6" * 64}, "not the shards of its training"),
    ):
        evaluate(run, answers("110"), **how)
        (row,) = load_rows([str(run)])
        assert row.name == row.paper == f"mERE, {said}"
        assert not any(line.paper for line in table_2([row]).lines), "the paper has no such row"
        flags.run(COMMANDS, ["compare", str(run), str(run)], "mere-ds")
        assert f"A = {run} ({said})" in capsys.readouterr().out


def test_unlike_precisions_are_said_in_the_rows(run, tmp_path):
    other = train(tmp_path / "other", system="mBERT")
    evaluate(other, answers("110"), precision="bf16")
    names = [row.name for row in load_rows([str(run), str(other)])]
    assert names == ["mBERT, scored in bf16", "mERE, scored in fp32"]
    assert [row.name for row in load_rows([str(other)])] == ["mBERT"]


def test_a_training_that_is_not_finished_is_said(tmp_path):
    run = tmp_path / "run"
    best = make_checkpoint(run, 1, ingredients_of(1, system="mBERT"), "step-00000001-epoch-1", finished=False)
    evaluate(run, answers("1"))
    assert [row.name for row in load_rows([str(run)])] == ["mBERT, training not finished"]
    make_checkpoint(run, 1, ingredients_of(1, system="mBERT"), "step-00000002", links=("latest",), best=best.name)
    assert [row.name for row in load_rows([str(run)])] == ["mBERT"], "the same best model, and by now it is"


def test_stage_one_never_stands_in_for_stage_two(tmp_path):
    run = train(tmp_path / "run", (1,), system="mERE")
    with pytest.raises(
        UserError, match=r"mERE has not been trained through stage two: finish stage two .*--which=stage1"
    ):
        trained_model(RunFolder(run))
    make_checkpoint(run, 2, ingredients_of(2, system="mERE"), "step-00000001", links=("latest",), finished=False)
    with pytest.raises(UserError, match="stage two has no best checkpoint: .*--which=latest.*--which=stage1"):
        trained_model(RunFolder(run))
    evaluate(run, answers("1"), which="stage1")
    assert read_evaluation(RunFolder(run), "test").content["stage"] == 1
    assert trained_model(RunFolder(train(tmp_path / "LS"))).stage == 1, "a system of one stage"
    for place, says in ((tmp_path / "x", "no such folder"), (run / "config.json", "a file, not a folder")):
        with pytest.raises(UserError, match=says):
            trained_model(RunFolder(place))
    with pytest.raises(UserError, match="no trained model"):
        trained_model(RunFolder(tmp_path))


@pytest.mark.parametrize("content", ["", "{}", '{"step": true}', "[]"])
def test_a_state_that_is_not_as_it_was_written_is_refused(run, content):
    (run / "checkpoints" / "stage2" / "best" / "training.json").write_text(content)
    assert "training.json: " in refused(run)


def test_a_disk_that_is_full_leaves_the_evaluation_as_it_was(run, monkeypatch):
    folder = run / "evaluation"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(provenance, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(run, answers("000"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def _evaluate_often(run: Path, marks: str) -> None:
    for _ in range(15):
        evaluate(run, answers(marks))


def test_two_evaluations_at_once_leave_a_pair(run):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_evaluate_often, args=(run, marks)) for marks in ("110", "001")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(list(read_evaluation(RunFolder(run), "test").records())) == 3
    assert {path.name for path in (run / "evaluation").iterdir()} == {"test.json", "test.jsonl"}


def test_the_papers_figures_stand_only_beside_its_data(run, tmp_path):
    assert [line.name for line in table_2(load_rows([str(run)])).lines].count("paper") == 1
    for other in ({"labels": ("Born_In",)}, {"rows": {"de": 3000}}):
        evaluate(run, answers("110"), **other)
        table = table_2(load_rows([str(run)]))
        assert not any(line.paper for line in table.lines)
        assert "which are for SMiLER, are left out" in table.note and str(run) in table.note
    page = make_report([str(run)], str(tmp_path / "report"))
    assert "Rows “paper”" not in page.read_text(encoding="utf-8")


def test_what_is_unlike_smiler():
    assert unlike_smiler(["eats", "no_relation"], ROWS) is None
    assert unlike_smiler([], {"en": 740_000, "uk": 1400}) is None
    assert unlike_smiler(["knows"], ROWS) == "SMiLER has no label 'knows'"
    assert unlike_smiler([], {"it": 3010}) == "its files have 3,010 rows of it, SMiLER's about 76,000"
    assert "SMiLER's no" in unlike_smiler([], {"zh": 76000})


def test_a_report_and_a_comparison_tell_their_digests(run, tmp_path):
    made = read_evaluation(RunFolder(run), "test").made_from
    digests = [made[name][key] for name, key in (("checkpoint", "sha256"), ("predictions", "sha256"))]
    page = make_report([str(run)], str(tmp_path / "report"))
    for path in (page, page.with_name("tables.txt"), page.parent / "figures" / "figure3.png"):
        content = path.read_bytes()
        assert all(digest[:12].encode() in content for digest in (*digests, made["shards"]["manifest"])), path
    flags.run(COMMANDS, ["compare", str(run), str(run), f"--out={tmp_path}/x.json"], "mere-ds")
    assert json.loads((tmp_path / "x.json").read_text())["made_from"]["b"][0]["predictions"] == made["predictions"]
