"""Cases over gRPC: what is asked, and what a server answers."""

import dataclasses
import typing

import google.protobuf.message
import grpc

from serving import messages
from serving.conformance import judging

# TensorFlow Serving cuts a message at 1024 characters; some versions say so after it.
MESSAGE_LIMIT = 1024
LONGEST_MESSAGE = MESSAGE_LIMIT + len("...TRUNCATED")

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
        if self.code == grpc.StatusCode.OK and self.check is not None:
            return self.check(reply.response)
        return None


@dataclasses.dataclass(frozen=True)
class Beside:
    """A second request of a case, and what its answer says about the first one's.

    `compare` takes the first response and the second Reply, and returns what is wrong,
    or nothing.
    """

    method: str
    request: object
    compare: object


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
        timeout: Seconds to wait.
    """

    name: str
    method: str
    request: object
    expected: Answer | judging.OneOf
    deliberate: Answer | None = None
    why: str = ""
    beside: Beside | None = None
    timeout: float = 60.0


def run(channel, chosen):
    """Sends each of the `chosen` cases over a gRPC channel; yields the Results."""
    for case in chosen:
        reply = _ask(channel, case.method, case.request, case.timeout)
        result = judging.judge(case, reply)
        if result.outcome == "agrees" and case.beside is not None:
            beside = case.beside
            other = _ask(channel, beside.method, beside.request, case.timeout)
            detail = beside.compare(reply.response, other)
            if detail:
                result = judging.Result(case, "fails", detail)
        yield result


def _ask(channel, method, request, timeout):
    path, response_class = _PATHS[method]
    if isinstance(request, google.protobuf.message.Message):
        request = request.SerializeToString()
    try:
        answered = channel.unary_unary(path)(request, timeout=timeout)
    except grpc.RpcError as error:
        return Reply(error.code(), error.details() or "", None)
    return Reply(grpc.StatusCode.OK, "", response_class.FromString(answered))
