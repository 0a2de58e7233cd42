"""What the server counts, in Prometheus' text format."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Measures:
    """Counters of one server; safe to use from several threads."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        its = self._registry = CollectorRegistry()
        self._requests = Counter("mere_ds_requests", "Answered requests.", ("path", "status"), registry=its)
        help = "From a request's head to its answer's end."
        self._latency = Histogram("mere_ds_request_seconds", help, ("path",), buckets=_SECONDS, registry=its)
        self._batches = Histogram("mere_ds_batch_texts", "Texts computed at once.", buckets=_TEXTS, registry=its)
        self._computing = Counter("mere_ds_computing_seconds", "Time spent computing.", registry=its)
        self.queue = Gauge("mere_ds_queue_texts", "Texts that wait to be computed.", registry=its)

    def request(self, path: str, status: int, seconds: float) -> None:
        """`path` is one of a few, never the client's own words."""
        self._requests.labels(path, status).inc()
        self._latency.labels(path).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        self._batches.observe(texts)
        self._computing.inc(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
