"""slurm/extract.sh on a real cluster: the parts of a file by a job array, one of them stopped, joined at the end."""

import subprocess
import sys

from cluster import UNFINISHED, until
from launching import REPOSITORY

from mere_ds.bulk.progress import work_folder
from mere_ds.streams import LINES_AT_ONCE
from tests.small_model import TEXTS, leave_run

SCRIPT = REPOSITORY / "slurm" / "extract.sh"
FLAGS = ("--lang=de", "--batch_size=64", "--precision=fp32")
ROWS = 30 * LINES_AT_ONCE
"""Enough for a signal to come while a part is being made."""


def test_parts_by_an_array_are_joined(cluster, tmp_path):
    leave_run(run := tmp_path / "run")
    (file := tmp_path / "the texts.txt").write_text("\n".join(TEXTS * (ROWS // len(TEXTS))), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    cluster.env |= {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    words = ("--gres=none", "--cpus-per-task=1", "--time=5", "--", "--parts=2", run, *FLAGS)
    said = cluster.command("bash", SCRIPT, *words, f"--file={file}", f"--out={out}", cwd=tmp_path).splitlines()
    array, join = (line.rsplit(" ", 1)[1] for line in said)
    assert said == [f"parts 1 to 2: job {array}", f"joining them: job {join}"]
    try:
        until((work_folder(out) / "2-of-2.journal").exists, "the second part's start", 120)
        cluster.command("scancel", "--signal=USR1", "--batch", f"{array}_2")  # as Slurm does near the time limit
        until(lambda: cluster.job(join)["JobState"] not in UNFINISHED, "the end", 240)
        shown = "".join(path.read_text() for path in sorted(tmp_path.glob("mere-extract-*.out")))
        assert cluster.job(join)["JobState"] == "COMPLETED", shown
        assert "stopped by SIGTERM: nothing is lost: the same command goes on with" in shown and "requeued" in shown
        assert f"{out}: rows: {ROWS:,}" in shown and not work_folder(out).exists()
    finally:
        cluster.command("scancel", "--user=root")
    assert out.read_bytes().count(b"\n") == ROWS


def test_usage():
    def said(*words) -> tuple[int, str, str]:
        done = subprocess.run(["bash", SCRIPT, *words], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    asked, misused = said("--help"), said()
    assert (asked[0], misused[0]) == (0, 2) and asked[1] == misused[2]
    assert said("runs/a", "--out=x")[2] == "mere-extract: --parts=... must say how many parts there are\n"
