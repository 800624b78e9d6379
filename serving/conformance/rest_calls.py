"""Cases over REST: what is asked, and what a server answers."""

import dataclasses
import http.client
import json
import typing

from serving import client, errors
from serving.conformance import grpc_calls, judging


class Reply(typing.NamedTuple):
    """What came back: the HTTP status, and the body, read where it is JSON.

    Where nothing came back, the status is None and the body says why.
    """

    status: int | None
    body: object
    content_type: str | None = None

    @property
    def lost(self):
        """Whether the server did not answer."""
        return self.status is None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: an HTTP status, and JSON.

    `check` takes what the JSON says, and returns what is wrong with it, or nothing.
    Without it, anything may stand there.
    """

    status: int
    check: object = None

    def mismatch(self, reply):
        """Returns how a reply differs from this answer, or nothing."""
        if reply.status != self.status:
            return f"{reply.status} {reply.body!r:.200} instead of {self.status}"
        if self.check is None:
            return None
        if reply.content_type != "application/json":
            return f"the content type is {reply.content_type!r}"
        return self.check(reply.body)


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The HTTP method.
        path: The path.
        body: The bytes that are sent, if any.
        expected: TensorFlow Serving's Answer, or OneOf several.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
        beside: The same request over gRPC, and what its answer says about this one's.
    """

    name: str
    method: str
    path: str
    body: bytes | None
    expected: Answer | judging.OneOf
    deliberate: Answer | None = None
    why: str = ""
    beside: grpc_calls.Beside | None = None


def check_address(address, timeout=60.0):
    """Raises `RequestError` for no `host:port`, or where nothing answers in HTTP."""
    client.check_address(address)
    found = _ask(
        address, Case("an answer", "GET", "/v1/models/any", None, Answer(404)), timeout
    )
    if found.status is None:
        raise errors.RequestError(f"{address} is no REST API: {found.body!r:.200}")


def run(address, channel, chosen, timeout=60.0):
    """Sends each of the `chosen` cases over plain HTTP; yields the Results.

    Args:
        address: `host:port` of the REST API.
        channel: A gRPC channel to the same server.
        chosen: The Cases.
        timeout: Seconds to wait for each.
    """

    def ask(call):
        if isinstance(call, grpc_calls.Beside):
            return grpc_calls.ask(channel, call, timeout)
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
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    return Reply(answer.status, body, answer.headers.get_content_type())
