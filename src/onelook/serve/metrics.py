"""What Prometheus is told."""

from collections.abc import Sized

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
PICTURES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter("onelook_requests", "Requests answered.", ("path", "status"), registry=own)
        self._seconds = Histogram(
            "onelook_request_seconds", "From a request to its answer.", ("path",), buckets=SECONDS, registry=own
        )
        self._pictures = Counter("onelook_pictures", "Pictures looked at.", ("model",), registry=own)
        self._batches = Histogram(
            "onelook_run_pictures", "Pictures of a run.", ("model",), buckets=PICTURES, registry=own
        )
        self._runs = Histogram("onelook_run_seconds", "Time of a run.", ("model",), buckets=SECONDS, registry=own)
        self._waiting = Gauge("onelook_waiting_pictures", "Pictures that wait for a run.", ("model",), registry=own)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; `path` is a route and not what clients make of it, so that there are few."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def run(self, model: str, pictures: int, seconds: float) -> None:
        """Count a run of a model."""
        self._pictures.labels(model).inc(pictures)
        self._batches.labels(model).observe(pictures)
        self._runs.labels(model).observe(seconds)

    def watch(self, model: str, queue: Sized) -> None:
        """Tell of the length of a model's queue."""
        self._waiting.labels(model).set_function(lambda: len(queue))

    def forget(self, model: str) -> None:
        """Of a model that was unloaded, its queue."""
        self._waiting.remove(model)

    def text(self) -> bytes:
        """Prometheus's text format 0.0.4."""
        return generate_latest(self._registry)
