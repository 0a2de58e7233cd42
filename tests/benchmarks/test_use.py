"""The harness of use.py: what its sides compute, and what it writes."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import use
from benchmarks.use import Measured, Running, measure_lines, measure_rates, measure_start, timed_command
from benchmarks.use_models import make_models
from benchmarks.use_report import entries, table, write_use
from mere_ds.errors import UserError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"), "tiny", texts=6, batches=1, graphs=())


def test_a_model_reads_its_texts_as_a_run_does(models):
    texts = json.loads(models.texts.read_text())
    told = {"folder": str(models.checkpoint), "given": {"threads": 1}, "texts": str(models.texts), "one": 2}
    told |= {"arrays": str(models.arrays)}
    with Running(sys.executable, "use_side.py", told, use.ROOT) as side:
        answers = [side.ask(what) for what in ("batch", "one", "products")]
    assert len(texts) == 6 and all(answer["rate"] > 0 and answer["peak"] > 50 for answer in answers)
    with np.load(models.arrays) as file:
        tokens = int(file["mask0"].sum())
    sizes = models.material.sizes
    encoder = 2 * tokens * sizes.layers * (4 * sizes.hidden**2 + 2 * sizes.hidden * sizes.feed_forward)
    assert encoder < models.flops < 20 * encoder


@pytest.mark.slow
def test_rounds_are_kept_by_side(models):
    got = Measured("a machine", "fp32")
    measure_rates(got, "tiny", models, None, None, rounds=1, one=2)
    measure_start(got, "tiny", models, None, rounds=1)
    assert {side for _, _, side in got.figures} == {"fp32", "auto"}
    assert len(got.figures["tiny", "share", "auto"]) == 1
    assert got.figures["tiny", "start CPU s", "auto"][0] > 0


def test_lines_are_read_by_one_core_and_by_all(models, tmp_path, monkeypatch):
    """Starting takes 5 seconds here and a line one, divided among processes."""
    asked = []

    def command(checkout, arguments):
        source, processes = (a.split("=")[1] for a in arguments if a.startswith(("--file=", "--processes=")))
        lines = len(Path(source).read_text().splitlines())
        asked.append((lines, int(processes), len(os.sched_getaffinity(0))))
        return 5 + lines / int(processes), 0.0, 100.0

    monkeypatch.setattr(use, "timed_command", command)
    cores = len(os.sched_getaffinity(0))
    got = Measured("a machine", "fp32")
    measure_lines(got, "tiny", models, tmp_path, lines=16, rounds=1)
    assert asked == [(count, own, own) for own in (1, cores) for count in (4, 16)]
    assert len(os.sched_getaffinity(0)) == cores
    assert got.figures["tiny", "lines/s by cores", "auto"] == [1.0] and got.figures[
        "tiny", "lines/s, 1 cores", "auto"
    ] == [1.0]


def test_a_command_that_fails_ends_the_measurement(models):
    with pytest.raises(SystemExit, match="ended with 2"):
        timed_command(use.ROOT, ["extract", str(models.checkpoint)])


def test_ratios_are_of_rounds_and_the_best_of_ours_is_named(tmp_path):
    figures = {
        ("e5-small", "batch", "before"): [1.0, 2.0, 4.0],
        ("e5-small", "batch", "auto"): [2.0, 2.0, 4.0],
        ("e5-small", "batch", "int8"): [4.0, 8.0, 8.0],
        ("e5-small", "start s", "before"): [4.0],
        ("e5-small", "start s", "auto"): [1.0],
    }
    got = SimpleNamespace(figures=figures, machine="a machine", precision="bf16", products={"fp32": [1e9]})
    by_name = {entry["name"]: entry for entry in entries(got)}
    assert by_name["use/e5-small/batch/int8"]["to before"] == [2.0, 4.0, 4.0]
    assert "| 4.00 (`int8`) |" in table(got) and "| 0.25 (`auto`) |" in table(got)
    (tmp_path / "RESULTS.md").write_text("above\n<!-- use -->\nold\n<!-- end use -->\nbelow\n")
    kept = [{"name": "stage1/hf"}, {"name": "use/e5-small/batch/int8", "value": [0]}]
    (tmp_path / "results.json").write_text(json.dumps(kept))
    write_use(got, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.startswith("above\n<!-- use -->\n") and page.endswith("<!-- end use -->\nbelow\n") and "old" not in page
    names = [entry["name"] for entry in json.loads((tmp_path / "results.json").read_text())]
    assert names[0] == "stage1/hf" and len(names) == len(set(names)) == 6


@pytest.mark.parametrize("given", [{"only": ("rate",)}, {"sizes": ("huge",)}, {"against": "no-such-commit"}])
def test_a_wrong_flag_is_refused(given, tmp_path):
    with pytest.raises(UserError):
        use.main(out=str(tmp_path), **given)
