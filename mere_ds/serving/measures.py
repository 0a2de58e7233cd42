"""What the server counts, in Prometheus' text format."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Measures:
    """Counters of one server; safe to use from several threads."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        its = {"registry": self._registry, "namespace": "mere_ds"}
        self._requests = Counter("requests", "Answered requests.", ("path", "status"), **its)
        self._latency = Histogram(
            "request_seconds", "From a request's head to its answer's end.", ("path",), buckets=_SECONDS, **its
        )
        self._batches = Histogram("batch_texts", "Texts computed at once.", buckets=_TEXTS, **its)
        self._computing = Counter("computing_seconds", "Time spent computing.", **its)
        self.queue = Gauge("queue_texts", "Texts that wait to be computed.", **its)

    def request(self, path: str, status: int, seconds: float) -> None:
        """`path` is one of a few, never the client's own words."""
        self._requests.labels(path, status).inc()
        self._latency.labels(path).observe(seconds)

    def batch(self, texts: int, seconds: float) -> None:
        self._batches.observe(texts)
        self._computing.inc(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
