"""Cases over REST: what is asked, and what a server answers."""

import dataclasses
import http.client
import json
import typing

from serving import client, errors
from serving.conformance import judging


class Reply(typing.NamedTuple):
    """What came back: the HTTP status, and the body's JSON where it is some.

    Where nothing came back, the status is None and the body says why.
    """

    status: int | None
    body: object

    @property
    def lost(self):
        """Whether the server did not answer."""
        return self.status is None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: an HTTP status, and a body.

    `check` takes the body and returns what is wrong with it, or nothing.
    """

    status: int
    check: object = None

    def mismatch(self, reply):
        """Returns how a reply differs from this answer, or nothing."""
        if reply.status != self.status:
            return f"{reply.status} {reply.body!r:.200} instead of {self.status}"
        return None if self.check is None else self.check(reply.body)


@dataclasses.dataclass(frozen=True)
class Beside:
    """A second request of a case, and what its answer says about the first one's.

    `compare` takes the first Reply and the second, and returns what is wrong, or
    nothing.
    """

    method: str
    path: str
    body: bytes | None
    compare: object


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The HTTP method.
        path: The path.
        body: The bytes that are sent, if any.
        expected: TensorFlow Serving's Answer.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
        beside: A second request, where one answer alone does not tell.
    """

    name: str
    method: str
    path: str
    body: bytes | None
    expected: Answer
    deliberate: Answer | None = None
    why: str = ""
    beside: Beside | None = None


def check_address(address, timeout=60.0):
    """Raises `RequestError` for no `host:port`, or where nothing answers in HTTP."""
    client.check_address(address)
    found = _ask(
        address, Case("an answer", "GET", "/v1/models/any", None, Answer(404)), timeout
    )
    if found.status is None:
        raise errors.RequestError(f"{address} is no REST API: {found.body!r:.200}")


def run(address, chosen, timeout=60.0):
    """Sends each of the `chosen` cases over plain HTTP; yields the Results.

    Args:
        address: `host:port` of the REST API.
        chosen: The Cases.
        timeout: Seconds to wait for each.
    """

    def ask(call):
        return _ask(address, call, timeout)

    return judging.run(chosen, ask)


def _ask(address, call, timeout):
    try:
        connection = http.client.HTTPConnection(address, timeout=timeout)
        try:
            connection.request(call.method, call.path, call.body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return Reply(None, str(error))
    try:
        return Reply(answer.status, json.loads(content))
    except (ValueError, RecursionError):
        return Reply(answer.status, None)
