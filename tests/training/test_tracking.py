"""W&B and MLflow as observers, by the real libraries, without a network: what is told is what can be read there."""

import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from meddling import environment
from outcomes import metrics

from mere_ds import optional_libraries
from mere_ds.config import TRACKERS, TrainConfig
from mere_ds.errors import UserError
from mere_ds.training.observers import BEST, Beginning, Observers
from mere_ds.training.tracking import MLflow, Wandb, check_installed, trackers

KNOBS = {"learning_rate": 1e-3, "submodule_layers": (1, 2), "encoder": None}
TRAIN, DEV = {"loss": 2.5, "loss_terms": {"relation": 0.5}, "gradient_norm": None}, {"average": {"triple": 0.25}}


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch) -> Path:
    """MLflow's store and W&B's offline mode."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def told(run: Path, library: str, step: int = 0, ended: bool = True, stage: int = 1) -> None:
    """A short training: two records after `step`."""
    with Observers(trackers([library], run, stage)) as observers:
        observers.begin(Beginning("stage 1", step, step + 20, KNOBS))
        observers.record("train", step + 10, 0, TRAIN)
        observers.record("dev", step + 20, 1, DEV)
        if ended:
            observers.end(step + 20, 0.25)


def client():
    from mlflow import MlflowClient  # takes seconds to import

    return MlflowClient()


def runs_of_mlflow() -> list:
    experiment = client().get_experiment_by_name("mere-ds")
    return client().search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def test_mlflow_has_all_numbers_by_step(no_network):
    told(no_network, "mlflow")
    (run,) = runs_of_mlflow()
    assert run.info.run_name == "run, stage 1" and run.info.status == "FINISHED"
    assert run.data.params == {"learning_rate": "0.001", "submodule_layers": "(1, 2)", "encoder": "None"}
    assert run.data.metrics == {
        "train/loss": 2.5,
        "train/loss_terms/relation": 0.5,
        "dev/average/triple": 0.25,
        BEST: 0.25,
    }
    (loss,) = client().get_metric_history(run.info.run_id, "train/loss")
    assert (loss.step, loss.value) == (10, 2.5)


def test_a_resumed_stage_goes_on_with_its_run_in_mlflow_and_another_begins_anew(no_network):
    told(no_network, "mlflow", ended=False)
    (run,) = runs_of_mlflow()
    assert run.info.status == "KILLED"
    told(no_network, "mlflow", step=20)
    (run,) = runs_of_mlflow()
    history = client().get_metric_history(run.info.run_id, "train/loss")
    assert run.info.status == "FINISHED" and sorted(loss.step for loss in history) == [10, 30]
    told(no_network, "mlflow", stage=2)
    told(no_network, "mlflow")  # --overwrite
    assert len({run.info.run_id for run in runs_of_mlflow()}) == 3
    kept = json.loads((no_network / "tracking.json").read_text())
    assert set(kept) == {"stage1", "stage2"}


def test_many_numbers_at_once_reach_mlflow(no_network):
    with Observers([MLflow(no_network, 1)]) as observers:
        observers.begin(Beginning("stage 1", 0, 1, {}))
        observers.record("router", 1, 0, {f"l{n}": {"1": n / 2000} for n in range(1200)})
    (run,) = runs_of_mlflow()
    assert len(run.data.metrics) == 1200


def records_of_wandb(run: Path) -> Iterator:
    """Those of its offline runs, in its format: blocks of 32 KiB, each record in one part or several."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(run.glob("*wandb/offline-run-*/*.wandb")):
        content, place, whole = path.read_bytes(), 7, b""
        while place + 7 <= len(content):
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
            whole += content[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # a whole record, or its last part
                record = wandb_internal_pb2.Record()
                record.ParseFromString(whole)
                whole = b""
                yield record


def all_records_of_wandb(run: Path, runs: int) -> list:
    """Once all these runs have ended: its own process writes them, also after `finish` has returned."""
    deadline = time.monotonic() + 60
    while True:
        found = list(records_of_wandb(run))
        if sum(record.WhichOneof("record_type") == "exit" for record in found) == runs or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_wandb_has_all_numbers_with_their_steps_and_a_resumed_stage_the_same_run(no_network):
    told(no_network, "wandb", ended=False)
    (no_network / "wandb").rename(no_network / "first_wandb")  # two runs of one second have one file
    told(no_network, "wandb", step=20)
    found = all_records_of_wandb(no_network, 2)
    begun = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert len({run.run_id for run in begun}) == 1 and len(begun) == 2
    assert {(run.display_name, run.run_group, run.project) for run in begun} == {("run, stage 1", "run", "mere-ds")}
    config = {item.key: json.loads(item.value_json) for item in begun[0].config.update}
    assert config.items() >= {"learning_rate": 1e-3, "submodule_layers": [1, 2], "encoder": None}.items()
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.WhichOneof("record_type") == "history"
    ]
    rows = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
    train, dev = {"train/loss": 2.5, "train/loss_terms/relation": 0.5}, {"dev/average/triple": 0.25}
    assert rows == [
        part | {"step": step + more, "epoch": epoch}
        for step in (0, 20)
        for part, more, epoch in ((train, 10, 0), (dev, 20, 1))
    ]
    assert [record.exit.exit_code for record in found if record.WhichOneof("record_type") == "exit"] == [1, 0]


def test_a_server_that_is_not_there_is_one_line_before_training(no_network, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        UserError,
        match="^--report_to=mlflow: .*: set MLFLOW_TRACKING_URI .* a server that runs$",
    ) as caught:
        told(no_network, "mlflow")
    assert "\n" not in str(caught.value) and not (no_network / "tracking.json").exists()


@pytest.mark.parametrize("kind", [Wandb, MLflow])
def test_a_failure_while_training_is_told_once_and_training_goes_on(no_network, monkeypatch, caplog, kind):
    tries = []

    def fails(*_) -> None:
        tries.append(1)
        raise ConnectionError("reset by peer\nand more")

    monkeypatch.setattr(kind, "_open", lambda *_: "number")
    monkeypatch.setattr(kind, "_log", fails)
    monkeypatch.setattr("mere_ds.training.tracking.log.propagate", True)
    told(no_network, kind.library)
    assert len(tries) == 1
    (warning,) = [record.message for record in caplog.records if record.name == "mere_ds"]
    assert warning.startswith(f"--report_to={kind.library}: reset by peer: nothing more is reported there")


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_library_is_named_with_its_extra_before_any_work(monkeypatch, name):
    assert name in optional_libraries.EXTRAS[name]
    check_installed([name])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"^--report_to={name} needs .* pip install 'mere-ds\[{name}\]'$"):
        check_installed([name])


def test_others_are_refused():
    with pytest.raises(UserError, match="^--report_to=tensorboard: must be among wandb, mlflow$"):
        TrainConfig(shards="s", run="r", report_to=("mlflow", "tensorboard"))


@pytest.mark.slow
def test_a_training_reports_what_its_run_folder_has(train, no_network):
    named = {name: os.environ[name] for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE")}
    meddle = partial(environment, **named)
    train(2, run=no_network, stage="1", max_steps=4, report_to="mlflow,wandb", meddle=meddle).ended(0)
    (run,) = runs_of_mlflow()
    rows = [row for row in metrics(no_network) if row["kind"] == "train"]
    history = client().get_metric_history(run.info.run_id, "train/loss")
    assert sorted((m.step, m.value) for m in history) == [(row["step"], row["loss"]) for row in rows]
    assert len(all_records_of_wandb(no_network, 1)) > 4 and run.data.params["max_steps"] == "4"
