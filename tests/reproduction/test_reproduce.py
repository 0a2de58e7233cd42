"""`mere-ds reproduce`: plans and costs shown, misuse refused, what is missing run once."""

import json
import re
import sys
from pathlib import Path

import pytest

from mere_ds.evaluation.report.runs import load_rows
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.reproduction.plan import TARGETS

FLAGS = [f"--{kind}={value}" for kind, _, value in (target.partition(" ") for target in TARGETS if " " in target)]
SMALL = ("--languages=de,en,ko", "--train=--max_steps=2 --bottleneck=64")


@pytest.mark.parametrize("flag", [*FLAGS, "--table=all"])
def test_dry_run_tells_plan_and_cost_and_does_nothing(reproduce, out, flag):
    said = reproduce(flag, "--dry_run", "--seeds=2")
    listed = reproduce(flag, "--list", "--seeds=2").splitlines()
    assert f"{len(listed)} jobs" in said
    for line in listed:
        number, state, needs, name = line.split()
        assert re.search(rf"^ *{number}  {name} .*{state}$", said, re.MULTILINE)
        assert int(needs) < int(number) and (state == "missing") != (name.startswith("MTMB"))
    assert "encoder passes" in said and "GiB of checkpoints" in said and "time: unknown" in said
    assert not out.exists()


def test_rows_that_cannot_be_had_are_told_first(reproduce, tmp_path):
    said = reproduce("--table=2", "--dry_run")
    assert "left out: MTMB-seed0: " in said and "akoksal/MTMB" in said and "pretrain-mtmb" in said
    assert "left out: MTMB: --mtmb=none" in reproduce("--table=2", "--dry_run", "--mtmb=none")
    (tmp_path / "config.json").write_text('{"hidden_size": 768}')
    assert "no model*.safetensors" in reproduce("--table=2", "--dry_run", f"--mtmb={tmp_path}")
    (tmp_path / "model.safetensors").touch()
    said = reproduce("--table=2", "--dry_run", f"--mtmb={tmp_path}")
    assert "has hidden size 768, not 128 of the shards' encoder (tiny)" in said and "pretrain-mtmb" in said
    said = reproduce("--table=2", "--dry_run", "--languages=de,en")
    assert "left out: mERE (EURO): all of these languages are of the group EURO: de, en" in said


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ((), "exactly one of --table, --figure and --sweep is required"),
        (("--table=2", "--figure=3"), "exactly one of --table, --figure and --sweep is required"),
        (("--table=2", "--seeds=0"), "--seeds=0: must be between 1 and 1000"),
        (("--table=2", "--train=--epoch=2"), "--train: unknown flag --epoch (did you mean --epochs?)"),
        (("--table=2", "--train=--seed=2"), "--train: --seed is set by the plan"),
        (("--table=2", "--train=--run=x"), "--train: --run is given twice"),
        (("--table=2", "--train='"), "--train: No closing quotation"),
        (
            ("--table=3", "--train=--submodule_layers=1,2,1,2"),
            "--submodule_layers, which mERE-layers-1-1-seed0 sets",
        ),
        (("--table=2", "--train=--top_k=9"), "--top_k=9: there are only"),
        (("--figure=8", "--only=3"), "--only=3: must be between 1 and 2"),
        (("--figure=8", "--only=2"), "mERE-seed0 needs mERE-LS-seed0, which is not trained yet"),
        (("--table=2", "--only=6"), "--only=6: MTMB-seed0 is left out"),
        (("--figure=8", "--languages=xx"), "contain no xx"),
    ],
)
def test_misuse_is_refused_before_anything_starts(reproduce, out, argv, says):
    said = reproduce(*argv, code=2)
    assert says in said and said.count("\n") == 1
    assert not out.exists()


def content(run: Path, name: str) -> dict:
    return json.loads((run / name).read_text())


@pytest.mark.slow
def test_what_is_missing_is_run_once_and_reported(reproduce, out):
    """Without a launcher, which costs seconds: one rank."""
    flags = ("--figure=8", *SMALL, f"--launcher={sys.executable}")
    reproduce(*flags, "--only=1")
    assert [line.split()[1] for line in reproduce(*flags, "--list").splitlines()] == ["done", "missing"]
    assert "time: unknown" in reproduce(*flags, "--dry_run"), "no switcher has been tuned yet"

    said = reproduce(*flags)
    assert "job 2 of 2: mERE-seed0" in said and "job 1 of 2" not in said
    assert (out / "figure8.txt").read_text() in said and "mERE " in said and "index.html" in said
    assert (out / "report" / "index.html").is_file()
    scores = json.loads((out / "runs" / "mERE-seed0" / "evaluation" / "test.json").read_text())
    assert scores["languages"].keys() == {"de", "en", "ko"}
    one, two = (
        json.loads((out / "runs" / name / "config.json").read_text()) for name in ("mERE-LS-seed0", "mERE-seed0")
    )
    assert one.keys() == {"stage1"} and two.keys() == {"stage2"}
    assert two["stage2"]["stage_one_run"] == str(out / "runs" / "mERE-LS-seed0")

    assert "features of train" in (out / "runs" / "mERE-seed0.log").read_text() and not (out / "features").exists()

    logs = {path: path.stat().st_mtime_ns for path in (out / "runs").glob("*.log")}
    again = reproduce(*flags)
    assert len(logs) == 2 and "Nothing is missing." in again and "job 1 of 2" not in again
    assert {path: path.stat().st_mtime_ns for path in logs} == logs, "nothing was started"
    assert re.search(r"time: about [0-9.]+ minutes", reproduce(*flags, "--seeds=2", "--dry_run"))
    assert reproduce("--sweep=k", *SMALL, "--list").split()[1::4] == ["done", "missing"], (
        "there it is scored with each k"
    )

    refused = reproduce("--figure=8", SMALL[0], "--train=--max_steps=3 --bottleneck=64", "--dry_run", code=2)
    assert "--max_steps was 2, is 3" in refused and "another --out" in refused


def test_any_number_of_triples_leaves_herberta_out_and_says_so(reproduce, many_shards):
    said = reproduce("--table=2", "--dry_run", "--mtmb=none", on=many_shards)
    assert "left out: HERBERTa: it finds one triple a sentence, and the shards hold any number" in said
    assert "HERBERTa-seed" not in said and "mBERT-seed0" in said


@pytest.mark.slow
def test_any_number_of_triples_is_trained_and_scored(reproduce, out, many_shards):
    """Of one job, which costs half of the seconds; the report is that of test_reporting."""
    flags = ("--figure=8", "--train=--max_steps=2 --bottleneck=64", f"--launcher={sys.executable}")
    reproduce(*flags, "--only=1", on=many_shards)
    assert [line.split()[1] for line in reproduce(*flags, "--list", on=many_shards).splitlines()] == ["done", "missing"]
    scores = content(out / "runs" / "mERE-LS-seed0", "evaluation/test.json")
    assert scores["triples"] == "many" and scores["languages"].keys() == {"de", "en", "ko"}
    assert load_rows([str(out / "runs" / "mERE-LS-seed0")])[0].results[0].scores["numbers"].keys() > {"0", "1"}


def test_a_job_that_fails_stops_all_with_its_name_and_last_lines(reproduce, out):
    said = reproduce("--figure=8", *SMALL, "--launcher=bash -c 'seq 40; exit 7'", code=1)
    log = out / "runs" / "mERE-LS-seed0.log"
    assert f"mERE-LS-seed0 failed with exit code 7 (output: {log})" in said
    assert "  40\n" in said and "  20\n" not in said
    assert len(log.read_text().splitlines()) == 41 and not (out / "runs" / "mERE-seed0.log").exists()
    assert reproduce("--figure=8", *SMALL, "--launcher=bash -c 'exit 2'", code=2), (
        "what the user must mend is told apart"
    )


def test_a_job_that_was_told_to_stop_is_no_failure(reproduce):
    said = reproduce("--figure=8", *SMALL, f"--launcher=bash -c 'exit {LEFT_EARLY}'", code=LEFT_EARLY)
    assert said.endswith("mERE-LS-seed0 was asked to stop: run the same command again to resume it\n")
