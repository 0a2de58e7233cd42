"""Stage two's features: the frozen encoder and LA run once for every sentence, not once an epoch.

Ranks that see the same folder (one node's, or all on a network file system) share the work. The features are rounded
to 16 bits, in a 16-bit training not at all; a sentence's do not depend on its neighbours in a batch.

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
# tokens of a batch, made up of sentences of like length; more fall out of a CPU's cache and take a fifth longer
_TOKENS = {"cuda": 1 << 14, "cpu": 1 << 12}


def why_not(session: Session, manifest: Manifest) -> str | None:
    """Why this training has no use for features that are computed once; None if it has."""
    c = session.config
    if not c.tunes_switcher(2):
        return f"{c.system}'s second stage trains an encoder, not what comes after a frozen one"
    steps = c.max_steps or sys.maxsize
    sentences = manifest.splits["train"].sentences
    trained = min(c.epochs_stage_two * sentences, steps * session.deepspeed_config["train_batch_size"])
    if trained <= sentences and not c.keep_features:
        return "no more than one epoch is trained"
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
    """The features of train and dev by `model`'s frozen part, {} where they don't fit; every rank must enter.

    `key` names all that decides them. Files of an earlier start with the same key are used. An end without an error
    removes them; with `keep_features` they lie where every run with the same key looks, and stay. Leaves with exit code
    85 after a stop signal. Not for a model that DeepSpeed has partitioned.
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
    """The folder of a run's features on this node, and the ranks that share it."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session, self.folder = session, folder
        self.problem = self._make()
        where = self._where()
        everywhere: list = [None] * session.ranks
        dist.all_gather_object(everywhere, where)
        self.sharing_ranks = [rank for rank, other in enumerate(everywhere) if other == where]

    def fits(self, stores: dict[str, FeatureStore]) -> bool:
        """Whether every rank's folder takes all features; says on rank 0 why not."""
        needed = sum(store.total_bytes for store in stores.values())
        budget = self.session.config.feature_cache_gib * 2**30
        if needed > budget:
            self.problem = f"they need {needed / 2**30:.1f} GiB (--feature_cache_gib={budget / 2**30:g})"
        elif not self.problem:
            there = sum(path.stat().st_size for path in self.folder.glob("*.features"))
            free = shutil.disk_usage(self.folder).free
            if free < needed - there:
                self.problem = f"{needed / 2**30:.1f} GiB are needed in {self.folder}, {free / 2**30:.1f} GiB are free"
        return self._nobody_has_trouble()

    @torch.no_grad()
    def fill(self, store: FeatureStore, frozen: MereModel, manifest: Manifest) -> bool:
        """Compute the blocks that are missing or not as they were written; whether all are there.

        One of the ranks that share a block checks it, once a start. Every rank makes the same number of rounds.
        """
        sentences = RowReader(manifest, store.split)
        share = np.array_split(np.arange(store.blocks), len(self.sharing_ranks))[
            self.sharing_ranks.index(self.session.rank)
        ]
        missing = [block for block in share.tolist() if not store.is_whole(block)]
        if self._most(any(map(store.is_spoilt, missing))) and self.session.is_main:
            log.warning("features of %s in %s are damaged or of an older version: made again", store.split, self.folder)
        rounds = self._most(len(missing))
        bar = tqdm(total=rounds, desc=f"features of {store.split}", unit="block", disable=not self.session.is_main)
        for turn in range(rounds):
            if turn < len(missing):
                self._fill_block(store, missing[turn], frozen, sentences)
            if not self._nobody_has_trouble():
                return False
            if self._most(self.session.stop.received is not None):
                log.info("asked to stop while computing features: what is there is kept")
                sys.exit(LEFT_EARLY)
            bar.update()
        bar.close()
        if not all(map(store.has, range(store.blocks))):
            self.problem = f"{self.folder} doesn't show all ranks all files"
        return self._nobody_has_trouble()

    def remove(self) -> None:
        """All are done with the features."""
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
                self.problem = f"a feature is beyond the range of {store.dtype}"
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
        return None if self._is_ours() else f"{self.folder} belongs to somebody else"

    def _is_ours(self) -> bool:
        """Not a folder, nor a link to one, that another user has put where everybody may write."""
        with suppress(OSError):
            return self.folder.lstat().st_uid == os.getuid()
        return False

    def _where(self) -> str:
        """The same for all ranks that see one folder."""
        sign = self.folder / self.session.from_rank_0(uuid4().hex)
        if self.session.is_main and not self.problem:
            sign.touch()
        dist.barrier()
        where = "where rank 0 is" if sign.exists() else self._host()
        dist.barrier()
        if self.session.is_main:
            sign.unlink(missing_ok=True)
        return where

    @staticmethod
    def _host() -> str:
        return socket.gethostname()

    def _nobody_has_trouble(self) -> bool:
        """The same on every rank; rank 0 tells what it is."""
        problems: list = [None] * self.session.ranks
        dist.all_gather_object(problems, self.problem)
        first = next(filter(None, problems), None)
        if first and self.session.is_main:
            log.warning("features are computed again each epoch: %s", first)
        return not first

    def _most(self, number: int) -> int:
        most = torch.tensor(int(number), device=self.session.device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return int(most)
