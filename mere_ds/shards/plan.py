"""The batch plan: a pure function from a split's index, seed and epoch to an epoch's global batches.

An epoch is a stream of sentences: the shards in random order, with the sentences of each shuffled. With a language
temperature a sentence may come several times or not at all in the stream, always with its shard. The stream is split
into windows of whole global batches. In a window, sentences of similar length form a batch, and the batches are
shuffled. So any step needs only the shards of its own window and no state from earlier steps. The plan doesn't depend
on the number of ranks: ranks take slices of the same global batches.

Windows follow from the counts by shard alone. The lengths and languages of sentences are read a window at a time, so
memory and the time to a first step grow with the number of shards, not of sentences.

Shape suffixes: X batches or blocks of batches, K sentences in one, G groups for LA in one, S sentences of a group,
U languages, L lengths, H shards, n sentences of a window's shards.
"""

from dataclasses import dataclass

import numpy as np

from mere_ds.errors import UserError
from mere_ds.shards.drawing import drawn
from mere_ds.shards.index import SplitIndex

FILLER = -1
"""Row number of a filler, which fills up the epoch's last global batch."""

_BLOCK = 128  # partners are chosen among about this many sentences of similar length
_SHARD_ORDER, _IN_SHARD, _IN_WINDOW = range(3)  # the purposes of random streams


def choose_widths(counts_L: np.ndarray, count: int = 32) -> np.ndarray:
    """At most `count` padded widths that minimise the padding of sentences; the last fits the longest.

    `counts_L` says how many sentences have each length, from 0 to the longest. Exact (dynamic programming) for up to
    512 different lengths, otherwise on a grid of 512.
    """
    lengths = np.flatnonzero(counts_L)
    if not len(lengths):
        return np.array([1])
    grid = -(-int(lengths[-1]) // 512)
    values, places = np.unique(-(-lengths // grid) * grid, return_inverse=True)
    sentences = np.zeros(len(values), np.int64)
    np.add.at(sentences, places, counts_L[lengths])
    values[-1] = lengths[-1]
    below = np.concatenate([[0], np.cumsum(sentences)])
    # Padded tokens if the values i..j-1 share one width: values[j - 1] * (below[j] - below[i]).
    cost = np.concatenate([[0], values])[None, :] * (below[None, :] - below[:, None]).astype(float)
    cost[np.tril_indices(len(below))] = np.inf
    best, cuts = cost[0], []
    for _ in range(min(count, len(values)) - 1):
        total = best[:, None] + cost
        cuts.append(total.argmin(axis=0))
        best = total.min(axis=0)
    widths, end = [], len(values)
    for cut in reversed([np.zeros(len(below), int), *cuts]):
        widths.append(values[end - 1])
        end = cut[end]
    return np.array(widths[::-1])


@dataclass(frozen=True)
class _Held:
    """The sentences of a window's shards; the shards are in ascending order."""

    rows_n: np.ndarray
    """int64; ascending."""
    lengths_n: np.ndarray
    languages_n: np.ndarray
    places: dict[int, slice]
    """Where each shard's sentences are in these."""


class EpochPlan:
    """An epoch's global batches of one split.

    Rows are numbers of sentences in shard order. `global_batch` counts the sentences of a step over all ranks and
    accumulation steps. `concatenate` is s of eq. 4: every s consecutive sentences of a batch are partners, of different
    languages wherever the batch allows it. `window` is how many sentences are shuffled together (at least a global
    batch). `widths` are the padded widths that a micro-batch may have, 32 that fit the lengths. At `temperature` 1 each
    sentence comes exactly once; another one draws as many sentences, each as often as `mere_ds.shards.drawing` says.
    Without `shuffle` (evaluation) batches are in shard order, but still sorted by length inside a window.

    A split without sentences gives a plan of 0 steps. Raises UserError if `concatenate` does not divide `global_batch`;
    what reads a window's lengths raises as `SplitIndex.columns_of`.
    """

    def __init__(
        self,
        index: SplitIndex,
        global_batch: int,
        *,
        concatenate: int = 1,
        seed: int = 0,
        epoch: int = 0,
        window: int = 65536,
        shuffle: bool = True,
        temperature: float = 1.0,
    ):
        if global_batch < 1 or concatenate < 1 or global_batch % concatenate:
            raise UserError(f"concatenate={concatenate}: must divide the global batch of {global_batch} sentences")
        assert seed >= 0 and epoch >= 0
        sizes_H = index.sizes_H
        self.sentences, self.global_batch, self.concatenate = int(sizes_H.sum()), global_batch, concatenate
        self._index, self._kinds = index, max(1, len(index.counts_U))
        self.steps = -(-self.sentences // global_batch)
        self.widths = choose_widths(index.counts_L)
        self._seed, self._shuffle = (seed, epoch), shuffle
        self._shard_starts = np.concatenate([[0], np.cumsum(sizes_H)])
        order = np.arange(len(sizes_H))
        self._shard_order = self._random(_SHARD_ORDER).permutation(order) if shuffle else order
        self._drawn = None if temperature == 1 else drawn(index, temperature, seed, epoch)
        drawn_H = sizes_H
        if self._drawn is not None:
            drawn_H = self._drawn.of_shards_H
            self._shard_order = self._shard_order[drawn_H[self._shard_order] > 0]
        self._stream_starts = np.concatenate([[0], np.cumsum(drawn_H[self._shard_order])])
        self.windows = -(-self.steps // max(1, window // global_batch))
        self._first_steps = np.arange(self.windows + 1) * self.steps // max(1, self.windows)
        self._last: tuple[int, _Held] | None = None  # the window that was read last

    def window_of(self, step: int) -> int:
        """Which window a step belongs to."""
        return int(np.searchsorted(self._first_steps, step, side="right")) - 1

    def steps_of(self, window: int) -> range:
        """The steps of a window."""
        return range(int(self._first_steps[window]), int(self._first_steps[window + 1]))

    def shards_of(self, window: int) -> np.ndarray:
        """The shards that hold the sentences of a window; the first and last may also belong to its neighbours."""
        steps = self.steps_of(window)
        first, end = steps.start * self.global_batch, min(steps.stop * self.global_batch, self.sentences)
        return self._shard_order[self._stream_places(first, end)]

    def real_sentences(self, step: int) -> int:
        """Sentences of a global batch, fillers not counted."""
        return min(self.global_batch, self.sentences - step * self.global_batch)

    def batches_of(self, window: int) -> np.ndarray:
        """Rows [steps of the window, global batch], fillers -1 (only in the epoch's last step, at its end)."""
        steps, held = self.steps_of(window), self._held(window)
        random = self._random(_IN_WINDOW, window)
        places = self._stream(
            held, steps.start * self.global_batch, min(steps.stop * self.global_batch, self.sentences)
        )
        if self._shuffle:
            places = random.permutation(places)
        whole = len(places) - len(places) % self.global_batch
        by_length_XK = _by_length(held, places[:whole]).reshape(-1, self.global_batch)
        batches = self._with_partners(held, by_length_XK, random)
        if self._shuffle:
            batches = random.permutation(batches)
        if whole < len(places):
            batches = np.concatenate([batches, self._last_batch(held, places[whole:], random)])
        return np.where(batches == FILLER, FILLER, held.rows_n[batches])

    def accumulation(self, ranks: int, micro: int) -> int:
        """Micro-steps per step. UserError if s does not divide `micro`, or `ranks` x `micro` the global batch."""
        if micro < 1 or micro % self.concatenate:
            raise UserError(f"concatenate={self.concatenate}: must divide the batch size of {micro} per rank")
        if ranks < 1 or self.global_batch % (micro * ranks):
            raise UserError(
                f"a global batch of {self.global_batch} cannot be split into {ranks} ranks x {micro} sentences"
            )
        return self.global_batch // (micro * ranks)

    def of_rank(self, rows_SG: np.ndarray, rank: int, ranks: int, micro: int) -> np.ndarray:
        """Of global batches [steps, global batch] a rank's micro-batches [steps x accumulation, micro], in order."""
        return rows_SG.reshape(-1, ranks, micro)[:, rank]

    def widths_of(self, rows: np.ndarray, window: int) -> np.ndarray:
        """Padded width of each micro-batch of a window; `rows` [..., micro]."""
        longest = self._lengths_of(rows, window).max(axis=-1)
        return self.widths[np.searchsorted(self.widths, longest)]

    def padding_share(self, micro: int) -> float:
        """Share of the epoch's tensor cells that are padding (or filler), with micro-batches of `micro` sentences.

        Reads the lengths of the whole epoch, a window at a time.
        """
        tokens = cells = 0
        for window in range(self.windows):
            rows = self.batches_of(window).reshape(-1, micro)
            tokens += int(self._lengths_of(rows, window).sum(dtype=np.int64))
            cells += int(self.widths_of(rows, window).sum()) * micro
        return 1 - tokens / cells if cells else 0.0

    def _lengths_of(self, rows: np.ndarray, window: int) -> np.ndarray:
        """Tokens of a window's `rows`, of a filler 0."""
        held = self._held(window)
        return np.where(rows == FILLER, 0, held.lengths_n[np.searchsorted(held.rows_n, rows)])

    def _held(self, window: int) -> _Held:
        """The lengths and languages of a window's shards, read unless this window's were read last."""
        if self._last is None or self._last[0] != window:
            self._last = None  # free the window before the next one is read
            shards = np.sort(self.shards_of(window)).tolist()
            lengths, languages = zip(*map(self._index.columns_of, shards), strict=True)
            ends = np.cumsum([len(part) for part in lengths]).tolist()
            rows = [np.arange(*self._shard_starts[shard : shard + 2]) for shard in shards]
            places = dict(zip(shards, map(slice, [0, *ends[:-1]], ends), strict=True))
            held = _Held(np.concatenate(rows), np.concatenate(lengths), np.concatenate(languages), places)
            self._last = window, held
        return self._last[1]

    def _random(self, purpose: int, index: int = 0) -> np.random.Generator:
        return np.random.default_rng([*self._seed, purpose, index])

    def _stream_places(self, first: int, end: int) -> slice:
        """The slice of the shard order that holds places `first` to before `end` of the stream."""
        start = np.searchsorted(self._stream_starts, first, side="right") - 1
        return slice(int(start), int(np.searchsorted(self._stream_starts, end, side="left")))

    def _stream(self, held: _Held, first: int, end: int) -> np.ndarray:
        """Places in `held` of the epoch's stream from place `first` to before `end`."""
        between = self._stream_places(first, end)
        parts = []
        for shard in self._shard_order[between].tolist():
            own = held.places[shard]
            places = np.arange(own.start, own.stop, dtype=np.int64)
            if self._drawn is not None:
                places = np.repeat(places, self._drawn.times(shard, held.languages_n[own]))
            parts.append(self._random(_IN_SHARD, shard).permutation(places) if self._shuffle else places)
        skip = self._stream_starts[between.start]
        return np.concatenate(parts)[first - skip : end - skip]

    # These work with places in `held`, which become rows at the end.

    def _last_batch(self, held: _Held, places: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The remaining sentences followed by fillers [1, global batch]; at most one group contains both."""
        mixed = np.full(-len(places) % self.concatenate, FILLER)
        places = np.concatenate([_by_length(held, places), mixed])[None]
        if self.concatenate > 1:
            places = self._arrange(held, places, random)
        fillers = np.full((1, self.global_batch - places.shape[1]), FILLER)
        return np.concatenate([places, fillers], axis=1)

    def _with_partners(self, held: _Held, places_XK: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Arranges batches for LA: in blocks of similar length, or as a whole if blocks would repeat more languages."""
        if self.concatenate == 1 or not len(places_XK):
            return places_XK
        block = _block_size(self.global_batch, self.concatenate)
        arranged_XK = self._arrange(held, places_XK.reshape(-1, block), random).reshape(places_XK.shape)
        in_blocks_X = self._repeats(held, places_XK.reshape(-1, block)).reshape(len(places_XK), -1).sum(axis=1)
        wasteful_X = in_blocks_X > self._repeats(held, places_XK)
        arranged_XK[wasteful_X] = self._arrange(held, places_XK[wasteful_X], random)
        return arranged_XK

    def _repeats(self, held: _Held, places_XK: np.ndarray) -> np.ndarray:
        """Number of sentences per block that must share a group with their own language in any arrangement [X]."""
        blocks = len(places_XK)
        pairs_XK = np.arange(blocks)[:, None] * self._kinds + held.languages_n[places_XK]
        counts_XU = np.bincount(pairs_XK.ravel(), minlength=blocks * self._kinds).reshape(blocks, self._kinds)
        return np.maximum(counts_XU - places_XK.shape[1] // self.concatenate, 0).sum(axis=1)

    def _arrange(self, held: _Held, places_XK: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Puts each block's sentences in groups that repeat languages as little as possible, groups sorted by length.

        They are sorted by language (in random order) and dealt to the groups in turn: n sentences of a language share a
        group only if n exceeds the number of groups, and then as evenly as possible.
        """
        blocks, size = places_XK.shape
        real_XK = places_XK != FILLER
        keys_XU = random.random((blocks, self._kinds))
        keys_XK = np.take_along_axis(keys_XU, np.where(real_XK, held.languages_n[places_XK], 0), axis=1)
        order_XK = np.argsort(np.where(real_XK, keys_XK, 2.0), axis=1, kind="stable")
        dealt_XK = np.take_along_axis(places_XK, order_XK, axis=1)
        groups_XGS = dealt_XK.reshape(blocks, self.concatenate, size // self.concatenate).transpose(0, 2, 1)
        lengths_XGS = np.where(groups_XGS == FILLER, np.iinfo(np.int32).max, held.lengths_n[groups_XGS])
        order_XG = np.argsort(lengths_XGS.max(axis=2), axis=1, kind="stable")
        return np.take_along_axis(groups_XGS, order_XG[:, :, None], axis=1).reshape(blocks, size)


def _by_length(held: _Held, places: np.ndarray) -> np.ndarray:
    return places[np.argsort(held.lengths_n[places], kind="stable")]


def _block_size(batch: int, concatenate: int) -> int:
    """The divisor of `batch` that is a multiple of `concatenate` and closest to `_BLOCK` (by ratio)."""
    groups = batch // concatenate
    sizes = np.array([concatenate * n for n in range(1, groups + 1) if groups % n == 0])
    return int(sizes[np.abs(np.log(sizes / _BLOCK)).argmin()])
