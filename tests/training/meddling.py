"""What tests do to a rank from inside: signals at an exact moment, bad numbers, a full disk, notes of what it trained.

`partial` of one of these is a `meddle` for `run_ranks`: it runs once in every rank, before training.
"""

import errno
import hashlib
import json
import os
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from deepspeed.accelerator import get_accelerator

from mere_ds.model.encoder import CrossLingualEncoder
from mere_ds.model.mere import MereModel
from mere_ds.shards.features import FeatureStore
from mere_ds.training import engine, session
from mere_ds.training.feature_cache import FeatureCache
from mere_ds.training.loop import Progress
from mere_ds.training.stage_trainer import StageTrainer


def set_environment(values: dict[str, str]) -> None:
    """What the user's shell would have set."""
    os.environ.update(values)


def own_rank() -> int:
    return int(os.environ["RANK"])


def every(*meddles: Callable[[], None]) -> None:
    for meddle in meddles:
        meddle()


def environment(**named: str) -> None:
    """In the ranks' environment, which else is the server's."""
    os.environ.update(named)


def before(owner: object, name: str, act: Callable) -> None:
    """Call `act` with the same arguments before each call of `owner.name`."""
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        act(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def signal_before_update(number: int, stage: int, step: int, rank: int, saved: bool = False) -> None:
    """`rank` gets a signal when it begins update `step` (from 1) of a stage; `saved`: with no checkpoint under way."""

    def act(trainer: StageTrainer, *_) -> None:
        if (trainer.stage, trainer.at.step + 1, own_rank()) == (stage, step, rank):
            if saved:
                trainer.saver.wait()
            os.kill(os.getpid(), number)

    before(StageTrainer, "_update", act)


def signal_in_scoring(number: int, stage: int, epoch: int, rank: int) -> None:
    """`rank` gets a signal while the ranks score dev after `epoch` (from 1) of a stage."""

    def act(trainer: StageTrainer) -> None:
        if (trainer.stage, trainer.at.epoch + 1, own_rank()) == (stage, epoch, rank):
            os.kill(os.getpid(), number)

    before(StageTrainer, "_score", act)


def signal_at_once(number: int, rank: int) -> None:
    """`rank` gets a signal before the model is there."""
    if own_rank() == rank:
        before(engine.Trainee, "__init__", lambda *_: os.kill(os.getpid(), number))


def no_encoder_in_stage_two() -> None:
    """From the first update of stage two on the encoder must not run."""

    def watch(trainer: StageTrainer, *_) -> None:
        if trainer.stage == 2:
            CrossLingualEncoder.forward = None

    before(StageTrainer, "_update", watch)


def signal_in_filling(number: int, block: int, rank: int) -> None:
    """`rank` gets a signal when it is about to write this block of train's features."""

    def act(store: FeatureStore, n: int, *_) -> None:
        if (store.split, n, own_rank()) == ("train", block, rank):
            os.kill(os.getpid(), number)

    before(FeatureStore, "write", act)


def full_disk_in_filling(block: int) -> None:
    """There is no space for this block of train's features."""

    def act(store: FeatureStore, n: int, *_) -> None:
        if (store.split, n) == ("train", block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before(FeatureStore, "write", act)


def somebody_elses_folder() -> None:
    """Where features are to lie, another user has put a folder with a file in it."""

    def act(_: FeatureCache, told: object, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "theirs").touch()
        if own_rank() == 0:
            os.chown(folder, 12345, 12345)
        torch.distributed.barrier()

    before(FeatureCache, "__init__", act)


def little_memory(most: int) -> None:
    """No more than so many bytes of address space."""
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def little_space() -> None:
    shutil.disk_usage = lambda _: SimpleNamespace(total=1 << 30, used=(1 << 30) - 4096, free=4096)


def a_disk_of_its_own(folder: Path) -> None:
    """Each rank sees its own disk at --feature_cache, as on nodes that share nothing."""
    original = FeatureCache.__init__

    def init(cache: FeatureCache, told: object, path: Path) -> None:
        socket.gethostname = lambda: f"node{own_rank()}"
        original(cache, told, folder / f"node{own_rank()}" / path.name)

    FeatureCache.__init__ = init


def record_filling(folder: Path) -> None:
    """Each rank notes the features that it writes, a line a block."""

    def act(store: FeatureStore, block: int, *_) -> None:
        with (folder / f"blocks-{own_rank()}").open("a") as file:
            file.write(f"{store.split} {block}\n")

    before(FeatureStore, "write", act)


def record_compilations(file: Path) -> None:
    """After each epoch: all batches' widths so far, and how many graphs torch.compile has made for them."""
    widths: list[int] = []
    before(StageTrainer, "_update", lambda _, batches: widths.extend(b.mask_BM.shape[1] for b in batches))

    def act(*_) -> None:
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        file.write_text(json.dumps({"widths": widths, "unique_graphs": graphs}))

    before(StageTrainer, "_end_epoch", act)


def scores_that_rise() -> None:
    """Each epoch scores better than the one before, so that `best` moves on."""
    _score_by(lambda at: float(at.epoch + 1))


def scores_that_stay() -> None:
    """All epochs score alike, so that the first one stays the best."""
    _score_by(lambda at: 1.0)


def scores_of_steps(scores: dict[int, float]) -> None:
    """Dev's scores after these steps; 0 after others."""
    _score_by(lambda at: scores.get(at.step, 0.0))


def _score_by(rule: Callable[[Progress], float]) -> None:
    original = StageTrainer._score

    def scored(trainer: StageTrainer) -> dict:
        dev = original(trainer)
        dev["average"]["triple"] = rule(trainer.at)
        return dev

    StageTrainer._score = scored


def record_rows(folder: Path) -> None:
    """Each rank notes the rows behind every update that it begins, and whether each part of its model trains.

    One JSON object per line in `folder`.
    """

    def act(trainer: StageTrainer, micro_batches: list, *_) -> None:
        rows = [row for batch in micro_batches for row in batch.rows_B.tolist() if row >= 0]
        with (folder / f"{own_rank()}.jsonl").open("a") as file:
            note = {"stage": trainer.stage, "step": trainer.at.step + 1, "rows": rows}
            trains = all(module.training for module in trainer.trainee.model.modules())
            file.write(json.dumps(note | {"trains": trains}) + "\n")

    before(StageTrainer, "_update", act)


class _SpoiledGradient(torch.autograd.Function):
    @staticmethod
    def forward(_, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan


SPOILERS = {
    "loss": lambda loss_B: loss_B * torch.nan,
    "gradient": _SpoiledGradient.apply,
    "overflow": lambda loss_B: loss_B * 1e30,
}


def spoil(which: dict[int, tuple[str, int]]) -> None:
    """{step: (loss, gradient or overflow, rank)}: spoil these updates' first micro-batch on one rank, in each stage."""
    waiting: list[str] = []

    def arm(trainer: StageTrainer, *_) -> None:
        what, rank = which.get(trainer.at.step + 1, ("", -1))
        waiting[:] = [what] if rank == own_rank() else []

    original = MereModel.forward

    def forward(self: MereModel, *args, **kwargs):
        output = original(self, *args, **kwargs)
        if waiting and output.loss_B is not None:
            output.loss_B = SPOILERS[waiting.pop()](output.loss_B)
        return output

    before(StageTrainer, "_update", arm)
    MereModel.forward = forward


def spoil_a_weight(step: int) -> None:
    """On rank 0 a weight is no longer a number when update `step` (from 1) is done."""

    def act(trainer: StageTrainer, *_) -> None:
        if trainer.at.step == step and own_rank() == 0:
            next(trainer.trainee.model.parameters()).data.view(-1)[5] = torch.nan

    before(StageTrainer, "_score", act)


def fp16_on_cpu() -> None:
    """Let DeepSpeed train in fp16 on a CPU, which it refuses for speed; torch can."""
    accelerator = get_accelerator()
    accelerator.is_fp16_supported = lambda: True
    accelerator.supported_dtypes = lambda: [torch.float32, torch.float16, torch.bfloat16]
    session.check_device = lambda *_: None


def record_weights(folder: Path) -> None:
    """Each rank notes a digest of its weights and Adam's moments before and after every update, a JSON a line."""
    original = StageTrainer._update

    def digest(trainer: StageTrainer) -> str:
        state = trainer.trainee.full_state
        own = [value.detach().cpu().contiguous() for pairs in (state.weights(), state.moments()) for _, value in pairs]
        parts = [getattr(p, "ds_tensor", p) for p in trainer.trainee.model.parameters()]  # ZeRO 3: this rank's
        model = [part.detach().cpu().float() for part in parts]
        return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in own + model)).hexdigest()

    def update(trainer: StageTrainer, *args) -> float:
        note = {"stage": trainer.stage, "step": trainer.at.step + 1, "before": digest(trainer)}
        norm = original(trainer, *args)
        with (folder / f"weights-{own_rank()}.jsonl").open("a") as file:
            file.write(json.dumps(note | {"after": digest(trainer)}) + "\n")
        return norm

    StageTrainer._update = update


def at_save_points(run: Path, act: Callable[[int, str], None]) -> None:
    """Call `act(n, what)` on rank 0 just before the n-th change (from 1) to a file or name under `run`/checkpoints.

    `what` is such as "os.rename stage1/latest". Python's audit events tell of opening, renaming, linking, making and
    removing; fsync has none. It is called in the thread that makes the change.
    """
    if own_rank() != 0:
        return
    inside, count = f"{run}/checkpoints/", 0
    busy = False

    def point(event: str, path: object) -> None:
        nonlocal busy, count
        if not busy and str(path).startswith(inside):
            count, busy = count + 1, True
            act(count, f"{event} {str(path).removeprefix(inside)}")
            busy = False

    def hook(event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str | bytes | Path) and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            point(event, args[0])
        elif event in ("os.rename", "os.symlink", "os.link"):
            point(event, args[1])
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            point(event, args[0])

    sys.addaudithook(hook)
    before(os, "fsync", lambda handle: point("fsync", os.readlink(f"/proc/self/fd/{handle}")))


def keep_copies(run: Path, copies: Path) -> None:
    """At every point of every save, keep a copy of the run folder: just what a kill at this moment would leave."""

    def copy(source: str, target: str) -> None:
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)  # these are written once

    at_save_points(run, lambda n, _: shutil.copytree(run, copies / f"{n:04d}", symlinks=True, copy_function=copy))


def signal_at_save_point(number: int, run: Path, point: int) -> None:
    def act(n: int, _: str) -> None:
        if n == point:
            os.kill(os.getpid(), number)

    at_save_points(run, act)


def stall_save(run: Path, name: str, before_what: str, until: int | None = None) -> None:
    """In the save of `name`, the thread that writes stands still before a point of `at_save_points`.

    It does so until training begins update `until`, or for ever.
    """
    reached, begun = threading.Event(), False

    def act(_: int, what: str) -> None:
        nonlocal begun
        begun |= what.startswith("os.mkdir") and name in what  # not what is left of an earlier one, and removed
        if begun and what == before_what:
            reached.wait()

    def look(trainer: StageTrainer, *_) -> None:
        if trainer.at.step + 1 == until:
            reached.set()

    at_save_points(run, act)
    before(StageTrainer, "_update", look)


def full_disk_at_save_point(run: Path, point: int) -> None:
    """From save point `point` on there is no space."""

    def act(n: int, _: str) -> None:
        if n >= point:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at_save_points(run, act)
