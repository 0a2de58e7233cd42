"""A real TensorBoard on what training's observer and the report wrote, asked over HTTP."""

import json
import os
import re
import subprocess
import sys
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from mere_ds.evaluation.report.making import make_report
from mere_ds.runs.run_folder import RunFolder
from mere_ds.training.observers import BEST, Beginning, Observers, TensorBoard
from tests.evaluation.report.made_up import knobs, make_run

LANGUAGES = ["de", "en"]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """get(path, content=None): a running server's answer about a run with a finished stage two and a report."""
    root = tmp_path_factory.mktemp("board")
    run = make_run(root / "run", knobs("mERE"), tuple(LANGUAGES))
    told = {"seed": 3, "learning_rate": 1e-3, "submodule_layers": (1, 2)}
    with Observers([TensorBoard(RunFolder(run).tensorboard(2))]) as observers:
        observers.begin(Beginning("stage 2", 0, 4, told))
        observers.record("train", 2, 0, {"loss": 1.5})
        observers.record("dev", 4, 0, {"average": {"triple": 40.0}})
        observers.record("router", 4, 0, {"de": {"1": 0.75, "2": 0.25}})
        observers.end(4, 40.0)
    make_report([str(run)], str(root / "report"))
    flags = ["--host=127.0.0.1", "--port=0", "--load_fast=false", "--reload_task=blocking", "--reload_interval=0"]
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={run / 'tensorboard'}", *flags]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        said = ""
        for line in server.stderr:
            said += line
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                break
        assert address, said
        yield lambda path, content=None: _ask(address[0] + path, content)
        server.terminate()


def _ask(url, content):
    body = None if content is None else json.dumps(content).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.loads(answer.read()) if "json" in answer.headers["Content-Type"] else answer.read()


def test_scalars(board):
    tags = board("data/plugin/scalars/tags")["stage2"]
    assert set(tags) == {"train/loss", "dev/average/triple", "router/de/1", "router/de/2", BEST}
    ((_, step, value),) = board("data/plugin/scalars/scalars?" + urlencode({"tag": BEST, "run": "stage2"}))
    assert (step, value) == (4, 40.0)


def test_images(board):
    tags = board("data/plugin/images/tags")
    assert {run: set(names) for run, names in tags.items() if names} == {
        "report": {f"report/figure{n}" for n in (3, 4, 5, 8)}
    }
    (image,) = board("data/plugin/images/images?" + urlencode({"tag": "report/figure8", "run": "report", "sample": 0}))
    assert board("data/plugin/images/individualImage?" + image["query"]).startswith(b"\x89PNG")


def test_hparams(board):
    experiment = board("data/plugin/hparams/experiment", {})
    assert {info["name"] for info in experiment["hparamInfos"]} == {"seed", "learning_rate", "submodule_layers"}
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    wish = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0, "sliceSize": 10}
    groups = board("data/plugin/hparams/session_groups", wish)
    (group,) = groups["sessionGroups"]
    assert group["hparams"]["seed"] == 3 and group["hparams"]["submodule_layers"] == "(1, 2)"
    (metric,) = [value for value in group["metricValues"] if value["name"]["tag"] == BEST]
    assert metric["value"] == 40.0
