"""Who follows a training: what each is told, in which order, and that it may be anybody."""

import json
import os
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from outcomes import checkpoint, is_whole, metrics, tensors
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mere_ds import train as command
from mere_ds.model.loading import load_model
from mere_ds.training.observers import Beginning, Observer, Observers


class Notes(Observer):
    """Writes down each event, one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, event: str, *what) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps([event, *what]) + "\n")

    def on_begin(self, beginning):
        self.note("begin", beginning.name, beginning.step, beginning.total_steps, beginning.knobs["seed"])

    def on_step(self, step):
        self.note("step", step)

    def on_record(self, record):
        self.note("record", record.kind, record.step)

    def on_save(self, step):
        self.note("save", step)

    def on_checkpoint(self, step, folder):
        main = threading.current_thread() is threading.main_thread()
        self.note("checkpoint", step, main and is_whole(folder) and (folder.parent / "latest").samefile(folder))

    def on_end(self, step, best):
        self.note("end", step, best)

    def on_close(self):
        self.note("close")


def follow(path: Path) -> None:
    """Each rank passes an observer of its own."""
    notes = Notes(path.with_name(f"{path.name}-{os.environ['RANK']}"))
    command.run = partial(command.run, observers=[notes])


@pytest.fixture(scope="module")
def followed(train, tmp_path_factory):
    folder = tmp_path_factory.mktemp("followed")
    train(2, run=folder / "run", meddle=partial(follow, folder / "notes"), max_steps=6, log_every=3).ended(0)
    return folder


@pytest.mark.slow
def test_an_observer_is_told_all_on_the_main_process_alone(followed):
    assert not (followed / "notes-1").exists()
    told = [json.loads(line) for line in (followed / "notes-0").read_text().splitlines()]
    second = told.index(["begin", "stage 2", 0, 6, 0])
    best = {row["stage"]: row["average"]["triple"] for row in metrics(followed / "run") if row["kind"] == "dev"}
    first = [["step", 1], ["step", 2], ["step", 3], ["record", "train", 3], ["step", 4]]
    whole, save = ["checkpoint", 4, True], [["save", 4]]
    rest = [["step", 5], ["step", 6], ["record", "train", 6], ["record", "dev", 6]]
    for stage, part in ((1, told[:second]), (2, told[second:])):
        router = [["record", "router", 6]] if stage == 2 else []
        end = [["end", 6, best[stage]], ["save", 6], ["checkpoint", 6, True], ["close"]]
        assert part.index(["save", 4]) < part.index(whole) < part.index(["save", 6]), "while training went on"
        part.remove(whole)
        assert part == [["begin", f"stage {stage}", 0, 6, 0], *first, *save, *rest, *router, *end]


@pytest.mark.slow
def test_the_router_s_numbers_are_the_model_s(followed):
    run = followed / "run"
    (row,) = [row for row in metrics(run) if row["kind"] == "router"]
    model = load_model(checkpoint(run, 2))
    expected_NT = model.switcher.probabilities()
    written_NT = torch.tensor([list(row[language].values()) for language in model.config.languages])
    torch.testing.assert_close(written_NT, expected_NT)
    board = EventAccumulator(str(run / "tensorboard" / "stage2")).Reload()
    assert "switcher.router.weight" in tensors(run, 2)
    for language in model.config.languages:
        for t, share in row[language].items():
            (event,) = board.Scalars(f"router/{language}/{t}")
            assert (event.step, event.value) == (6, pytest.approx(share))


class Failing(Observer):
    def __init__(self, where: str, told: list) -> None:
        self.where, self.told = where, told

    def on_begin(self, beginning):
        self.told.append(f"{self.where} begins")
        if self.where == "begin":
            raise OSError("no network")

    def on_close(self):
        self.told.append(f"{self.where} closes")
        if self.where == "close":
            raise OSError("no network")


@pytest.mark.parametrize("where", ["begin", "close"])
def test_the_others_are_closed_where_one_fails(where):
    told: list[str] = []
    observers = Observers([Failing("never", told), Failing(where, told)])
    with pytest.raises(OSError, match="no network"), observers:
        observers.begin(Beginning("stage 1", 0, 4, {}))
    assert told[:2] == ["never begins", f"{where} begins"] and told[-1] == "never closes"
    assert (f"{where} closes" in told) == (where == "close")
