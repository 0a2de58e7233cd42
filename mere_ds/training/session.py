"""Sets up one process of a training: checks, rank, device, process group, log."""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from deepspeed.utils import logger as deepspeed_logger
from transformers.utils import logging as transformers_logging

from mere_ds.config import TrainConfig
from mere_ds.errors import MachineError, UserError, from_memory_error, from_os_error
from mere_ds.files import check_apart
from mere_ds.fused.choice import choose, set_choice
from mere_ds.lease import WriterLease
from mere_ds.ranks.rendezvous import RankInfo, join
from mere_ds.ranks.stop import StopSignals
from mere_ds.ranks.watch import Watch
from mere_ds.runs.run_folder import RunFolder
from mere_ds.shards.remote import absolute, is_address
from mere_ds.training.cpu import prepare_cpu
from mere_ds.training.deepspeed_config import (
    check_compile,
    check_device,
    check_embedding_rows,
    choose_config,
    merge,
    read_config,
)
from mere_ds.training.own_adam import check_own_adam
from mere_ds.training.process import Process
from mere_ds.training.tracking import check_installed

log = logging.getLogger("mere_ds")


@dataclass(frozen=True, kw_only=True)
class Session(Process):
    """One process of a training run."""

    config: TrainConfig
    deepspeed_config: dict
    folder: RunFolder


@contextmanager
def open_session(config: TrainConfig, given: frozenset[str], stop: StopSignals) -> Iterator[Session]:
    """Check all configs, join the process group, lock the run folder, start the log.

    Raises UserError before anything is written. Inside the context, an error on one rank ends all (see `Watch`).
    """
    place = RankInfo.from_environment()
    rank, ranks = place.rank, place.ranks
    device = torch.device("cuda", place.local_rank) if torch.cuda.is_available() else torch.device("cpu")
    config, ds, why = settled(config, given, ranks, device)
    folder = RunFolder(config.run)
    check_device(ds, device)
    check_own_adam(ds, device, config.timeout)
    try:
        set_choice(config.fused)
        choose(config.fused, device)
    except ValueError as error:
        raise UserError(f"--fused={config.fused}: {error}") from None
    if config.compile:
        check_compile(ds, device)
    _quieten()
    _prepare(device, ranks)
    store = join("nccl" if device.type == "cuda" else "gloo", config.timeout)
    with Watch(store, rank, ranks, place.address, config.timeout), _in_one_line(config.run), ExitStack() as stack:
        lease = None
        if rank == 0:
            stack.enter_context(folder.created())
            lease = WriterLease.take(folder.writer)
            stack.callback(lease.release)
        _start_log(folder.log if rank == 0 else None)
        dist.barrier()  # no rank starts work before rank 0 has accepted the run
        session = Session(
            config=config,
            deepspeed_config=ds,
            folder=folder,
            rank=rank,
            ranks=ranks,
            device=device,
            stop=stop,
            lease=lease,
        )
        chosen = config.deepspeed_config
        if (first := session.from_rank_0(chosen)) != chosen:
            raise UserError(
                f"rank 0 uses --deepspeed_config={first} but rank {rank} uses {chosen}: pass the flag explicitly"
            )
        if why:
            log.info("--deepspeed_config=%s: %s", chosen, why)
        yield session
    dist.destroy_process_group()


def settled(
    config: TrainConfig, given: frozenset[str], ranks: int, device: torch.device
) -> tuple[TrainConfig, dict, str | None]:
    """All knobs and DeepSpeed's config of a training on `ranks` ranks, as they are if it starts or resumes now.

    `given` are the knobs that the user passed. Also returns why that DeepSpeed config was chosen, None if it was given.
    Writes nothing. Raises UserError.
    """
    _check_folders(config)
    check_installed(config.report_to)
    started = {} if config.overwrite else RunFolder(config.run).started(2 if config.stage == "2" else 1)
    chosen, why = choose_config(config.deepspeed_config, started.get("deepspeed_config"), device)
    ds, config = merge(read_config(chosen), replace(config, deepspeed_config=chosen), given, ranks, started)
    if config.embedding_rows == "touched":
        check_embedding_rows(ds)
    cache = config.shard_cache and str(Path(config.shard_cache).resolve())
    # absolute, as evaluation may start in another directory
    return replace(config, shards=absolute(config.shards), shard_cache=cache), ds, why


def _check_folders(config: TrainConfig) -> None:
    """Raises UserError if one of the folders would be written into another."""
    shards = None if is_address(config.shards) else config.shards
    weights = config.encoder_weights if config.encoder_weights and Path(config.encoder_weights).is_dir() else None
    read = {"--shards": shards, "--encoder_weights": weights, "--start": config.start}
    check_apart("--run", config.run, **read)
    if config.feature_cache:
        check_apart("--feature_cache", config.feature_cache, **read)


@contextmanager
def _in_one_line(run: str) -> Iterator[None]:
    """Report a full disk, exhausted memory or another operating system error in one line instead of a traceback."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise from_os_error(error) from error
        raise MachineError(
            f"--run={run}: {error.strerror} (the last checkpoint is intact): free some disk space, then run the same "
            "command again to resume"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if known := from_memory_error(error):
            raise known from error
        raise


def _quieten() -> None:
    """Silence the libraries' own progress bars and logs."""
    transformers_logging.disable_progress_bar()
    deepspeed_logger.setLevel(logging.WARNING)
    # DeepSpeed calls collectives by names that torch deprecates; users can't do anything about it
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")


def _prepare(device: torch.device, ranks: int) -> None:
    """Set up this rank's device."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        return
    prepare_cpu()
    if "OMP_NUM_THREADS" not in os.environ:  # otherwise each rank uses all cores, and they slow each other down
        here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))


def _start_log(file: Path | None) -> None:
    """Rank 0 logs to stderr and `file`; the others log only warnings, to stderr."""
    log.setLevel(logging.INFO if file else logging.WARNING)
    log.propagate = False
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(plain)
    log.handlers = handlers
