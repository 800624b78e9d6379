"""Locks among processes, which the system frees when their holder dies."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows, where nobody gets one.
    fcntl = None


def take(descriptor, wait):
    """Takes the lock of an open file or folder; closing that gives it back.

    Args:
        descriptor: File descriptor, or an object that has one.
        wait: Whether to wait for the process that has the lock.

    Returns:
        Whether the lock is taken. It is not where the system, or the file system, has
        no locks.

    Raises:
        BlockingIOError: If another process has it, and `wait` is off.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:  # No locks here.
        return False
    return True


@contextlib.contextmanager
def alone_in(folder):
    """Keeps other processes that ask for it out of a folder while a block runs.

    Where the system, or the file system, has no locks, nobody is kept out.

    Args:
        folder: The folder, which exists.

    Yields:
        Whether others are kept out.

    Raises:
        BlockingIOError: If another process is in it.
    """
    if fcntl is None:  # Windows does not open folders either.
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield take(descriptor, wait=False)
    finally:
        os.close(descriptor)
