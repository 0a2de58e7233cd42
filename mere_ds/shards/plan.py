"""The batch plan: a pure function from sentence lengths, languages, seed and epoch to an epoch's global batches.

An epoch is a stream of sentences: the shards in random order, with the sentences of each shuffled. With a language
temperature a sentence may come several times or not at all in the stream, always with its shard. The stream is split
into windows of whole global batches. In a window, sentences of similar length form a batch, and the batches are
shuffled. So any step needs only the shards of its own window and no state from earlier steps. The plan doesn't depend
on the number of ranks: ranks take slices of the same global batches.

Shape suffixes: X batches or blocks of batches, K sentences in one, G groups for LA in one, S sentences of a group,
U languages.
"""

from collections.abc import Sequence

import numpy as np

from mere_ds.errors import UserError
from mere_ds.shards.drawing import draws_of, times_of

FILLER = -1
"""Row number of a filler, which fills up the epoch's last global batch."""

_BLOCK = 128  # partners are chosen among about this many sentences of similar length
_SHARD_ORDER, _IN_SHARD, _IN_WINDOW = range(3)  # the purposes of random streams


def choose_widths(lengths: np.ndarray, count: int = 32) -> np.ndarray:
    """At most `count` padded widths that minimise the padding of these sentence lengths; the last fits the longest.

    Exact (dynamic programming over the length histogram) for up to 512 different lengths, otherwise on a grid of 512.
    """
    if not len(lengths):
        return np.array([1])
    grid = -(-int(lengths.max()) // 512)
    values, sentences = np.unique(-(-lengths.astype(np.int64) // grid) * grid, return_counts=True)
    values[-1] = lengths.max()
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


class EpochPlan:
    """An epoch's global batches of one split.

    `lengths` and `languages` [sentences] are in shard order, `shard_sizes` the sentences of each shard. `global_batch`
    counts the sentences of a step over all ranks and accumulation steps. `concatenate` is s of eq. 4: every s
    consecutive sentences of a batch are partners, of different languages wherever the batch allows it. `window` is
    how many sentences are shuffled together (at least a global batch). `widths` are the padded widths that a
    micro-batch may have, 32 that fit the lengths. At `temperature` 1 each sentence comes exactly once; another one
    draws as many sentences, each as often as `drawing.times_of` says. Without `shuffle` (evaluation) batches are in
    shard order, but still sorted by length inside a window.

    A split without sentences gives a plan of 0 steps. Raises UserError if `concatenate` does not divide `global_batch`.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        languages: np.ndarray,
        shard_sizes: Sequence[int],
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
        assert len(lengths) == len(languages) == sum(shard_sizes) and seed >= 0 and epoch >= 0
        self.lengths, self.languages = lengths, languages
        self.sentences, self.global_batch, self.concatenate = len(lengths), global_batch, concatenate
        self._kinds = int(languages.max(initial=0)) + 1
        self.steps = -(-self.sentences // global_batch)
        self.widths = choose_widths(lengths)
        self._seed, self._shuffle = (seed, epoch), shuffle
        self._shard_starts = np.concatenate([[0], np.cumsum(shard_sizes, dtype=np.int64)])
        order = np.arange(len(shard_sizes))
        self._shard_order = self._random(_SHARD_ORDER).permutation(order) if shuffle else order
        self._times = None if temperature == 1 else times_of(languages, draws_of(languages, temperature), seed, epoch)
        drawn = np.asarray(shard_sizes, dtype=np.int64)
        if self._times is not None:
            drawn = np.diff(np.concatenate([[0], np.cumsum(self._times)])[self._shard_starts])
            self._shard_order = self._shard_order[drawn[self._shard_order] > 0]
        self._stream_starts = np.concatenate([[0], np.cumsum(drawn[self._shard_order])])
        self.windows = -(-self.steps // max(1, window // global_batch))
        self._first_steps = np.arange(self.windows + 1) * self.steps // max(1, self.windows)

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
        steps = self.steps_of(window)
        random = self._random(_IN_WINDOW, window)
        rows = self._stream(steps.start * self.global_batch, min(steps.stop * self.global_batch, self.sentences))
        if self._shuffle:
            rows = random.permutation(rows)
        whole = len(rows) - len(rows) % self.global_batch
        batches = self._with_partners(self._by_length(rows[:whole]).reshape(-1, self.global_batch), random)
        if self._shuffle:
            batches = random.permutation(batches)
        if whole < len(rows):
            batches = np.concatenate([batches, self._last_batch(rows[whole:], random)])
        return batches

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

    def widths_of(self, rows: np.ndarray) -> np.ndarray:
        """Padded width of each micro-batch; `rows` [..., micro]."""
        longest = np.where(rows == FILLER, 0, self.lengths[rows]).max(axis=-1)
        return self.widths[np.searchsorted(self.widths, longest)]

    def padding_share(self, micro: int) -> float:
        """Share of the epoch's tensor cells that are padding (or filler), with micro-batches of `micro` sentences."""
        cells = sum(
            int(self.widths_of(self.batches_of(window).reshape(-1, micro)).sum()) * micro
            for window in range(self.windows)
        )
        lengths = self.lengths.astype(np.int64)
        tokens = lengths.sum() if self._times is None else lengths @ self._times
        return 1 - int(tokens) / cells if cells else 0.0

    def _random(self, purpose: int, index: int = 0) -> np.random.Generator:
        return np.random.default_rng([*self._seed, purpose, index])

    def _stream_places(self, first: int, end: int) -> slice:
        """The slice of the shard order that holds places `first` to before `end` of the stream."""
        start = np.searchsorted(self._stream_starts, first, side="right") - 1
        return slice(int(start), int(np.searchsorted(self._stream_starts, end, side="left")))

    def _stream(self, first: int, end: int) -> np.ndarray:
        """Rows of the epoch's stream from place `first` to before `end`."""
        places = self._stream_places(first, end)
        parts = []
        for shard in self._shard_order[places]:
            rows = np.arange(self._shard_starts[shard], self._shard_starts[shard + 1], dtype=np.int64)
            rows = rows if self._times is None else np.repeat(rows, self._times[rows])
            parts.append(self._random(_IN_SHARD, int(shard)).permutation(rows) if self._shuffle else rows)
        skip = self._stream_starts[places.start]
        return np.concatenate(parts)[first - skip : end - skip]

    def _by_length(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.argsort(self.lengths[rows], kind="stable")]

    def _last_batch(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The remaining sentences followed by fillers [1, global batch]; at most one group contains both."""
        mixed = np.full(-len(rows) % self.concatenate, FILLER)
        rows = np.concatenate([self._by_length(rows), mixed])[None]
        if self.concatenate > 1:
            rows = self._arrange(rows, random)
        fillers = np.full((1, self.global_batch - rows.shape[1]), FILLER)
        return np.concatenate([rows, fillers], axis=1)

    def _with_partners(self, rows_XK: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Arranges batches for LA: in blocks of similar length, or as a whole if blocks would repeat more languages."""
        if self.concatenate == 1 or not len(rows_XK):
            return rows_XK
        block = _block_size(self.global_batch, self.concatenate)
        arranged_XK = self._arrange(rows_XK.reshape(-1, block), random).reshape(rows_XK.shape)
        in_blocks_X = self._repeats(rows_XK.reshape(-1, block)).reshape(len(rows_XK), -1).sum(axis=1)
        wasteful_X = in_blocks_X > self._repeats(rows_XK)
        arranged_XK[wasteful_X] = self._arrange(rows_XK[wasteful_X], random)
        return arranged_XK

    def _repeats(self, rows_XK: np.ndarray) -> np.ndarray:
        """Number of sentences per block that must share a group with their own language in any arrangement [X]."""
        blocks = len(rows_XK)
        places = np.arange(blocks)[:, None] * self._kinds + self.languages[rows_XK]
        counts_XU = np.bincount(places.ravel(), minlength=blocks * self._kinds).reshape(blocks, self._kinds)
        return np.maximum(counts_XU - rows_XK.shape[1] // self.concatenate, 0).sum(axis=1)

    def _arrange(self, rows_XK: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Puts each block's rows in groups that repeat languages as little as possible, groups sorted by length.

        Rows are sorted by language (in random order) and dealt to the groups in turn: n sentences of a language share a
        group only if n exceeds the number of groups, and then as evenly as possible.
        """
        blocks, size = rows_XK.shape
        real_XK = rows_XK != FILLER
        keys_XU = random.random((blocks, self._kinds))
        keys_XK = np.take_along_axis(keys_XU, np.where(real_XK, self.languages[rows_XK], 0), axis=1)
        order_XK = np.argsort(np.where(real_XK, keys_XK, 2.0), axis=1, kind="stable")
        dealt_XK = np.take_along_axis(rows_XK, order_XK, axis=1)
        groups_XGS = dealt_XK.reshape(blocks, self.concatenate, size // self.concatenate).transpose(0, 2, 1)
        lengths_XGS = np.where(groups_XGS == FILLER, np.iinfo(np.int32).max, self.lengths[groups_XGS])
        order_XG = np.argsort(lengths_XGS.max(axis=2), axis=1, kind="stable")
        return np.take_along_axis(groups_XGS, order_XG[:, :, None], axis=1).reshape(blocks, size)


def _block_size(batch: int, concatenate: int) -> int:
    """The divisor of `batch` that is a multiple of `concatenate` and closest to `_BLOCK` (by ratio)."""
    groups = batch // concatenate
    sizes = np.array([concatenate * n for n in range(1, groups + 1) if groups % n == 0])
    return int(sizes[np.abs(np.log(sizes / _BLOCK)).argmin()])
