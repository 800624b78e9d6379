"""What the server counts, for Prometheus."""

import prometheus_client

_LATENCY_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
_ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self):
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
        self._children = {}

    def observe(self, api, method, model, code, seconds):
        """Counts one answered request.

        Args:
            api: `grpc` or `rest`.
            method: Which call it was.
            model: The model asked for, or empty where it is not a model of ours:
                what strangers write must not become labels.
            code: The name of the gRPC status code.
            seconds: How long it took.
        """
        key = (api, method, model, code)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = (
                self._requests.labels(api, method, model, code),
                self._latency.labels(api, method, model),
            )
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def observe_batch(self, model, version, signature, rows, padded):
        """Counts one computed batch."""
        del version  # Series of unloaded versions would stay for ever.
        self._batch_rows.labels(model, signature).observe(rows)
        if padded > rows:
            self._padding.labels(model, signature).inc(padded - rows)

    def watch(self, manager):
        """Reports the served versions of a ModelManager at each scrape."""
        self.registry.register(_Versions(manager))

    def render(self):
        """Returns the exposition in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


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
        failures = {}
        for name, _, _ in self._manager.failures():
            failures[name] = failures.get(name, 0) + 1
        for name, count in failures.items():
            failed.add_metric([name], count)
        return [loaded, failed]
