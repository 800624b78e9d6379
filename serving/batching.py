"""Joins requests of one signature into batches.

There are no batching threads. The first request to arrive computes at once, in its
own thread: a single caller never waits for anybody. Requests that arrive meanwhile
queue up, and when the computation ends, the first of them takes the lead and
computes for all that fit. So batches grow exactly when there is more work than
the processor can do one by one. Where several are queued, or a batch of several was
answered a moment ago, it first waits a few milliseconds for those answered: they tend
to ask again, and to compute for one of them while the others come costs them all.
"""

import bisect
import collections
import dataclasses
import math
import threading
import time

import grpc
import numpy as np

from serving import errors

# The most rows of one run where neither a batching file nor a model says it.
DEFAULT_MAX_ROWS = 32

# A batch is padded up to the next allowed size only where at most this share of
# it is padding; otherwise it stops at the size below, and the rest goes next.
_MAX_PADDING = 0.25

# When nobody has come for so long, a batch waits no longer.
_PAUSE_SECONDS = 0.004


@dataclasses.dataclass(frozen=True)
class BatchingOptions:
    """How requests are joined, in the terms of TensorFlow Serving's batching file.

    Attributes:
        allowed_batch_sizes: The sizes batches are padded to, ascending. Empty: the
            sizes of the model's warmup records. Where these say none, nothing is
            padded, so that a model's rows may depend on one another in lone requests.
        max_batch_size: The most rows of one run. None: the largest of the sizes that
            batches are padded to, or 32 where nothing is padded.
        batch_timeout_micros: How long a batch may wait for others, where more than one
            request is there or was a moment ago; it waits only while more come, and
            for no more than there were of late.
        max_enqueued_batches: The queue holds this many full batches.
        num_batch_threads: How many batches of one signature are computed at once.
        split_large_requests: Whether a request of more rows than one run takes is
            computed in parts, up to what the queue holds, or refused as
            TensorFlow Serving does. A batching file that sets a limit means that.
    """

    allowed_batch_sizes: tuple = ()
    max_batch_size: int | None = None
    batch_timeout_micros: int = 10_000
    max_enqueued_batches: int = 100
    num_batch_threads: int = 1
    split_large_requests: bool = True

    def with_sizes(self, sizes):
        """Returns these options with batch sizes that a model is known to compute.

        Args:
            sizes: The sizes; one alone says nothing and is ignored, as is every
                size where these options already list the allowed ones. A limit that
                a batching file sets stays.
        """
        sizes = tuple(sorted(set(sizes)))
        if self.allowed_batch_sizes or len(sizes) < 2:
            return self
        batches = self.max_enqueued_batches
        if self.max_batch_size is None:
            # Clients send as many rows at once, however small the batches are.
            batches = max(batches, -(-batches * self.max_rows // sizes[-1]))
        else:
            below = (size for size in sizes if size < self.max_batch_size)
            sizes = (*below, self.max_batch_size)
        return dataclasses.replace(
            self, allowed_batch_sizes=sizes, max_enqueued_batches=batches
        )

    def check_rows(self, rows):
        """Raises `ServingError` for a request of more rows than may come at once."""
        if not self.split_large_requests and rows > self.max_rows:
            raise errors.invalid_argument(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self.max_rows}"
            )
        if rows > self.max_waiting_rows:
            raise errors.ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{rows} rows are more than the queue ever holds, "
                f"{self.max_waiting_rows}; ask for fewer at a time",
            )

    @property
    def max_waiting_rows(self):
        """How many rows the queue holds."""
        return self.max_enqueued_batches * self.max_rows

    @property
    def max_rows(self):
        """The most rows of one run, padding included."""
        if self.allowed_batch_sizes:
            return self.allowed_batch_sizes[-1]
        return self.max_batch_size or DEFAULT_MAX_ROWS


# What becomes of a task. Only WAITING tasks are in the queue.
_WAITING, _LEADING, _RUNNING, _DONE = range(4)


class _Task:
    """The rows of one request, or a part of them."""

    __slots__ = ("arrays", "deadline", "error", "outputs", "rows", "state", "wakeup")

    def __init__(self, arrays, deadline):
        self.arrays = arrays
        self.rows = len(arrays[0])
        self.deadline = deadline
        self.outputs = None
        self.error = None
        self.state = _LEADING
        self.wakeup = None

    def wait_in_line(self):
        self.state = _WAITING
        self.wakeup = threading.Lock()  # The cheapest thing that can be waited for.
        self.wakeup.acquire()

    def finish(self, outputs=None, error=None):
        self.outputs = outputs
        self.error = error
        self.state = _DONE


class Batcher:
    """Batches the requests for one set of outputs of one signature.

    Args:
        run: Computes a list of outputs from a list of inputs, all of the same
            number of rows.
        options: The BatchingOptions.
        on_batch: Called with (rows, padded rows) for each batch computed.
    """

    def __init__(self, run, options, on_batch=None):
        self._run = run
        self._options = options
        self._sizes = options.allowed_batch_sizes
        self._max_rows = options.max_rows
        self._max_waiting_rows = options.max_waiting_rows
        self._on_batch = on_batch or (lambda rows, padded: None)
        self._queue = collections.deque()
        self._waiting_rows = 0
        self._leaders = 0
        self._lock = threading.Lock()
        self._recent_rows = 0
        self._answered = -math.inf
        self._wanted_rows = math.inf
        self._enough = threading.Condition(self._lock)

    @property
    def waiting_rows(self):
        """How many rows are in the queue."""
        return self._waiting_rows

    def submit(self, arrays, deadline=math.inf, on_cancel=None):
        """Computes the outputs for the rows of `arrays` among those of others.

        Args:
            arrays: The inputs, of equal length, already known to be right: a batch
                is computed for all of its requests together.
            deadline: The `time.monotonic()` at which nobody waits any more.
            on_cancel: Registers a function to call when the caller goes away.

        Returns:
            The list of outputs.
        """
        rows = len(arrays[0])
        if rows <= self._max_rows:
            return self._submit_part(arrays, deadline, on_cancel)
        self._options.check_rows(rows)
        cancelled = threading.Event()
        if on_cancel is not None:
            on_cancel(cancelled.set)  # Parts that compute at once hear of nothing.
        parts = []
        for start in range(0, rows, self._max_rows):
            if cancelled.is_set():
                raise errors.given_up(deadline)
            part = [array[start : start + self._max_rows] for array in arrays]
            parts.append(self._submit_part(part, deadline, on_cancel))
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _submit_part(self, arrays, deadline, on_cancel):
        task = _Task(arrays, deadline)
        if deadline <= time.monotonic():
            raise errors.deadline_exceeded()
        with self._lock:
            if self._leaders < self._options.num_batch_threads:
                self._leaders += 1
            else:
                self._enqueue(task)
        if task.state == _WAITING:
            if on_cancel is not None:
                on_cancel(lambda: self._cancel(task))
            self._wait(task)
        if task.state == _LEADING:
            self._lead(task)
        self._answered = time.monotonic()
        if task.error is not None:
            raise task.error
        return task.outputs

    def _enqueue(self, task):
        if self._waiting_rows + task.rows > self._max_waiting_rows:
            raise errors.ServingError(
                grpc.StatusCode.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is "
                f"full; {self._waiting_rows} rows are waiting",
            )
        task.wait_in_line()
        self._queue.append(task)
        self._waiting_rows += task.rows
        if self._waiting_rows >= self._wanted_rows:
            self._enough.notify_all()

    def _wait(self, task):
        if task.deadline == math.inf:
            task.wakeup.acquire()
        elif not task.wakeup.acquire(timeout=_timeout(task.deadline)):
            self._withdraw(task, errors.deadline_exceeded())
            with self._lock:
                if task.state == _RUNNING:  # Too late to stop it; nobody will look.
                    raise errors.deadline_exceeded()

    def _cancel(self, task):
        if task.state == _WAITING:  # gRPC says so of every call, answered ones too.
            self._withdraw(task, errors.given_up(task.deadline))

    def _withdraw(self, task, error):
        """Drops a task that is still waiting, before anything is computed for it."""
        with self._lock:
            if task.state != _WAITING:
                return
            self._queue.remove(task)
            self._waiting_rows -= task.rows
            task.finish(error=error)
        task.wakeup.release()

    def _lead(self, task):
        batch = [task]
        try:
            with self._lock:
                batch += self._take(task)
            self._compute(batch)
        finally:
            self._hand_over(batch)

    def _take(self, task):
        """Returns the waiting tasks that are computed together with `task`."""
        rows = task.rows
        self._gather(min(self._recent_rows, self._max_rows) - rows)
        taken = []
        while other := self._next_waiting(self._max_rows - rows):
            other.state = _RUNNING
            taken.append(other)
            rows += other.rows
        padded = self._padded(rows)
        if taken and padded - rows > _MAX_PADDING * padded:
            below = self._sizes[bisect.bisect_left(self._sizes, rows) - 1]
            while taken and rows > below:
                other = taken.pop()
                other.state = _WAITING
                self._queue.appendleft(other)
                self._waiting_rows += other.rows
                rows -= other.rows
        return taken

    def _gather(self, wanted):
        """Waits until so many rows are queued, as long as more come.

        Where none are, it waits only for callers who were answered a moment ago.
        """
        now = time.monotonic()
        end = now + self._options.batch_timeout_micros / 1e6
        before = -1 if now < self._answered + _PAUSE_SECONDS else 0
        while before < self._waiting_rows < wanted and now < end:
            before = self._waiting_rows
            self._wanted_rows = wanted
            self._enough.wait(min(_PAUSE_SECONDS, end - now))
            now = time.monotonic()
        self._wanted_rows = math.inf

    def _next_waiting(self, max_rows):
        """Takes the first task from the queue, unless it has more than `max_rows`.

        Tasks whose time has run out are dropped on the way, uncomputed.
        """
        now = time.monotonic()
        while self._queue and self._queue[0].rows <= max_rows:
            task = self._queue.popleft()
            self._waiting_rows -= task.rows
            if task.deadline > now:
                return task
            task.finish(error=errors.deadline_exceeded())
            task.wakeup.release()
        return None

    def _padded(self, rows):
        """Returns to how many rows so many are padded."""
        if not self._sizes:
            return rows
        return self._sizes[bisect.bisect_left(self._sizes, rows)]

    def _compute(self, batch):
        """Finishes every task of `batch`, each with its own rows or its own error."""
        rows = sum(task.rows for task in batch)
        try:
            outputs = self._run_padded([task.arrays for task in batch], rows)
        except errors.ServingError as error:
            if len(batch) == 1:
                batch[0].finish(error=error)
            else:  # One of them did it: let only that one pay.
                for task in batch:
                    self._compute([task])
            return
        start = 0
        for task in batch:
            end = start + task.rows
            task.finish(outputs=[output[start:end] for output in outputs])
            start = end

    def _run_padded(self, requests, rows):
        padded = self._padded(rows)
        inputs = [
            # Padding repeats a real row, the only kind surely fit to compute.
            np.concatenate([*arrays, arrays[-1][-1:].repeat(padded - rows, axis=0)])
            if len(arrays) > 1 or padded > rows
            else arrays[0]
            for arrays in zip(*requests, strict=True)
        ]
        self._on_batch(rows, padded)
        outputs = self._run(inputs)
        if any(len(output) != padded for output in outputs):
            raise errors.failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the "
                "0th dimension sizes of the input tensors"
            )
        return outputs

    def _hand_over(self, batch):
        """Lets the next waiting task lead, then wakes those that are done."""
        with self._lock:
            # Callers ask again once they are answered: so many rows are about. One
            # caller alone is not waited for, whatever it asks next.
            others = len(batch) > 1 or self._waiting_rows
            rows = self._waiting_rows + sum(task.rows for task in batch)
            self._recent_rows = rows if others else 0
            successor = self._next_waiting(self._max_rows)
            if successor is None:
                self._leaders -= 1
            else:
                successor.state = _LEADING
        if successor is not None:
            successor.wakeup.release()
        for task in batch[1:]:
            if task.state != _DONE:  # The run died of something unforeseen.
                task.finish(
                    error=errors.ServingError(
                        grpc.StatusCode.INTERNAL, "Internal error"
                    )
                )
            task.wakeup.release()


def _timeout(deadline):
    return min(max(deadline - time.monotonic(), 0), threading.TIMEOUT_MAX)
