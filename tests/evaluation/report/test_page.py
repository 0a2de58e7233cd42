"""The page as text: what it may do, and that nobody's text becomes its code."""

import base64
import hashlib
import json
import re
import shutil

import pytest

from mere_ds import flags
from mere_ds.cli import COMMANDS
from mere_ds.errors import UserError
from mere_ds.evaluation.provenance import read_evaluation
from mere_ds.evaluation.report.making import make_report
from mere_ds.runs.run_folder import RunFolder
from tests.evaluation.made_up_runs import evaluate, train
from tests.evaluation.report.made_up import LABELS, TEXTS, knobs, make_run, records_of
from tests.full_disk import files_of_at_most


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def test_page_may_run_its_own_script_alone_and_load_nothing(page):
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and text.count("<script") == 2 and "{{" not in text.split("<script")[0]
    assert not re.search(r'(src|href)="(?!#|data:)', text)


def test_hostile_names_stay_text(tmp_path):
    evil = tmp_path / "<img src=x onerror=alert(1)>"
    told = knobs("mBERT", languages="de")
    records = records_of(told, ("de",))
    for record in records[:-1]:
        record["gold"]["relation"] = record["gold"]["relation"].replace(LABELS[0], "</script><b>{{data}}$x$")
    run = train(evil, **told)
    evaluate(run, records)
    page = make_report([str(run)], str(tmp_path / "report"))
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2 and "<img" not in text and "<b>" not in text
    assert "</script><b>{{data}}$x$" in data_of(page)["labels"]


def test_data_holds_every_answer_once_and_whole(runs, page):
    data = data_of(page)
    lines = [json.dumps(sentence) for sentence in data["sentences"]]
    assert len(lines) == len(set(lines)) == 12 * len(TEXTS) + 1
    (run,) = [run for run in data["runs"] if run["name"] == "mERE, seed 0"]
    records = list(read_evaluation(RunFolder(runs[0]), "test").records())
    assert len(run["answers"]) == len(records)
    for record, (number, relation, _, head, tail, right) in zip(records, run["answers"], strict=True):
        sentence, gold, predicted = data["sentences"][number], record["gold"], record["predicted"]
        assert sentence["text"] == record["text"] and sentence["lang"] == record["lang"]
        assert [m for n, m in enumerate(data["metrics"]) if right >> n & 1] == sorted(
            record["right"], key=data["metrics"].index
        )
        if gold is None:
            assert relation is None and sentence["reason"] == "rejected by reader"
        else:
            assert data["labels"][sentence["relation"]] == gold["relation"]
            assert data["labels"][relation] == predicted["relation"]
            assert [sentence["head"], sentence["tail"]] == [gold["head"], gold["tail"]]
            assert [head, tail] == [predicted["head"], predicted["tail"]]


def test_a_run_that_can_not_be_written_to_is_reported_all_the_same(tmp_path, caplog):
    run = make_run(tmp_path / "run", knobs("mBERT"))
    (run / "tensorboard").write_text("no folder")
    assert make_report([str(run)], str(tmp_path / "report")).is_file()
    assert f"{run / 'tensorboard' / 'report'}: " in caplog.text and "skipping the images for TensorBoard" in caplog.text


def test_a_report_that_can_not_be_written(tmp_path):
    run = make_run(tmp_path / "run", knobs("mBERT"))
    (tmp_path / "report").write_text("no folder")
    with pytest.raises(UserError, match="report"):
        make_report([str(run)], str(tmp_path / "report"))


def test_files_beside_the_page(page, tmp_path):
    drawn = {path.stem for path in page.parent.joinpath("figures").iterdir()}
    assert drawn == {*(f"figure{n}" for n in range(3, 9)), "figure_k"}
    assert "Table 2" in page.with_name("tables.txt").read_text(encoding="utf-8")
    run = make_run(tmp_path / "run", knobs("mBERT"))
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "figures" / "figure8.png").write_bytes(b"of an earlier report")
    make_report([str(run)], str(tmp_path / "report"))
    assert not (tmp_path / "report" / "figures" / "figure8.png").exists()
    assert not list((tmp_path / "report").rglob("*.part"))


def test_command_prints_the_tables_and_where_the_page_is(runs, tmp_path, capsys):
    flags.run(COMMANDS, ["report", *runs[:2], f"--out={tmp_path}"], "mere-ds")
    printed = capsys.readouterr().out
    assert "Table 2" in printed and "mERE (2 seeds)" in printed and f"report: {tmp_path / 'index.html'}" in printed
    with pytest.raises(SystemExit) as ended:
        flags.run(COMMANDS, ["report", str(tmp_path), f"--out={tmp_path}"], "mere-ds")
    assert ended.value.code == 2 and "evaluation/test.json: missing: run mere-ds evaluate" in capsys.readouterr().err


@pytest.mark.parametrize("most", [64, 40_000])
def test_a_full_disk_is_one_line_and_nothing_half_written_is_left(runs, tmp_path, capsys, most):
    """Before the first plot is written, and before the page is."""
    run = shutil.copytree(runs[0], tmp_path / "run")
    shutil.rmtree(run / "tensorboard" / "report", ignore_errors=True)
    make_report([str(run)], str(tmp_path / "earlier"))
    board = [(path, path.read_bytes()) for path in (run / "tensorboard" / "report").iterdir()]
    capsys.readouterr()
    with files_of_at_most(most), pytest.raises(SystemExit, match="1"):
        flags.run(COMMANDS, ["report", str(run), f"--out={tmp_path}/report"], "mere-ds")
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"mere-ds: {tmp_path}/report/") and "File too large" in said[-1], said
    assert not list(tmp_path.rglob(".*")) and not (tmp_path / "report" / "index.html").exists()
    assert (tmp_path / "report").exists() == (most > 64)
    assert [(path, path.read_bytes()) for path in (run / "tensorboard" / "report").iterdir()] == board
    assert "Traceback" not in said and all(path.stat().st_size < most for path in tmp_path.glob("report/*/*"))
