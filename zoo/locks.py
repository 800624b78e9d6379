"""Locks among processes, which the system frees when their holder dies."""

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
        Whether the lock is taken. It is not where another process has it, or where
        there are no locks.

    Raises:
        OSError: If `wait` is on and the file system has no locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if wait:
            raise
        return False
    return True
