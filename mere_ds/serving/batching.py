"""What arrives together is computed together: a bounded queue of texts, and the one thread that computes them."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mere_ds.errors import MachineError, UserError
from mere_ds.serving.measures import Measures
from mere_ds.shards.windows import Window

_MOST_SECONDS = 60
_AHEAD = 8
"""Batches that are sorted by length together, so that texts of a batch are of like length and need little padding."""
_log = logging.getLogger("mere_ds.serving")


class Limits(NamedTuple):
    """Which triples of a text are answered; None: those that the model gives by itself."""

    min_score: float | None = None
    max_triples: int | None = None


Text = str | Window
"""A text, or a piece of a document."""
Compute = Callable[[Sequence[Text], Sequence[str], Limits], list[dict]]
"""(texts, languages, limits) -> an answer for each, with its "triples"."""


class QueueFull(Exception):
    """There is no room for a request's texts; `seconds` later there may be."""

    def __init__(self, seconds: int):
        super().__init__(seconds)
        self.seconds = seconds


class Failed(Exception):
    """A request's texts could not be computed; the message is for its client."""


@dataclass(eq=False)
class Job:
    """The texts of one request, with an answer for each once `answers` is done."""

    texts: Sequence[Text]
    languages: Sequence[str]
    limits: Limits
    answers: "asyncio.Future[list[dict]]"
    found: dict[int, dict] = field(default_factory=dict)
    """By the text's number."""
    dropped: bool = False
    """Nobody waits for it any more, or one of its texts failed."""


class _Text(NamedTuple):
    job: Job
    number: int
    since: float


class Batcher:
    """Computes texts, at most `max_batch` at once.

    They are taken in the order in which they come, and of those taken together the shortest are computed first. A text
    waits at most `max_wait` seconds for others, and as long as those taken before it need. Requests are put in by the
    event loop's thread; `compute` is called by one other thread.
    """

    def __init__(self, compute: Compute, max_batch: int, max_wait: float, max_queue: int, measures: Measures):
        self._compute, self._measures = compute, measures
        self._max_batch, self._max_wait, self._max_queue = max_batch, max_wait, max_queue
        self._waiting: deque[_Text] = deque()
        self._taken = 0  # from the queue, but not yet being computed
        self._changed = threading.Condition()
        self._closed = False
        self._done, self._busy = 0, 0.0  # texts computed, and seconds that this took
        self._thread = threading.Thread(target=self._run, name="extractor", daemon=True)
        measures.queue.set_function(self._length)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Computes what waits, then ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def check_room(self) -> None:
        """Raises QueueFull if not even one text has room."""
        with self._changed:
            if self._length() >= self._max_queue:
                raise QueueFull(self._seconds_until_free(1))

    def put(self, texts: Sequence[Text], languages: Sequence[str], limits: Limits) -> Job:
        """A job for these texts, computed soon; called where an event loop runs. Raises QueueFull."""
        job = Job(texts, languages, limits, asyncio.get_running_loop().create_future())
        if not texts:
            job.answers.set_result([])
        now = time.monotonic()
        with self._changed:
            if self._length() + len(texts) > self._max_queue:
                raise QueueFull(self._seconds_until_free(len(texts)))
            self._waiting.extend(_Text(job, number, now) for number in range(len(texts)))
            self._changed.notify()
        return job

    def drop(self, job: Job) -> None:
        """Nobody waits for this job any more: its texts leave the queue."""
        with self._changed:
            job.dropped = True
            self._waiting = deque(text for text in self._waiting if not text.job.dropped)

    def _seconds_until_free(self, texts: int) -> int:
        excess = self._length() + texts - self._max_queue
        rate = self._done / self._busy if self._busy else 1.0
        return min(max(1, math.ceil(excess / max(rate, 1e-9))), _MOST_SECONDS)

    def _length(self) -> int:
        return len(self._waiting) + self._taken

    def _run(self) -> None:
        while taken := self._next():
            taken.sort(key=lambda text: _characters(text.job.texts[text.number]))
            for start in range(0, len(taken), self._max_batch):
                batch = taken[start : start + self._max_batch]
                self._taken -= len(batch)
                self._compute_batch([text for text in batch if not text.job.dropped])

    def _compute_batch(self, batch: list[_Text]) -> None:
        started = time.monotonic()
        done = self._answer(batch)
        seconds = time.monotonic() - started
        self._done, self._busy = self._done + len(batch), self._busy + seconds
        self._measures.batch(len(batch), seconds)  # before the answers, so that their readers see it
        for job in done:
            self._deliver(job)

    def _next(self) -> list[_Text]:
        """The texts to compute next, some batches of them; none if there will be no more."""
        with self._changed:
            while not self._closed:
                if len(self._waiting) >= self._max_batch:
                    break
                left = self._waiting[0].since + self._max_wait - time.monotonic() if self._waiting else None
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
            self._taken = min(_AHEAD * self._max_batch, len(self._waiting))
            return [self._waiting.popleft() for _ in range(self._taken)]

    def _answer(self, batch: list[_Text]) -> list[Job]:
        """Computes a batch; the jobs that are done with it."""
        by_limits: dict[Limits, list[_Text]] = {}
        for text in batch:
            by_limits.setdefault(text.job.limits, []).append(text)
        for texts in by_limits.values():
            try:
                self._fill(texts)
            except Exception:  # of one text, which must not fail the others' requests
                for text in texts:
                    self._fill_alone(text)
        jobs = dict.fromkeys(text.job for text in batch)
        return [job for job in jobs if job.dropped or len(job.found) == len(job.texts)]

    def _fill(self, texts: Sequence[_Text]) -> None:
        its = [text.job.texts[text.number] for text in texts]
        languages = [text.job.languages[text.number] for text in texts]
        answers = self._compute(its, languages, texts[0].job.limits)
        for text, answer in zip(texts, answers, strict=True):
            text.job.found[text.number] = answer

    def _fill_alone(self, text: _Text) -> None:
        if text.job.dropped:
            return
        try:
            self._fill([text])
        except Exception as error:
            _log.exception("a text could not be computed")
            text.job.found.clear()
            self.drop(text.job)
            _settle(text.job, error)

    def _deliver(self, job: Job) -> None:
        if not job.dropped:
            _settle(job, [job.found[number] for number in range(len(job.texts))])


def _characters(text: Text) -> int:
    return len(text if isinstance(text, str) else text.text)


def _settle(job: Job, outcome: list[dict] | Exception) -> None:
    """Ends the wait for a job, from the computing thread."""

    def settle() -> None:
        if job.answers.done():  # the client went away
            return
        if isinstance(outcome, Exception):
            known = isinstance(outcome, UserError | MachineError)
            job.answers.set_exception(Failed(str(outcome) if known else "not computed: the server's log says why"))
        else:
            job.answers.set_result(outcome)

    job.answers.get_loop().call_soon_threadsafe(settle)
