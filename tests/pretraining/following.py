"""What the tests of pretraining share: refusals, damage, and something that happens at a step."""

from collections.abc import Callable
from functools import partial

from mere_ds.pretraining import run
from mere_ds.training.observers import Observer


def refused(capsys, *parts):
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part in error for part in parts), error


def ruin(path, how):
    content = path.read_bytes()
    path.unlink()
    if how == "loop":
        path.symlink_to(path.name)
    elif how == "folder":
        path.mkdir()
    elif how == "flip":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 4]))
    elif how == "cut":
        path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])


def at_step(number: int, act: Callable) -> Observer:
    """Who calls `act` after this step."""
    observer = Observer()
    observer.on_step = lambda step: act() if step == number else None
    return observer


def follow(monkeypatch, *observers):
    """The command's training has these observers too."""
    monkeypatch.setattr(run, "pretrain", partial(run.pretrain, observers=observers))
