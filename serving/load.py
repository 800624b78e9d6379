"""A load generator: many callers, each asking again as soon as it is answered."""

import concurrent.futures
import dataclasses
import functools
import itertools
import threading
import time

import numpy as np

from serving import errors, signatures, tensors
from serving.client import Client


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run of requests took.

    Attributes:
        callers: How many asked at once.
        seconds: How long the run took.
        latencies: Seconds of each answered request, ascending.
        failures: {message: how often}.
    """

    callers: int
    seconds: float
    latencies: np.ndarray
    failures: dict

    @property
    def failed(self):
        """How many requests failed."""
        return sum(self.failures.values())

    @property
    def per_second(self):
        """Answered requests per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share):
        """Returns the latency in seconds that `share` percent stayed below."""
        if not len(self.latencies):
            return float("nan")
        return float(np.percentile(self.latencies, share))

    def __str__(self):
        p50, p90, p99 = (1e3 * self.percentile(share) for share in (50, 90, 99))
        return (
            f"{self.callers:4d} caller{'s' if self.callers > 1 else ' '}  "
            f"{self.per_second:8.1f} requests/s  "
            f"p50 {p50:7.2f} ms  p90 {p90:7.2f} ms  p99 {p99:7.2f} ms  "
            f"{self.failed} failed"
        )

    def histogram(self, width=50):
        """Returns the latencies as lines of text, in buckets that double."""
        if not len(self.latencies):
            return "no request was answered"
        milliseconds = 1e3 * self.latencies
        lowest = np.floor(np.log2(milliseconds[0]))
        highest = np.floor(np.log2(milliseconds[-1])) + 1
        edges = 2.0 ** np.arange(lowest, highest + 1)
        counts, _ = np.histogram(milliseconds, edges)
        return "\n".join(
            f"{low:9.2f} to {high:9.2f} ms {count:8d} "
            + "#" * int(np.ceil(width * count / counts.max()))
            for low, high, count in zip(edges, edges[1:], counts, strict=False)
        )


def measure(ask, callers, requests=None, seconds=None):
    """Calls `ask(k)` from many threads; k counts the requests.

    Args:
        ask: What one request does.
        callers: How many threads.
        requests: Stop after so many requests,
        seconds: or after so much time.

    Returns:
        A Report.

    Raises:
        Exception: What `ask` raised that is neither `ServingError` nor `RequestError`,
            at once: it is no failure of the server's.
    """
    numbers = itertools.count()
    latencies, failures = [], {}
    lock = threading.Lock()
    stopping = threading.Event()
    start = time.perf_counter()
    end = start + seconds if seconds is not None else float("inf")

    def call():
        while time.perf_counter() < end and not stopping.is_set():
            k = next(numbers)
            if requests is not None and k >= requests:
                return
            begin = time.perf_counter()
            try:
                ask(k)
            except (errors.ServingError, errors.RequestError) as error:
                with lock:
                    failures[str(error)] = failures.get(str(error), 0) + 1
            else:
                latencies.append(time.perf_counter() - begin)

    with concurrent.futures.ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call) for _ in range(callers)]
        try:
            for ended in concurrent.futures.as_completed(calls):
                ended.result()
        finally:  # Interrupted: what is asked already is answered, and no more asked.
            stopping.set()
    taken = time.perf_counter() - start
    return Report(callers, taken, np.sort(latencies), failures)


def bench(address, model, callers, seconds, rows=1, warm_up=20, **options):
    """Asks a server for rows of a model, at each number of `callers` in turn.

    It asks the signature `sample`, by seeds that count on, with zeros for labels and
    other conditions; where a model has none, `serving_default`, with rows of zeros, or
    of empty strings. Each request is sent once: one that the server refuses has failed.
    At each number of callers some requests come first that do not count.

    Args:
        address: `host:port` of the server.
        model: The model's name.
        callers: The numbers of concurrent callers.
        seconds: How long to ask at each.
        rows: How many rows a request.
        warm_up: Requests of one caller before all others.
        **options: As of Client, without `attempts`.

    Yields:
        A Report for each number of callers.
    """
    with Client(address, **options) as patient:
        ask = _question(patient, model, rows)
        for k in range(warm_up):
            ask(patient, k)
    with Client(address, attempts=1, **options) as client:
        ask_once = functools.partial(ask, client)
        for count in callers:
            # Connects, fetches the metadata, and has the server start its threads.
            measure(ask_once, count, requests=2 * count)
            yield measure(ask_once, count, seconds=seconds)


def _question(client, model, rows):
    """Returns a function that has a client ask for the k-th time."""
    found = client.metadata(model).signatures
    key = "sample" if "sample" in found else signatures.DEFAULT
    if key not in found or not found[key].batchable:
        raise errors.RequestError(
            f"model {model!r} has no signature sample, and no {signatures.DEFAULT} "
            f"with the batch as its only free dimension; it has {', '.join(found)}"
        )
    inputs = {
        name: np.full(
            (rows, *spec.row_shape),
            b"" if spec.data_type == tensors.DT_STRING else 0,
            tensors.numpy_type(spec.data_type),
        )
        for name, spec in found[key].inputs.items()
    }

    def ask(client, k):
        seeds = (
            {"seeds": np.arange(k * rows, (k + 1) * rows)} if key == "sample" else {}
        )
        client.predict(model, {**inputs, **seeds}, key)

    return ask
