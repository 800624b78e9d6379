"""Downloads of files that take their names only once their hashes are right."""

import contextlib
import functools
import http.client
import time
import urllib.error
import urllib.request

from zoo import files, locks

#: Seconds without a byte after which a download counts as broken.
_TIMEOUT = 30
#: How often a download that breaks off is tried, and seconds between two tries.
_TRIES, _PAUSE = 3, 1
#: Bytes that are read at a time.
_PIECE = 2**16


class _BrokenOff(ValueError):
    """A connection brought no whole file; another may."""


def read(url):
    """Returns the bytes at a URL.

    Raises:
        ValueError: If they can't be fetched, after a few tries.
    """

    def received():
        with _named(url), _response(url) as response:
            return response.read()

    return _in_tries(received)


@contextlib.contextmanager
def locked(folder):
    """Waits until no other process fetches into a folder of the cache.

    Where there are no locks, such as on Windows, it does not wait: there two processes
    must not fetch one file at once.
    """
    with open(folder / ".lock", "w") as file:
        locks.take(file, wait=True)
        yield


def fetch(url, path, digest):
    """Downloads a URL to a file, unless it is there; goes on where a try broke off.

    A connection that breaks off is tried again a few times.

    Args:
        url: Where from.
        path: Where to. What is there with another hash is replaced.
        digest: SHA-256 that it must have.

    Raises:
        ValueError: If it can't be fetched, or has another hash.
        OSError: If it can't be written.
    """
    partial = _partial(path)
    if _holds(path, digest):
        return
    # It does if a process died between the last byte and the final name.
    if not _holds(partial, digest):
        _in_tries(functools.partial(_receive, url, partial, digest))
    partial.replace(path)


def _in_tries(attempt):
    """Returns what a function does, called again where a connection breaks off."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(_BrokenOff):
            return attempt()
        time.sleep(_PAUSE)
    return attempt()


def _receive(url, partial, digest):
    """Downloads a URL to a file, of which the beginning may be there; see `fetch`."""
    have = partial.stat().st_size if partial.exists() else 0
    with _named(url):
        response = _response(url, start=have)
    # Without ranges, or from the beginning again, it is 200 and the whole file.
    mode = "ab" if response.status == 206 else "wb"
    with response, open(partial, mode) as file:
        while piece := _read_piece(url, response):
            file.write(piece)
        missing, is_chunked = response.length, response.chunked
    # Whatever the server says of its length.
    if _holds(partial, digest):
        return
    if missing:
        raise _BrokenOff(
            f"{url} can't be fetched: the connection broke off {missing} bytes before "
            "the end. The next try goes on from there."
        )
    received = files.sha256_of(partial)
    if missing is None and not is_chunked:
        # Then a connection that breaks off looks like the end of the file.
        raise _BrokenOff(
            f"{url} can't be fetched: the server does not say how long it is, and the "
            f"{partial.stat().st_size} bytes that came have the SHA-256 {received} "
            f"instead of {digest}. The connection broke off, or the file is damaged. "
            "The next try goes on from there."
        )
    partial.unlink()
    if mode == "ab":
        raise _BrokenOff(
            f"{url} can't be fetched: what an earlier try has left is no beginning of "
            "it. The next try starts anew."
        )
    raise ValueError(
        f"{url} is damaged: it has the SHA-256 {received}, and the metadata says "
        f"{digest}. Nothing was kept; try again."
    )


def _read_piece(url, response):
    with _named(url):
        return response.read(_PIECE)


@contextlib.contextmanager
def _named(url):
    """Makes one `ValueError` of whatever breaks while a block fetches from a URL."""
    try:
        yield
    except urllib.error.HTTPError as error:
        # From 500 on the fault is the server's, which may recover.
        kind = _BrokenOff if error.code >= 500 else ValueError
        raise kind(f"{url} can't be fetched: {error}") from error
    except (ConnectionError, TimeoutError, http.client.IncompleteRead) as error:
        raise _BrokenOff(f"{url} can't be fetched: {error}") from error
    # A malformed URL is an InvalidURL, a UnicodeError or some other ValueError.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ValueError(f"{url} can't be fetched: {error}") from error


def _response(url, start=0):
    request = urllib.request.Request(url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
    # The server's file is not that long: what we have is no beginning of it.
    return _response(url)


def _partial(path):
    return path.with_name(path.name + ".partial")


def _holds(path, digest):
    return path.exists() and files.sha256_of(path) == digest
