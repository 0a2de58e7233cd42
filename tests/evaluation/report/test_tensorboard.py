"""A real TensorBoard on what training's monitor and the report wrote, asked over HTTP."""

import json
import os
import re
import subprocess
import sys
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import torch
from matplotlib.figure import Figure

from mere_ds.evaluation.report.making import make_report
from mere_ds.model.switcher import Switcher
from mere_ds.runs.run_folder import RunFolder
from mere_ds.training.monitor import BEST, Monitor
from tests.evaluation.report.made_up import knobs, make_run

LANGUAGES = ["de", "en"]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """get(path, content=None): a running server's answer about a run with a finished stage two and a report."""
    root = tmp_path_factory.mktemp("board")
    run = make_run(root / "run", knobs("mERE"), tuple(LANGUAGES))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        switcher = Switcher(len(LANGUAGES), 4, 8, (1, 2), renormalise=True)
    weights = {f"switcher.{name}": value for name, value in switcher.state_dict().items()}
    with Monitor(RunFolder(run), 2, 0, 4, writes=True) as monitor:
        monitor.record("train", 2, 0, {"loss": 1.5})
        monitor.record("dev", 4, 0, {"average": {"triple": 40.0}})
        monitor.stage_done(4, {"seed": 3, "learning_rate": 1e-3, "submodule_layers": (1, 2)}, 40.0, LANGUAGES, weights)
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
    assert set(tags) == {"train/loss", "dev/average/triple", BEST}
    ((_, step, value),) = board("data/plugin/scalars/scalars?" + urlencode({"tag": BEST, "run": "stage2"}))
    assert (step, value) == (4, 40.0)


def test_images(board):
    tags = board("data/plugin/images/tags")
    assert set(tags["stage2"]) == {"router"}
    assert set(tags["report"]) == {f"report/figure{n}" for n in (3, 4, 5, 8)}
    for run, tag in (("stage2", "router"), ("report", "report/figure8")):
        (image,) = board("data/plugin/images/images?" + urlencode({"tag": tag, "run": run, "sample": 0}))
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


def test_router_is_the_models(tmp_path, monkeypatch):
    shown = {}

    def keep(f_TN, languages):
        shown.update(f_TN=f_TN, languages=languages)
        return Figure(figsize=(1, 1))

    monkeypatch.setattr("mere_ds.evaluation.report.plots.router_heat_map", keep)
    switcher = Switcher(3, 4, 8, (1, 2), renormalise=True)
    torch.nn.init.normal_(switcher.languages.weight)
    weights = {f"switcher.{name}": value for name, value in switcher.state_dict().items()}
    with Monitor(RunFolder(tmp_path), 2, 0, 4, writes=True) as monitor:
        monitor.stage_done(4, {}, 0.0, ["de", "en", "ko"], weights)
    torch.testing.assert_close(torch.tensor(shown["f_TN"]), switcher.probabilities().T)
    assert shown["languages"] == ["de", "en", "ko"]
