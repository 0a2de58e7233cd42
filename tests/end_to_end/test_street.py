"""The main job as a user does it: corpus, shards, both stages on 2 ranks, scores, triples."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from launching import BIN, deepspeed_config, deepspeed_train, environment, mere_ds, records, succeeded, weights
from ranks import run_ranks
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MAY_CHANGE_IN_STAGE_TWO = ("switcher.", "relation.", "heads.")
FROZEN_ALL_THE_SAME = "heads.relations."


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    succeeded(
        deepspeed_train(
            "--stage=all", f"--shards={shards}", f"--run={folder}",
            f"--deepspeed_config={deepspeed_config(folder.parent)}", "--epochs=2", "--epochs_stage_two=2",
            "--learning_rate=3e-3", "--bottleneck=192", "--log_every=5",
        )
    )  # fmt: skip
    return folder


def test_the_run_folder_holds_what_it_should(run):
    for name in ("config.json", "log.txt", "metrics.jsonl", "tensorboard/stage1", "tensorboard/stage2"):
        assert (run / name).exists()
    for stage in (1, 2):
        for which in ("best", "latest"):
            files = {p.name for p in (run / f"checkpoints/stage{stage}/{which}").iterdir()}
            assert {"config.json", "model.safetensors", "tokenizer.json", "training.json"} <= files
    assert json.loads((run / "config.json").read_text())["stage2"]["bottleneck"] == 192


def test_the_loss_falls_and_every_sentence_is_counted(run, shards):
    rows = records(run)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    manifest = json.loads((shards / "manifest.json").read_text())
    steps = -(-manifest["splits"]["train"]["sentences"] // 32)
    assert rows[-1]["step"] == 2 * steps
    for r in rows:
        eq_12 = 2 / 2 * sum(v for k, v in r["loss_terms"].items() if k != "relation") + r["loss_terms"]["relation"]
        assert r["loss"] == pytest.approx(eq_12, rel=1e-4)
        assert 0 <= r["padding_share"] < 1 and 0 <= r["waiting_share"] <= 1
    assert sorted(r["padding_share"] for r in rows)[len(rows) // 2] < 0.1


def test_stage_two_changes_exactly_the_parameters_it_may(run):
    before, after = weights(run, 1), weights(run, 2)
    frozen = {n for n in before if not n.startswith(MAY_CHANGE_IN_STAGE_TWO) or n.startswith(FROZEN_ALL_THE_SAME)}
    assert any(n.startswith("encoder.") for n in frozen) and any(n.startswith("aggregator.") for n in frozen)
    for name in frozen:
        assert before[name].dtype == after[name].dtype and (before[name] == after[name]).all(), name
    trained = [n for n in after if n not in frozen]
    assert any(n.startswith("switcher.") for n in trained)
    for name in set(trained) & set(before):
        if not name.startswith("switcher."):
            assert not (before[name] == after[name]).all(), f"{name} wasn't trained"


def test_tensorboard_shows_what_was_promised(run):
    for stage in (1, 2):
        board = EventAccumulator(str(run / "tensorboard" / f"stage{stage}"))
        board.Reload()
        tags = set(board.Tags()["scalars"])
        terms = ("head_start", "head_end", "tail_start", "tail_end", "relation")
        plain = ("loss", "learning_rate", "gradient_norm", "loss_scale", "sentences_per_second", "tokens_per_second",
                 "padding_share", "waiting_share", "tflops_per_second", "memory_mib")  # fmt: skip
        assert {f"train/{p}" for p in plain} | {f"train/loss_terms/{t}" for t in terms} <= tags
        assert {"dev/average/triple", "dev/pooled/relation", "dev/languages/en/triple"} <= tags
        last = records(run, stage=stage)[-1]
        event = board.Scalars("train/loss")[-1]
        assert (event.step, event.value) == (last["step"], pytest.approx(last["loss"]))


def test_evaluate_writes_and_prints_the_scores(run, shards):
    shown = succeeded(mere_ds("evaluate", run)).stdout
    result = json.loads((run / "evaluation" / "test.json").read_text())
    assert result["split"] == "test" and result["k"] == 3
    manifest = json.loads((shards / "manifest.json").read_text())
    wanted = sum(manifest["missed_test"].values()) + manifest["splits"]["test"]["sentences"]
    assert sum(r["sentences"] for r in result["languages"].values()) == wanted
    mean = sum(r["triple"] for r in result["languages"].values()) / len(result["languages"])
    assert result["average"]["triple"] == pytest.approx(mean)
    assert all(name in shown for name in (*result["languages"], "average", "pooled", "without no_relation"))
    assert result["intervals"]["average"][0] <= result["average"]["triple"] <= result["intervals"]["average"][1]
    lines = (run / "evaluation" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == wanted, "every sentence of the test files has its line"
    assert all(sum(f_T) == pytest.approx(1) for f_T in result["router"]["probabilities"])
    # after so little training the relation is better than the commonest guess, so something was learned
    assert result["pooled"]["relation"] > 20

    shown = succeeded(mere_ds("evaluate", run, "--split=dev", "--k=2,6")).stdout
    assert "k = 2\n" in shown and "k = 6\n" in shown
    for k in (2, 6):
        assert json.loads((run / "evaluation" / f"dev-k{k}.json").read_text())["k"] == k


def test_extract_answers_line_for_line(run, tmp_path):
    text = "Anna Berg wurde 1950 in Köln geboren."
    one = json.loads(succeeded(mere_ds("extract", run, "--lang=de", text)).stdout)
    assert one["text"] == text and one["lang"] == "de"
    (triple,) = one["triples"]
    for side in ("head", "tail"):
        span = triple[side]
        assert text[span["start"] : span["end"]] == span["text"] != ""
    assert 0 < triple["score"] <= 1

    long = "word " * 2000
    lines = [text, "", "   ", long.strip(), "x"]
    (tmp_path / "texts").write_text("\n".join(lines) + "\n", encoding="utf-8")
    exact = "--lang=de", "--precision=fp32"  # in 16 bits what is computed together changes the last digits
    by_file = succeeded(mere_ds("extract", run, *exact, f"--file={tmp_path / 'texts'}")).stdout
    by_stdin = succeeded(mere_ds("extract", run, *exact, stdin="\n".join(lines))).stdout
    assert by_file == by_stdin
    answers = [json.loads(line) for line in by_file.splitlines()]
    assert [a["text"] for a in answers] == lines
    assert [a.get("note", "").split(":")[0] for a in answers] == ["", "empty text", "empty text", "too long", ""]
    assert answers[0]["triples"][0]["relation"] == triple["relation"], "batching changes nothing"


def test_extract_answers_each_line_at_once_and_bad_bytes_cost_one_answer(run):
    """One program: a line is answered before the next one is written, whatever the locale and the lines."""
    sentence = "Anna Berg wurde 1950 in Köln geboren."
    huge = b"wort " * 400_000
    lines = [
        (b"\xef\xbb\xbf" + sentence.encode(), sentence, None),
        (b"Anna \xff Berg", "Anna \\xff Berg", "not UTF-8: byte 6 of line 2 is 0xff"),
        (sentence.encode() + b"\r", sentence, None),
        (b"Anna\rBerg in Kiel", "Anna\rBerg in Kiel", None),
        (b"", "", "empty text"),
        (b"None", "None", None),
        (huge, huge[: 1 << 20].decode(), f"first {1 << 20} of the line's {len(huge) + 1} bytes"),
        (sentence.encode(), sentence, None),
    ]
    env = environment() | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [str(BIN / "mere-ds"), "extract", str(run), "--lang=de"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as program:
        answers = []
        for line, _, _ in lines:
            program.stdin.write(line + b"\n")
            program.stdin.flush()
            answers.append(json.loads(program.stdout.readline().decode("utf-8")))
        program.stdin.close()
        assert program.stdout.read() == b""
    assert program.returncode == 0
    for answer, (_, text, note) in zip(answers, lines, strict=True):
        assert answer["text"] == text and answer["lang"] == "de"
        assert note in answer["note"] if note else "note" not in answer
    assert answers[0]["triples"] == answers[2]["triples"] == answers[7]["triples"] != []
    assert answers[1]["triples"] == answers[4]["triples"] == []
    read, whole = re.search(r"only the first (\d+) of (\d+) characters were read", answers[6]["note"]).groups()
    assert int(read) < int(whole) == 1 << 20


def test_extract_reads_a_checkpoint_wherever_it_lies(run, tmp_path):
    text = "Anna Berg wurde in Köln geboren."
    of_run = succeeded(mere_ds("extract", run, "--lang=de", text)).stdout
    copied = shutil.copytree(run / "checkpoints/stage2/best", tmp_path / "copied")
    assert succeeded(mere_ds("extract", copied, "--lang=de", text)).stdout == of_run
    refused = mere_ds("extract", copied, "--lang=de", "--which=latest", text)
    assert refused.returncode == 2 and "is a single checkpoint" in refused.stderr
    unknown = mere_ds("extract", copied, "--lang=xx", text)
    assert unknown.returncode == 2 and "pass one of" in unknown.stderr


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--lang=xx", "text"], "pass one of"),
        (["--lang=de", " "], "TEXT is empty"),
        (["--lang=de", "--k=0", "text"], "must be between 1 and 6"),
        (["--lang=de", "--file=/no/such/file"], "No such file"),
        (["text"], "--lang=... is missing"),
    ],
)
def test_extract_refuses_misuse(run, argv, says):
    result = mere_ds("extract", run, *argv)
    assert result.returncode == 2 and says in result.stderr and result.stdout == ""
    assert result.stderr.count("\n") == 1


def test_a_stage_is_not_trained_over_by_accident(run, shards):
    again = run_ranks(1, stage=2, shards=shards, run=run, deepspeed_config=deepspeed_config(run.parent)).ended(2)
    assert "--overwrite" in again.stderr[0]
