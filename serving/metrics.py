"""What the server counts, for Prometheus."""

import threading
import time

import grpc
import prometheus_client

from serving import errors

_LATENCY_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
_ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The counters of one server, in a registry of their own.

    Args:
        max_concurrent_requests: How many requests may be answered at once.
    """

    def __init__(self, max_concurrent_requests):
        self.max_concurrent_requests = max_concurrent_requests
        self.registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "serving_requests",
            "Requests answered, by gRPC status code",
            ["api", "method", "model", "code"],
            registry=self.registry,
        )
        self._latency = prometheus_client.Histogram(
            "serving_request_seconds",
            "From a request's arrival to its answer",
            ["api", "method", "model"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._batch_rows = prometheus_client.Histogram(
            "serving_batch_rows",
            "Rows computed together, before padding",
            ["model", "signature"],
            buckets=_ROW_BUCKETS,
            registry=self.registry,
        )
        self._padding = prometheus_client.Counter(
            "serving_padding_rows",
            "Rows computed only to fill a batch",
            ["model", "signature"],
            registry=self.registry,
        )
        self._in_flight = 0
        self._lock = threading.Lock()
        prometheus_client.Gauge(
            "serving_requests_in_flight",
            "Requests being answered",
            registry=self.registry,
        ).set_function(lambda: self._in_flight)
        self._children = {}

    def request(self, api, method):
        """Returns a context manager that counts one request from start to end.

        Its `model` is to be set once known, and only to the name of a model of ours:
        what strangers write must not become labels. A ServingError that passes gives
        the code.

        Args:
            api: `grpc` or `rest`.
            method: Which call it is.
        """
        return _Request(self, api, method)

    @property
    def in_flight(self):
        """How many requests are being answered."""
        return self._in_flight

    def _begin(self):
        with self._lock:
            self._in_flight += 1
            return self._in_flight

    def _end(self, request, code, seconds):
        with self._lock:
            self._in_flight -= 1
        key = (request.api, request.method, request.model, code.name)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = (
                self._requests.labels(*key),
                self._latency.labels(*key[:-1]),
            )
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def observe_batch(self, model, signature, rows, padded):
        """Counts one computed batch of any version.

        Series of versions would stay for ever when these are unloaded.
        """
        self._batch_rows.labels(model, signature).observe(rows)
        if padded > rows:
            self._padding.labels(model, signature).inc(padded - rows)

    def watch(self, manager):
        """Reports the served versions of a ModelManager at each scrape."""
        self.registry.register(_Versions(manager))

    def render(self):
        """Returns the exposition in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _Request:
    """Counts one request.

    Attributes:
        in_flight: How many requests there were at its start, itself included.
    """

    __slots__ = ("_metrics", "_start", "api", "in_flight", "method", "model")

    def __init__(self, metrics, api, method):
        self._metrics = metrics
        self.api = api
        self.method = method
        self.model = ""

    def check_limit(self):
        """Raises `ServingError` if it is one more than may be answered at once."""
        most = self._metrics.max_concurrent_requests
        if self.in_flight > most:
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{most} requests are being answered; try again later",
            )

    def __enter__(self):
        self._start = time.perf_counter()
        self.in_flight = self._metrics._begin()
        return self

    def __exit__(self, kind, error, traceback):
        if kind is None:
            code = grpc.StatusCode.OK
        elif isinstance(error, errors.ServingError):
            code = error.code
        else:
            code = grpc.StatusCode.INTERNAL
        self._metrics._end(self, code, time.perf_counter() - self._start)


class _Versions:
    """A collector of what is loaded right now."""

    def __init__(self, manager):
        self._manager = manager

    def collect(self):
        loaded = prometheus_client.metrics_core.GaugeMetricFamily(
            "serving_model_version",
            "1 for each version that is loaded",
            labels=["model", "version"],
        )
        for name, versions in self._manager.available().items():
            for version in versions:
                loaded.add_metric([name, str(version)], 1)
        failed = prometheus_client.metrics_core.GaugeMetricFamily(
            "serving_model_load_failures",
            "How many versions did not load",
            labels=["model"],
        )
        for name, count in self._manager.failures().items():
            if count:
                failed.add_metric([name], count)
        return [loaded, failed]
