"""Cases over gRPC: what is asked, and what a server answers."""

import dataclasses
import math
import typing

import google.protobuf.message
import grpc

from serving import messages
from serving.conformance import judging

OK = grpc.StatusCode.OK
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

# TensorFlow Serving cuts a message at 1024 characters; some versions say so after it.
MESSAGE_LIMIT = 1024
LONGEST_MESSAGE = MESSAGE_LIMIT + len("...TRUNCATED")

_LOST = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

_PATHS = {
    name: (f"/{service}/{name}", response)
    for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
    for name, _, response in messages.methods(service)
}


class Reply(typing.NamedTuple):
    """What came back: a code, a message, and the response of an OK."""

    code: grpc.StatusCode
    message: str
    response: object

    @property
    def lost(self):
        """Whether the server did not answer."""
        return self.code in _LOST


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server answers: a code, how its message starts, what an OK holds.

    `check` takes the response and returns what is wrong with it, or nothing.
    """

    code: grpc.StatusCode
    message: str = ""
    check: object = None

    def mismatch(self, reply):
        """Returns how a reply differs from this answer, or nothing."""
        if reply.code != self.code:
            return f"{reply.code.name} {reply.message!r} instead of {self.code.name}"
        if not reply.message.startswith(self.message):
            return f"the message {reply.message!r} instead of {self.message!r} …"
        if len(reply.message) > LONGEST_MESSAGE:
            return f"a message of {len(reply.message)} characters"
        if self.code == OK and self.check is not None:
            return self.check(reply.response)
        return None


@dataclasses.dataclass(frozen=True)
class Beside:
    """A second request of a case, and what its answer says about the first one's.

    `compare` takes the first Reply and the second, and returns what is wrong, or
    nothing.
    """

    method: str
    request: object
    compare: object
    timeout: float = math.inf


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the specification.

    Attributes:
        name: What is asked.
        method: The RPC.
        request: The message, or bytes that are none.
        expected: TensorFlow Serving's Answer, or OneOf several.
        deliberate: The embedded server's Answer where it differs on purpose.
        why: The harm that the difference avoids.
        beside: A second request, where one answer alone does not tell.
        timeout: Seconds to wait, if fewer than for other cases.
    """

    name: str
    method: str
    request: object
    expected: Answer | judging.OneOf
    deliberate: Answer | None = None
    why: str = ""
    beside: Beside | None = None
    timeout: float = math.inf


def run(channel, chosen, timeout=60.0):
    """Sends each of the `chosen` cases over a gRPC channel; yields the Results.

    Args:
        channel: The channel.
        chosen: The Cases.
        timeout: Seconds to wait for each answer, unless the case has fewer.
    """

    def ask_in_time(call):
        return ask(channel, call, timeout)

    return judging.run(chosen, ask_in_time)


def ask(channel, call, timeout):
    """Sends what a Case or a Beside asks, and returns the Reply.

    Raises:
        google.protobuf.message.DecodeError: If the answer is not the method's message.
    """
    path, response_class = _PATHS[call.method]
    request = call.request
    if isinstance(request, google.protobuf.message.Message):
        request = request.SerializeToString()
    try:
        answered = channel.unary_unary(path)(
            request, timeout=min(timeout, call.timeout)
        )
    except grpc.RpcError as error:
        return Reply(error.code(), error.details() or "", None)
    return Reply(OK, "", response_class.FromString(answered))
