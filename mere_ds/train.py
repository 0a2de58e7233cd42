"""Train mERE in two stages: `deepspeed mere_ds/train.py --help`."""

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # started by its path: this folder's names must not shadow top-level packages
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from mere_ds import flags
from mere_ds.config import TrainConfig
from mere_ds.knobs import takes_knobs
from mere_ds.ranks.deepspeed_import import import_deepspeed
from mere_ds.ranks.stop import StopSignals
from mere_ds.runs.run_folder import STAGES, RunFolder
from mere_ds.sums import OPTIMIZER, check_early

if TYPE_CHECKING:
    from mere_ds.training.observers import Observer

LAUNCHERS_FLAGS = ("gpus", "num_gpus", "devices", "nproc_per_node", "ranks", "num_nodes", "nnodes")


@takes_knobs(TrainConfig, **dict.fromkeys(LAUNCHERS_FLAGS, "deepspeed --num_gpus=N mere_ds/train.py"))
def train(**given: Any) -> None:
    """Train mERE: stage one (encoder and Language-universal Aggregator), then stage two (Language-specific Switcher).

    Every rank runs this. DeepSpeed's JSON sets precision and ZeRO stage; a flag that repeats one of its keys must
    agree. Stage one starts from what fits of the trained model of --start, if given; stage two from the best stage one
    of the same --run, or of --stage_one_run. Running the same command again resumes an interrupted training, on any
    number of ranks. On USR1, TERM or Ctrl-C all ranks save and exit with code 85; a second Ctrl-C ends them
    immediately.

    Examples:
        deepspeed mere_ds/train.py --stage=all --shards=shards --run=runs/a
        deepspeed --num_gpus=4 mere_ds/train.py --stage=1 --shards=shards --run=runs/b
            --deepspeed_config=v100 --epochs=3 --new_parts_rate=10
        deepspeed mere_ds/train.py --stage=2 --stage_one_run=runs/b --shards=shards --run=runs/c
            --deepspeed_config=cpu --submodule_layers=1,1,3,3 --top_k=2
        tensorboard --logdir=runs
    """
    run(given)


def run(given: dict, observers: Iterable["Observer"] = ()) -> None:
    """Run one rank of a training in this process, as the command with the flags `given` does; main thread only.

    `observers` are called on rank 0 only (see `mere_ds.training.observers.Observer`). Raises UserError and
    MachineError; SystemExit with code 85 after a signal to stop.
    """
    config = TrainConfig(**given)
    followers = tuple(observers)
    stop = StopSignals()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else pages of C++ frames when ranks time out
    if os.environ.get("RANK", "0") == "0" and not config.overwrite:
        _check_checkpoints_early(RunFolder(config.run))
    with _no_garbage():
        import_deepspeed()
        from mere_ds.training.dry_run import print_cost
        from mere_ds.training.session import open_session
        from mere_ds.training.stages import open_shards, train_stage_one, train_stage_two

    if config.dry_run:
        return print_cost(config, frozenset(given))
    with open_session(config, frozenset(given), stop) as session:
        manifest = open_shards(session.config)
        if config.stage in ("1", "all"):
            train_stage_one(session, manifest, followers)
        if config.stage in ("2", "all"):
            train_stage_two(session, manifest, followers)


def _check_checkpoints_early(run: RunFolder) -> None:
    """Read, while libraries are imported, the checkpoints that a resumed training checks before it starts."""
    for stage in STAGES:
        for which, unused in (("latest", ()), ("best", (OPTIMIZER,))):
            if (folder := run.model(stage, which)).exists():
                check_early(folder.resolve(), unused)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Inside, no garbage is looked for, nor later among what is made here: imports make 700,000 objects that stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    rank = os.environ.get("RANK", "0")
    argv = [a for a in sys.argv[1:] if not a.startswith("--local_rank")]  # DeepSpeed's launcher adds it
    flags.program(train, argv, "train.py" if rank == "0" else f"train.py, rank {rank}")


if __name__ == "__main__":
    main()
