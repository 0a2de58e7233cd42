"""What restart.py reads of a run and of processes."""

import json
import subprocess
import sys

import psutil

from benchmarks.restart import MARKS, MEASURED, _cpu_seconds, _steps, write_restart


def test_steps_are_whole_records_of_training(tmp_path):
    assert _steps(tmp_path) == []
    rows = [{"kind": "train", "time": 1.5}, {"kind": "dev", "time": 2.0}, {"kind": "train", "time": 3.5}]
    written = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(written + '{"kind": "train", "ti')
    assert _steps(tmp_path) == [1.5, 3.5]


def test_seconds_of_processes_that_have_ended_count():
    spend = "import time\nwhile time.process_time() < 0.3: pass"
    program = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spend!r}]); print(1, flush=True); input()"
    )
    with psutil.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        assert 0.3 <= _cpu_seconds(parent) < 30
        parent.communicate(b"\n")


def test_the_table_names_ranks_and_encoder(tmp_path):
    (tmp_path / "RESULTS.md").write_text("".join(MARKS))
    write_restart({name: {"before": [4.0], "now": [3.0]} for name in MEASURED}, "a machine", "tiny", tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert "2 ranks, encoder `tiny`" in page
    assert "| s to the next step | 4.00 / 4.00 / 4.00 | 3.00 / 3.00 / 3.00 | 0.75 / 0.75 / 0.75 |" in page
    assert {entry["name"] for entry in json.loads((tmp_path / "results.json").read_text())} == set(MEASURED)
