"""The batcher alone, with computations that a test can hold back."""

import concurrent.futures
import math
import threading
import time

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from serving import batching, errors


class Held:
    """A computation (doubling) that waits to be let go, and records its batches."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)

    def __call__(self, inputs):
        self.batches.append(inputs[0].tolist())
        self.begun.release()
        self.gate.acquire()
        return [inputs[0] * 2]


@pytest.fixture
def callers():
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        yield pool


def rows(*values):
    return [np.array(values)]


def queue_up(batcher, callers, *requests, **options):
    """Submits requests one after the other, each surely behind the one before."""
    futures = []
    for request in requests:
        before = batcher.waiting_rows
        futures.append(callers.submit(batcher.submit, rows(*request), **options))
        until(lambda before=before: batcher.waiting_rows > before)
    return futures


def first(batcher, held, callers):
    """Keeps the batcher busy with a first request."""
    future = callers.submit(batcher.submit, rows(0))
    held.begun.acquire()
    return future


#: Batches are padded to powers of two.
PADDED = batching.BatchingOptions((1, 2, 4, 8, 16, 32))


def test_a_single_caller_is_computed_at_once_in_its_own_thread():
    threads = []

    def run(inputs):
        threads.append(threading.current_thread())
        return inputs

    batcher = batching.Batcher(run, batching.BatchingOptions())
    batcher.submit(rows(1))
    assert threads == [threading.current_thread()]


def test_what_queues_up_is_computed_together_and_padded(callers):
    held = Held()
    batcher = batching.Batcher(held, PADDED)
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, (1,), (2, 3))
    held.gate.release(2)
    assert busy.result()[0].tolist() == [0]
    assert [f.result()[0].tolist() for f in futures] == [[2], [4, 6]]
    assert held.batches == [[0], [1, 2, 3, 3]]


def test_a_batch_stops_below_rather_than_fill_up_with_padding(callers):
    held = Held()
    batcher = batching.Batcher(held, PADDED)
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, *[(k,) for k in range(1, 6)])
    held.gate.release(3)
    for future in (busy, *futures):
        future.result()
    assert held.batches == [[0], [1, 2, 3, 4], [5]]


def test_what_does_not_fit_stays_ahead_of_what_comes_later(callers):
    held, batches = Held(), []
    batcher = batching.Batcher(
        held,
        PADDED,
        on_batch=lambda rows, padded: batches.append((rows, padded)),
    )
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, *[(k,) for k in range(1, 11)])
    held.gate.release(3)
    for future in (busy, *futures):
        future.result()
    # Ten would be padded to sixteen: the last two wait, in their order.
    assert held.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10]]
    assert batches == [(1, 1), (8, 8), (2, 2)]
    assert batcher.waiting_rows == 0


def test_rows_and_padding_are_told_apart():
    batches = []
    batcher = batching.Batcher(
        lambda inputs: inputs,
        PADDED,
        on_batch=lambda rows, padded: batches.append((rows, padded)),
    )
    batcher.submit(rows(1, 2, 3))
    assert batches == [(3, 4)]


def test_nothing_is_padded_where_no_sizes_are_known():
    batcher = batching.Batcher(
        lambda inputs: [inputs[0] / inputs[0].sum()], batching.BatchingOptions()
    )
    (shares,) = batcher.submit([np.array([1.0, 2.0, 5.0])])
    assert shares.tolist() == [0.125, 0.25, 0.625]


def test_every_output_has_all_rows():
    batcher = batching.Batcher(
        lambda inputs: [inputs[0], inputs[0][:1]], batching.BatchingOptions()
    )
    with pytest.raises(errors.ServingError, match="0th dimension does not equal"):
        batcher.submit(rows(1, 2))


def test_the_parts_of_a_large_request_have_its_deadline():
    def slow(inputs):
        batches.append(inputs[0].tolist())
        time.sleep(max(0, deadline + 0.01 - time.monotonic()))
        return inputs

    batches = []
    deadline = time.monotonic() + 1
    batcher = batching.Batcher(slow, batching.BatchingOptions(max_batch_size=2))
    with pytest.raises(errors.ServingError) as caught:
        batcher.submit(rows(1, 2, 3, 4), deadline=deadline)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert batches == [[1, 2]]


def test_the_sizes_of_the_model_are_the_ones_computed(callers):
    held = Held()
    held.gate.release(2)
    options = batching.BatchingOptions().with_sizes({1, 6})
    batcher = batching.Batcher(held, options)
    batcher.submit(rows(*range(5)))
    assert held.batches == [[0, 1, 2, 3, 4, 4]]
    assert len(batcher.submit(rows(*range(6)))[0]) == 6
    assert options.with_sizes({1, 2}) == options


def test_large_requests_are_split_or_refused():
    batcher = batching.Batcher(
        lambda inputs: inputs, batching.BatchingOptions(max_batch_size=4)
    )
    assert batcher.submit(rows(*range(11)))[0].tolist() == list(range(11))
    differences = batching.Batcher(
        lambda inputs: [inputs[0] - inputs[1]],
        batching.BatchingOptions(max_batch_size=4),
    )
    numbers = np.arange(11)
    (found,) = differences.submit([3 * numbers, numbers])
    assert found.tolist() == (2 * numbers).tolist()
    strict = batching.BatchingOptions(max_batch_size=4, split_large_requests=False)
    with pytest.raises(errors.ServingError) as caught:
        batching.Batcher(lambda inputs: inputs, strict).submit(rows(*range(5)))
    assert caught.value.message == (
        "Task size 5 is larger than maximum input batch size 4"
    )
    assert len(batcher.submit(rows(*range(400)))[0]) == 400
    with pytest.raises(errors.ServingError, match="401 rows are more than") as caught:
        batcher.submit(rows(*range(401)))
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_the_sizes_of_a_model_change_neither_a_given_limit_nor_the_queue():
    small = batching.BatchingOptions().with_sizes((1, 2))
    assert small.allowed_batch_sizes == (1, 2)
    # 100 batches of 32 rows before, and as many rows now.
    assert small.max_enqueued_batches * 2 == 3200
    odd = batching.BatchingOptions().with_sizes((1, 6))
    assert odd.max_waiting_rows == 534 * 6  # 533 batches would be two rows short.
    given = batching.BatchingOptions(max_batch_size=64, split_large_requests=False)
    assert given.with_sizes((1, 8, 32)).allowed_batch_sizes == (1, 8, 32, 64)
    assert given.with_sizes((1, 128)).allowed_batch_sizes == (1, 64)


def test_a_large_request_ends_when_its_caller_hangs_up():
    hang_up = []

    def run(inputs):
        batches.append(inputs[0].tolist())
        for callback in hang_up:
            callback()
        return inputs

    batches = []
    batcher = batching.Batcher(run, batching.BatchingOptions(max_batch_size=2))
    with pytest.raises(errors.ServingError) as caught:
        batcher.submit(rows(1, 2, 3, 4), on_cancel=hang_up.append)
    assert caught.value.code == grpc.StatusCode.CANCELLED
    assert batches == [[1, 2]]


def test_a_full_queue_refuses_at_once(callers):
    held = Held()
    options = batching.BatchingOptions(max_batch_size=2, max_enqueued_batches=1)
    batcher = batching.Batcher(held, options)
    busy = first(batcher, held, callers)
    waiting = queue_up(batcher, callers, (1,), (2,))
    with pytest.raises(errors.ServingError, match=r"queue .* is full") as caught:
        batcher.submit(rows(3))
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    held.gate.release(3)
    for future in (busy, *waiting):
        future.result()


def test_expired_work_is_dropped_before_it_is_computed(callers):
    held = Held()
    batcher = batching.Batcher(held, batching.BatchingOptions())
    busy = first(batcher, held, callers)
    soon = time.monotonic() + 0.05
    late = callers.submit(batcher.submit, rows(13), deadline=soon)
    until(lambda: batcher.waiting_rows or late.done())
    patient = callers.submit(batcher.submit, rows(1))
    with pytest.raises(errors.ServingError) as caught:
        late.result()
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: batcher.waiting_rows == 1)
    with pytest.raises(errors.ServingError):
        batcher.submit(rows(13), deadline=time.monotonic() - 1)
    held.gate.release(2)
    busy.result()
    patient.result()
    assert held.batches == [[0], [1]]
    assert batcher.waiting_rows == 0


def test_work_whose_time_is_over_is_dropped_though_its_caller_still_waits(
    callers, monkeypatch
):
    monkeypatch.setattr(batching, "_timeout", lambda deadline: 600)
    held = Held()
    batcher = batching.Batcher(held, batching.BatchingOptions())
    busy = first(batcher, held, callers)
    soon = time.monotonic() + 0.1
    late = callers.submit(batcher.submit, rows(13), deadline=soon)
    until(lambda: batcher.waiting_rows or late.done())
    until(lambda: time.monotonic() > soon)
    held.gate.release(2)
    busy.result()
    with pytest.raises(errors.ServingError) as caught:
        late.result()
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert held.batches == [[0]]
    assert batcher.waiting_rows == 0


def test_cancelled_work_is_dropped_before_it_is_computed(callers):
    held = Held()
    batcher = batching.Batcher(held, batching.BatchingOptions())
    busy = first(batcher, held, callers)
    hang_up = []
    (gone,) = queue_up(batcher, callers, (13,), on_cancel=hang_up.append)
    until(lambda: hang_up)
    hang_up[0]()
    with pytest.raises(errors.ServingError, match="CANCELLED"):
        gone.result()
    held.gate.release()
    busy.result()
    assert held.batches == [[0]]
    hang_up[0]()  # Too late, and harmless.


def test_an_error_is_paid_by_its_own_request(callers):
    gate = threading.Semaphore(0)
    begun = threading.Semaphore(0)

    def run(inputs):
        begun.release()
        gate.acquire()
        if 13 in inputs[0]:
            raise errors.invalid_argument("13")
        return inputs

    batcher = batching.Batcher(run, batching.BatchingOptions())
    busy = callers.submit(batcher.submit, rows(0))
    begun.acquire()
    futures = queue_up(batcher, callers, (1,), (13,), (2,))
    gate.release(100)
    busy.result()
    assert futures[0].result()[0].tolist() == [1]
    assert futures[2].result()[0].tolist() == [2]
    with pytest.raises(errors.ServingError, match="13"):
        futures[1].result()


def test_an_unforeseen_error_leaves_nobody_waiting(callers):
    held = Held()

    def run(inputs):
        held(inputs)
        raise ZeroDivisionError

    batcher = batching.Batcher(run, batching.BatchingOptions())
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, (1,), (2,))
    held.gate.release(100)
    for future in (busy, *futures):
        with pytest.raises((ZeroDivisionError, errors.ServingError)):
            future.result()
    held.gate.release(100)
    with pytest.raises(ZeroDivisionError):
        batcher.submit(rows(4))


@pytest.fixture
def patient(monkeypatch):
    """Makes a batcher whose pauses would never end."""
    monkeypatch.setattr(batching, "_PAUSE_SECONDS", 1e6)

    def make(compute, max_batch_size):
        options = batching.BatchingOptions(
            max_batch_size=max_batch_size, batch_timeout_micros=10**12
        )
        return batching.Batcher(compute, options)

    return make


def test_a_batch_waits_for_as_many_rows_as_there_were_of_late(callers, patient):
    """A single caller does not notice that pauses would never end."""
    held = Held()
    held.gate.release()
    batcher = patient(held, max_batch_size=8)
    batcher.submit(rows(0))
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, (1,), (2,))
    held.gate.release(2)
    busy.result()
    # Three were there, and two are queued: it waits for a third.
    assert len(held.batches) == 2
    futures.append(callers.submit(batcher.submit, rows(3)))
    for future in futures:
        future.result()
    assert sorted(set(held.batches[-1])) == [1, 2, 3]


def test_a_batch_waits_for_no_more_rows_than_it_takes(callers, patient):
    held = Held()
    batcher = patient(held, max_batch_size=2)
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, (1,), (2,))
    held.gate.release(2)
    for future in (busy, *futures):
        future.result()
    # Three were there, and two are all that one takes.
    assert held.batches == [[0], [1, 2]]


def test_one_that_is_alone_waits_for_those_just_answered(callers, patient):
    held = Held()
    batcher = patient(held, max_batch_size=8)
    busy = first(batcher, held, callers)
    queued = queue_up(batcher, callers, (1,), (2,))
    held.gate.release(3)
    busy.result()  # Three were there, so the two wait for a third.
    queued.append(callers.submit(batcher.submit, rows(3)))
    for future in queued:
        future.result()
    alone = callers.submit(batcher.submit, rows(4))
    with pytest.raises(concurrent.futures.TimeoutError):
        alone.result(timeout=0.1)
    others = [callers.submit(batcher.submit, rows(value)) for value in (5, 6)]
    for future in (alone, *others):
        future.result()
    assert sorted(set(held.batches[-1])) == [4, 5, 6]


def test_one_caller_never_waits_however_many_rows_it_asked_for(patient):
    batcher = patient(lambda inputs: inputs, max_batch_size=2)
    for values in ((1, 2), (3,), (4, 5, 6), (7,)):
        assert batcher.submit(rows(*values))[0].tolist() == list(values)


@pytest.mark.parametrize(
    ("timeout_micros", "pause_seconds"), [(10**12, 0.002), (0, 1e6), (1000, 1e6)]
)
def test_a_batch_waits_no_longer_than_its_pause_nor_its_timeout(
    callers, monkeypatch, timeout_micros, pause_seconds
):
    """Nobody comes; were the longer of the two waited for, this would not end."""
    monkeypatch.setattr(batching, "_PAUSE_SECONDS", pause_seconds)
    held = Held()
    options = batching.BatchingOptions(
        max_batch_size=8, batch_timeout_micros=timeout_micros
    )
    batcher = batching.Batcher(held, options)
    busy = first(batcher, held, callers)
    futures = queue_up(batcher, callers, (1,), (2,))
    held.gate.release(2)
    for future in (busy, *futures):
        future.result()
    assert sorted(held.batches[-1]) == [1, 2]


def test_several_batches_at_once(callers):
    held = Held()
    options = batching.BatchingOptions(num_batch_threads=2)
    batcher = batching.Batcher(held, options)
    futures = [first(batcher, held, callers), first(batcher, held, callers)]
    futures += queue_up(batcher, callers, (1,))
    held.gate.release(3)
    for future in futures:
        future.result()
    assert len(held.batches) == 3


@given(
    requests=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    maximum=st.integers(1, 8),
    threads=st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_every_request_gets_its_own_rows(requests, maximum, threads):
    sizes = sorted({*(size for size in (1, 2, 4) if size < maximum), maximum})

    def run(inputs):
        assert len(inputs[0]) in sizes
        return [inputs[0] * 2, inputs[0][:, None] + [0, 1]]

    options = batching.BatchingOptions(tuple(sizes), num_batch_threads=threads)
    batcher = batching.Batcher(run, options)
    starts = np.cumsum([0, *requests])
    with concurrent.futures.ThreadPoolExecutor(8) as callers:
        futures = [
            callers.submit(batcher.submit, [np.arange(start, start + count)], math.inf)
            for start, count in zip(starts[:-1], requests, strict=True)
        ]
        for start, count, future in zip(starts[:-1], requests, futures, strict=True):
            doubled, pairs = future.result()
            expected = np.arange(start, start + count)
            np.testing.assert_array_equal(doubled, expected * 2)
            np.testing.assert_array_equal(pairs, expected[:, None] + [0, 1])
    assert batcher.waiting_rows == 0


def test_a_deadline_ends_the_wait_for_a_batch_that_runs(callers, monkeypatch):
    both_run = threading.Event()

    def timeout(deadline):
        both_run.wait()
        return 0

    monkeypatch.setattr(batching, "_timeout", timeout)
    held = Held()
    batcher = batching.Batcher(held, batching.BatchingOptions(batch_timeout_micros=0))
    busy = first(batcher, held, callers)
    (leading,) = queue_up(batcher, callers, (1,))
    (late,) = queue_up(batcher, callers, (2,), deadline=time.monotonic() + 600)
    held.gate.release()
    busy.result()
    held.begun.acquire()
    both_run.set()
    with pytest.raises(errors.ServingError) as caught:
        late.result(timeout=60)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    held.gate.release()
    assert leading.result()[0].tolist() == [2]
    assert held.batches == [[0], [1, 2]]
