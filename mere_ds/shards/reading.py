"""Shards + batch plan -> Batch: one rank's micro-batches of an epoch, starting at any step.

A rank reads the shards of one window of the plan, keeps only its own sentences and releases them at the end of the
window; memory is bounded by a rank's share of a window, whatever the size of the corpus.

Shape suffixes: S steps, G sentences of a global batch, N micro-batches, B sentences of one, M tokens of a sentence
(padded), 4 positions, 2 spans.
"""

import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mere_ds.shards.arrays import check_rows, check_sentences, check_texts, read_texts
from mere_ds.shards.batch import Batch
from mere_ds.shards.features import FeatureStore
from mere_ds.shards.manifest import Manifest
from mere_ds.shards.packing import Sentences, join_members, read_sentences, read_shard
from mere_ds.shards.plan import FILLER, EpochPlan

CHUNK = 1024
"""Sentences that are collated at a time."""
LEAVE_SECONDS = 5
"""How long leaving waits: a server that doesn't answer must not keep a rank that was asked to stop."""

_CHUNK_OF_FEATURES = 64  # as `CHUNK`, where each has its features with it, a thousand times its tokens' size
_AHEAD = 8  # chunks that are collated ahead of need


class ShardReader:
    """Iterates over the `Batch` of every micro-step of one rank, from `start_step` to the end of the epoch.

    `plan` is the same on every rank; `micro` sentences per micro-step, `accumulation` micro-steps per step. Use it as a
    context manager: leaving it ends the background thread. With `features` each batch has its sentences' features.
    A shard's digest is checked whenever it is read. Raises UserError at once for a batch shape that does not fit the
    plan, and during iteration for a missing or damaged shard; MachineError if a shard's server can't be reached.
    """

    def __init__(
        self,
        manifest: Manifest,
        split: str,
        plan: EpochPlan,
        rank: int = 0,
        ranks: int = 1,
        *,
        micro: int,
        accumulation: int = 1,
        start_step: int = 0,
        prefetch: bool = True,
        features: FeatureStore | None = None,
    ):
        assert plan.accumulation(ranks, micro) == accumulation, "micro x ranks x accumulation is the global batch"
        assert 0 <= rank < ranks and 0 <= start_step <= plan.steps
        assert plan.sentences == manifest.splits[split].sentences
        self.seconds_waited = 0.0
        """Total time that the consumer has waited for batches."""
        self.held_sentences = 0
        """Sentences in memory now, not counting collated batches."""
        self._manifest, self._split, self._pad_id = manifest, split, manifest.pad_id
        self._shard_starts = np.concatenate([[0], np.cumsum(manifest.shard_sizes(split), dtype=np.int64)])
        self._plan, self._micro, self._start_step = plan, micro, start_step
        self._share, self._features = (accumulation, ranks, rank), features
        self._gpu = torch.cuda.current_device() if torch.cuda.is_available() else None
        chunks = self._chunks()
        self._source = _Prefetch(chunks, _AHEAD) if prefetch else chunks
        self._ready: deque[Batch] = deque()

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        self._ready.clear()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._ready:
            started = time.perf_counter()
            try:
                self._ready.extend(next(self._source))
            finally:
                self.seconds_waited += time.perf_counter() - started
        return self._ready.popleft()

    def _chunks(self) -> Generator[list[Batch], None, None]:
        plan = self._plan
        if self._start_step == plan.steps:
            return
        if self._gpu is not None:
            torch.cuda.set_device(self._gpu)  # a new thread would pin memory for the first GPU
        at_once = max(1, (_CHUNK_OF_FEATURES if self._features else CHUNK) // self._micro)
        for window in range(plan.window_of(self._start_step), plan.windows):
            steps = plan.steps_of(window)
            first = max(steps.start, self._start_step)
            rows_NB, steps_N = self._own_rows(plan.batches_of(window)[first - steps.start :], first)
            held = self._load(np.unique(rows_NB[rows_NB != FILLER]), window)
            for start in range(0, len(rows_NB), at_once):
                chosen = slice(start, start + at_once)
                sentences = [plan.real_sentences(step) for step in steps_N[chosen].tolist()]
                batches = held.collate(rows_NB[chosen], plan.widths_of(rows_NB[chosen], window), sentences)
                if self._features:
                    batches = [_with_features(batch, self._features) for batch in batches]
                yield batches if self._gpu is None else [batch.pinned() for batch in batches]
            del held  # free the window before the next one is read
            self.held_sentences = 0

    def _own_rows(self, rows_SG: np.ndarray, first_step: int) -> tuple[np.ndarray, np.ndarray]:
        """This rank's micro-batches of the global batches [steps, global batch], and the step of each."""
        accumulation, ranks, rank = self._share
        rows_NB = self._plan.of_rank(rows_SG, rank, ranks, self._micro)
        return rows_NB, first_step + np.arange(len(rows_NB)) // accumulation

    def _load(self, rows: np.ndarray, window: int) -> "_Held":
        """Reads the sentences `rows` (sorted), shard by shard; only these stay in memory."""
        parts = []
        for shard in np.sort(self._plan.shards_of(window)):
            first, end = self._shard_starts[shard], self._shard_starts[shard + 1]
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, end)] - first
            if len(wanted):
                parts.append(_read(self._manifest, self._split, shard).take(wanted))
        self.held_sentences = len(rows)
        return _Held(rows, parts, self._pad_id, int(self._plan.widths[-1]), self._manifest.triples == "one")


class RowReader:
    """Any sentences of a split, in batches of similar length; keeps the shard that it read last in memory."""

    def __init__(self, manifest: Manifest, split: str):
        self._manifest, self._split, self._pad_id = manifest, split, manifest.pad_id
        self._shard_starts = np.concatenate([[0], np.cumsum(manifest.shard_sizes(split), dtype=np.int64)])
        self._last: tuple[int, Sentences] | None = None

    def by_length(self, rows: np.ndarray, tokens: int) -> Iterator[Batch]:
        """Batches of at most `tokens` tokens including padding (but at least one sentence), longest first.

        `rows` are sorted. Raises UserError for a missing or damaged shard.
        """
        shards = np.searchsorted(self._shard_starts, rows, side="right") - 1
        parts = [self._shard(s).take(rows[shards == s] - self._shard_starts[s]) for s in np.unique(shards).tolist()]
        lengths = np.concatenate([part.lengths for part in parts])
        order = np.argsort(-lengths, kind="stable")
        held = _Held(rows, parts, self._pad_id, int(lengths.max()), self._manifest.triples == "one")
        while len(order):
            width = int(lengths[order[0]])
            chosen, order = np.split(order, [max(1, tokens // width)])
            yield held.collate(rows[chosen][None], np.array([width]), [len(chosen)])[0]

    def _shard(self, shard: int) -> Sentences:
        if self._last is None or self._last[0] != shard:
            self._last = shard, _read(self._manifest, self._split, shard)
        return self._last[1]


def _read(manifest: Manifest, split: str, shard: int) -> Sentences:
    """The validated sentences of a split's shard."""
    sentences = read_sentences(manifest.source, manifest.splits[split].shards[shard])
    return _checked(sentences, manifest, split, shard)


def _checked(sentences: Sentences, manifest: Manifest, split: str, shard: int) -> Sentences:
    """The sentences of a shard in the manifest's languages; raises UserError for invalid values."""
    described = manifest.splits[split].shards[shard]
    path = manifest.source.path(described.file)
    sizes = manifest.encoder.vocab_size, len(manifest.stored_languages), len(manifest.labels)
    check_sentences(sentences, path, *sizes, manifest.cuts, split == "train", manifest.triples == "one")
    chosen = manifest.chosen(sentences)
    check_rows(chosen, path, *manifest.index_of(split).columns_of(shard))
    return chosen


class _Held:
    """A rank's sentences of one window, ready to be put into batches."""

    def __init__(self, rows: np.ndarray, parts: list[Sentences], pad_id: int, widest: int, one_triple: bool):
        # A filler is an extra sentence of one pad token; its further tokens let `collate` read past a sentence's end.
        triples = int(one_triple)
        filler = Sentences(
            np.full(widest, pad_id),
            np.ones(1),
            np.zeros(1),
            np.zeros(triples),
            np.full((triples, 4), -1),
            counts=np.full(1, triples),
        )
        self._s = Sentences.join([*parts, filler])
        self._rows, self._pad_id, self._places_M = rows, np.int64(pad_id), np.arange(widest)

    def collate(self, rows_NB: np.ndarray, widths_N: np.ndarray, global_sentences: list[int]) -> list[Batch]:
        """The micro-batches of these rows; columns are gathered for all at once, tokens per batch at its width."""
        s, real_NB = self._s, rows_NB != FILLER
        places_NB = np.where(real_NB, np.searchsorted(self._rows, rows_NB), len(s) - 1)
        columns = {
            "languages_B": s.languages[places_NB].astype(np.int64),
            "weights_B": real_NB.astype(np.float32),
            "rows_B": rows_NB.astype(np.int64),
        }
        parts = {name: torch.from_numpy(column).unbind() for name, column in columns.items()}
        parts |= self._triples(places_NB)
        starts_NB1, lengths_NB1 = s.starts[places_NB][:, :, None], s.lengths[places_NB][:, :, None]
        batches = []
        for i, width in enumerate(widths_N.tolist()):
            mask_BM = self._places_M[:width] < lengths_NB1[i]
            tokens_BM = np.where(mask_BM, s.tokens[starts_NB1[i] + self._places_M[:width]], self._pad_id)
            own: dict[str, Any] = {name: part[i] for name, part in parts.items()}
            batches.append(
                Batch(
                    torch.from_numpy(tokens_BM), torch.from_numpy(mask_BM), **own, global_sentences=global_sentences[i]
                )
            )
        return batches

    def _triples(self, places_NB: np.ndarray) -> dict[str, tuple[torch.Tensor, ...]]:
        """What a batch has of its triples, of each of the N micro-batches."""
        s, counts_NB = self._s, self._s.counts[places_NB]
        triples = s.triples_of(places_NB.ravel())
        columns = {
            "sentence_T": np.repeat(np.tile(np.arange(places_NB.shape[1]), len(places_NB)), counts_NB.ravel()),
            "labels_T": s.labels[triples].astype(np.int64),
            "positions_T4": s.positions[triples].astype(np.int64),
            "cuts_T4": s.cuts[triples].astype(np.int64),
        }
        sizes = counts_NB.sum(axis=1, dtype=np.int64).tolist()
        return {name: torch.from_numpy(column).split(sizes) for name, column in columns.items()}


def _with_features(batch: Batch, features: FeatureStore) -> Batch:
    unified_BMD, pooled_BD = features.read(batch.rows_B.numpy(), batch.mask_BM.shape[1])
    return replace(batch, unified_BMD=unified_BMD, pooled_BD=pooled_BD)


class _Prefetch:
    """An iterator over `items` that a background thread computes up to `depth` items ahead."""

    def __init__(self, items: Iterator[list[Batch]], depth: int):
        self._queue: queue.Queue = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, args=(items,), name="shard-reader", daemon=True)
        self._thread.start()

    def _fill(self, items: Iterator[list[Batch]]) -> None:
        try:
            for item in items:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # the consumer raises it
            self._put((None, error))

    def _put(self, entry: tuple) -> bool:
        """Whether the entry was put into the queue; false if the consumer has stopped."""
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> "_Prefetch":
        return self

    def __next__(self) -> list[Batch]:
        if self._stop.is_set():
            raise StopIteration
        item, error = self._queue.get()
        if error is not None:
            self.close()
            raise error
        return item

    def close(self) -> None:
        """Stops the thread, even if items are left."""
        self._stop.set()
        self._thread.join(LEAVE_SECONDS)


class TextReader:
    """Random access to the sentences of dev or test as text; at most `keep` shards in memory."""

    def __init__(self, manifest: Manifest, split: str, keep: int = 8):
        assert split != "train", "train shards contain no texts"
        self._manifest, self._split, self._keep = manifest, split, keep
        self._starts = np.concatenate([[0], np.cumsum(manifest.shard_sizes(split), dtype=np.int64)])
        self._held: OrderedDict[int, list[dict]] = OrderedDict()

    def texts_of(self, rows: Iterable[int]) -> list[dict]:
        """`{"id", "text", "lang", "triples": [{"head", "relation", "tail"}]}` of each row (as in `Batch.rows_B`,
        without fillers).

        `head` and `tail` are half-open character spans, `[start, end]`. Raises UserError for a missing or
        damaged shard.
        """
        return [self._record(int(row)) for row in rows]

    def _record(self, row: int) -> dict:
        assert 0 <= row < self._starts[-1]
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        if shard not in self._held:
            self._held[shard] = self._read(shard)
        self._held.move_to_end(shard)
        if len(self._held) > self._keep:
            self._held.popitem(last=False)
        return self._held[shard][row - int(self._starts[shard])]

    def _read(self, shard: int) -> list[dict]:
        m, described = self._manifest, self._manifest.splits[self._split].shards[shard]
        path = m.source.path(described.file)
        members = list(read_shard(m.source, described, "json", "npz"))
        sentences = join_members([member["npz"] for member in members], path)
        records = read_texts((member["json"] for member in members), path, m.labels)
        chosen = [record for record in records if record["lang"] in m.languages]
        check_texts(chosen, _checked(sentences, m, self._split, shard), path, m.languages, m.labels)
        return chosen
