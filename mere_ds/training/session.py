"""Where this process stands: its rank, its device, its log."""

import logging
import os
import socket
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.utils import logger as deepspeed_logger
from transformers.utils import logging as transformers_logging

from mere_ds.config import TrainConfig
from mere_ds.training.deepspeed_config import check_precision, merge, read_config
from mere_ds.training.run_folder import RunFolder

log = logging.getLogger("mere_ds")


@dataclass(frozen=True)
class Session:
    """One process of a training run."""

    config: TrainConfig
    deepspeed_config: dict
    folder: RunFolder
    rank: int
    ranks: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which alone writes and shows progress."""
        return self.rank == 0


def open_session(config: TrainConfig, given: frozenset[str]) -> Session:
    """Check all configs, join the process group, start the log. Raises UserError before anything is written."""
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    ds, config = merge(read_config(config.deepspeed_config), config, given, ranks)
    config = replace(config, shards=str(Path(config.shards).resolve()))  # evaluation may start elsewhere
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    check_precision(ds, device)
    folder = RunFolder(config.run)
    _join_process_group(ranks, device)
    transformers_logging.disable_progress_bar()  # ours is the one that tells something
    session = Session(config, ds, folder, rank, ranks, device)
    if session.leads:
        folder.create()
    _start_log(session)
    torch.manual_seed(config.seed)
    return session


def close_session() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _join_process_group(ranks: int, device: torch.device) -> None:
    if "RANK" not in os.environ:  # started without a launcher: a group of one, on a port that is free
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
        os.environ["MASTER_PORT"] = str(port)
    deepspeed_logger.setLevel(logging.WARNING)
    # DeepSpeed calls collectives by names that torch is renaming; nothing a user could do about it
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        # DeepSpeed compiles a shared-memory all-reduce at its first start on a CPU (a minute, and needs a compiler).
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if "OMP_NUM_THREADS" not in os.environ:  # ranks that each take all cores slow each other down
            here = int(os.environ.get("LOCAL_WORLD_SIZE", ranks))
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // here))
    deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", verbose=False)


def _start_log(session: Session) -> None:
    log.setLevel(logging.INFO if session.leads else logging.WARNING)
    log.propagate = False
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if session.leads:
        handlers.append(logging.FileHandler(session.folder.log, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(plain)
    log.handlers = handlers
