"""The open connections of the REST server, which are threads and must stay few."""

import contextlib
import selectors
import socket
import threading

# Beyond these, a connection is opened only in the place of an idle one.
MAX_CONNECTIONS = 128

# One that takes no file descriptor; Windows has no other.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Connections:
    """The open connections: no more than allowed, and soon none once the server stops.

    One that is idle, which is one without a byte of a next request, may be closed at
    any time. Its thread may not have seen yet that a request came.
    """

    def __init__(self):
        self.stopping = False
        self._open = set()
        self._idle = {}  # A set in order: the one that has been idle longest first.
        self._changed = threading.Condition()

    def add(self, connection):
        """Takes in a connection, which is idle so far; False if there is no room."""
        with self._changed:
            if self.stopping:
                _shut(connection, socket.SHUT_RD)
            if len(self._open) >= MAX_CONNECTIONS:
                there = readable(self._idle)
                silent = [each for each in self._idle if each not in there]
                if not silent:
                    return False
                self._cut(silent[0])
            self._open.add(connection)
            self._idle[connection] = None
            return True

    def begin(self, connection):
        """Notes that bytes arrive; False where the connection was cut before."""
        with self._changed:
            self._idle.pop(connection, None)
            return connection in self._open

    def end(self, connection):
        """Notes that the connection is idle."""
        with self._changed:
            if self.stopping:
                _shut(connection, socket.SHUT_RD)
            self._idle[connection] = None

    def remove(self, connection):
        """Notes that the connection is about to be closed."""
        with self._changed:
            self._open.discard(connection)
            self._idle.pop(connection, None)
            self._changed.notify_all()

    def stop(self):
        """Takes no more requests, and has connections close after their answers.

        A request that is there although its thread has not seen it yet is answered.
        """
        with self._changed:
            self.stopping = True
            for connection in self._idle:
                _shut(connection, socket.SHUT_RD)

    def wait(self, seconds):
        """Waits for all to be closed, and cuts those that are not by then."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open, timeout=seconds)
            for connection in list(self._open):
                self._cut(connection)

    def _cut(self, connection):
        """Ends what its thread waits for; the thread then closes it."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        _shut(connection, socket.SHUT_RDWR)


def readable(connections):
    """Returns the set of those where bytes, or their end, are there to be read."""
    with Selector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        return {key.fileobj for key, _ in selector.select(0)}


def _shut(connection, directions):
    with contextlib.suppress(OSError):
        # Below TLS, whose state is the thread's own.
        socket.socket.shutdown(connection, directions)
