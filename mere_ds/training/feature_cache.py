"""Stage two's features: the frozen encoder and LA run once per sentence instead of once per epoch.

Ranks that see the same folder (those of one node, or all on a network file system) share the work. The features are
stored in 16 bits, which in a 16-bit training rounds nothing; they don't depend on the other sentences of a batch.

Shape suffixes: B sentences, M tokens of a sentence (padded), D hidden size.
"""

import copy
import json
import logging
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm

from mere_ds.files import digest_of
from mere_ds.model.mere import MereModel
from mere_ds.model.precision import DTYPES
from mere_ds.ranks.stop import LEFT_EARLY
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.reading import RowReader
from mere_ds.training.session import Session

log = logging.getLogger("mere_ds")

SPLITS = ("train", "dev")
# tokens per batch of sentences of similar length; on a CPU, more don't fit the cache and take a fifth longer
_TOKENS = {"cuda": 1 << 14, "cpu": 1 << 12}


def why_not(session: Session, manifest: Manifest) -> str | None:
    """Why this training can't use cached features, or gains nothing by it; None if it should."""
    c = session.config
    if not c.tunes_switcher(2):
        return f"stage two of {c.system} trains an encoder"
    steps = c.max_steps or sys.maxsize
    sentences = manifest.splits["train"].sentences
    trained = min(c.epochs_stage_two * sentences, steps * session.deepspeed_config["train_batch_size"])
    if trained <= sentences and not c.keep_features:
        return "stage two trains for at most one epoch"
    if c.feature_cache_gib == 0:
        return "--feature_cache_gib=0"
    if c.word_dropout:
        return "--word_dropout changes the sentences from epoch to epoch"
    if c.concatenate_stage_two > 1:
        return "with --concatenate_stage_two a sentence's features depend on its partners"
    return None


@contextmanager
def features_of(
    session: Session, model: MereModel, manifest: Manifest, key: list[str], precision: str
) -> Iterator[dict[str, FeatureStore]]:
    """Features of train and dev, computed by `model`'s frozen part; {} if they don't fit. Every rank must enter.

    `key` lists everything that determines them: files of an earlier start with the same key are reused. They are
    removed at a normal end, except with `keep_features`, where all runs with the same key share them. Exits with code
    85 after a stop signal. The model must not be partitioned by DeepSpeed yet.
    """
    kind, _, autocast = precision.partition(" ")
    dtype = torch.bfloat16 if kind == "bf16" else torch.float16
    keep = session.config.keep_features
    whose = [] if keep else [str(session.folder.root.resolve())]
    digest = digest_of(json.dumps([*key, precision, *whose]).encode())
    name, own = f"mere-ds-{digest[:16]}", session.folder.features
    if session.is_main:
        for outdated in set(own.glob("mere-ds-*")) - {own / name}:
            shutil.rmtree(outdated, ignore_errors=True)
    cache = FeatureCache(session, Path(session.config.feature_cache or own) / name)
    stores = {s: FeatureStore(cache.folder, manifest, s, model.relation.in_features, dtype) for s in SPLITS}
    ready = cache.fits(stores)
    if ready:
        frozen = copy.deepcopy(model).to(torch.float32 if autocast else DTYPES[kind]).eval()
        with torch.autocast(session.device.type, dtype, enabled=bool(autocast)):
            ready = all(cache.fill(store, frozen, manifest) for store in stores.values())
        del frozen
    if not ready and not keep:
        cache.remove()
    yield stores if ready else {}
    if ready and not keep:
        cache.remove()


class FeatureCache:
    """A run's folder of features on this node, and the ranks that share it."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.problem = self._make()
        where = self._where()
        everywhere: list = [None] * session.ranks
        dist.all_gather_object(everywhere, where)
        self.sharing_ranks = [rank for rank, other in enumerate(everywhere) if other == where]

    def fits(self, stores: dict[str, FeatureStore]) -> bool:
        """Whether all features fit into every rank's folder; rank 0 logs why not."""
        needed = sum(store.total_bytes for store in stores.values())
        budget = self.session.config.feature_cache_gib * 2**30
        if needed > budget:
            self.problem = f"they need {needed / 2**30:.1f} GiB, more than --feature_cache_gib={budget / 2**30:g}"
        elif not self.problem:
            there = sum(path.stat().st_size for path in self.folder.glob("*.features"))
            free = shutil.disk_usage(self.folder).free
            if free < needed - there:
                self.problem = (
                    f"they need {needed / 2**30:.1f} GiB in {self.folder}, which has {free / 2**30:.1f} GiB free"
                )
        return self._nobody_has_trouble()

    @torch.no_grad()
    def fill(self, store: FeatureStore, frozen: MereModel, manifest: Manifest) -> bool:
        """Compute all missing or damaged blocks; returns whether all blocks exist now.

        Each block is checked once per start, by one of the ranks that share it. Every rank makes the same number of
        rounds.
        """
        sentences = RowReader(manifest, store.split)
        share = np.array_split(np.arange(store.blocks), len(self.sharing_ranks))[
            self.sharing_ranks.index(self.session.rank)
        ]
        missing = [block for block in share.tolist() if not store.is_whole(block)]
        if self._most(any(map(store.is_spoilt, missing))) and self.session.is_main:
            log.warning(
                "features of %s in %s are damaged or from an older version: computing them again",
                store.split,
                self.folder,
            )
        rounds = self._most(len(missing))
        bar = tqdm(total=rounds, desc=f"features of {store.split}", unit="block", disable=not self.session.is_main)
        for turn in range(rounds):
            if turn < len(missing):
                self._fill_block(store, missing[turn], frozen, sentences)
            if not self._nobody_has_trouble():
                return False
            if self._most(self.session.stop.received is not None):
                log.info("asked to stop while computing features: the finished ones are kept")
                sys.exit(LEFT_EARLY)
            bar.update()
        bar.close()
        if not all(map(store.is_there, range(store.blocks))):  # whole ones: who made them has checked
            self.problem = f"not every rank can see all files in {self.folder}"
        return self._nobody_has_trouble()

    def remove(self) -> None:
        """Remove the features, once all ranks are done with them."""
        dist.barrier()
        if self.session.rank == self.sharing_ranks[0] and self._is_ours():
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.session.is_main:
            with suppress(OSError):
                self.session.folder.features.rmdir()

    def _fill_block(self, store: FeatureStore, block: int, frozen: MereModel, sentences: RowReader) -> None:
        rows = store.rows_of(block)
        done: dict[int, torch.Tensor] = {}
        for batch in sentences.by_length(rows, _TOKENS[self.session.device.type]):
            batch = batch.to(self.session.device)
            h_BMD, pooled_BD = frozen.unify(batch.token_ids_BM, batch.mask_BM)
            vectors_BVD = torch.cat((pooled_BD.unsqueeze(1), h_BMD), dim=1).to(store.dtype).cpu()
            if not torch.isfinite(vectors_BVD).all():
                self.problem = f"a feature exceeds the range of {store.dtype}"
            lengths = batch.mask_BM.sum(1).tolist()
            for row, vectors_VD, length in zip(batch.rows_B.tolist(), vectors_BVD, lengths, strict=True):
                done[row] = vectors_VD[: 1 + length].clone()  # not a view, which would keep the padding too
        try:
            store.write(block, [done[row] for row in rows.tolist()])
        except OSError as error:
            self.problem = f"{self.folder}: {error.strerror}"

    def _make(self) -> str | None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            return f"{self.folder}: {error.strerror}"
        return None if self._is_ours() else f"{self.folder} belongs to another user"

    def _is_ours(self) -> bool:
        """Whether the folder is ours, not one (or a link) that another user has put into a shared directory."""
        with suppress(OSError):
            return self.folder.lstat().st_uid == os.getuid()
        return False

    def _where(self) -> str:
        """A name that is equal on all ranks that see the same folder."""
        sign = self.folder / self.session.from_rank_0(uuid4().hex)
        if self.session.is_main and not self.problem:
            sign.touch()
        dist.barrier()
        where = "where rank 0 is" if sign.exists() else socket.gethostname()
        dist.barrier()
        if self.session.is_main:
            sign.unlink(missing_ok=True)
        return where

    def _nobody_has_trouble(self) -> bool:
        """Whether no rank has a problem, on every rank; rank 0 logs the first one."""
        problems: list = [None] * self.session.ranks
        dist.all_gather_object(problems, self.problem)
        first = next(filter(None, problems), None)
        if first and self.session.is_main:
            log.warning("features are not cached but computed in every epoch: %s", first)
        return not first

    def _most(self, number: int) -> int:
        most = torch.tensor(int(number), device=self.session.device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return int(most)
