"""Waiting for what other threads and processes do."""

import time


def until(condition, seconds=60):
    """Waits until `condition()` holds; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so after {seconds} seconds"
        time.sleep(0.001)
