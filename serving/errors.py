"""The two ways a request fails: refused before it is sent, or by the server."""

import math
import time

import grpc

# TensorFlow Serving cuts its messages here, and gRPC carries them in a header, in
# which every byte that is not ASCII takes three.
MAX_MESSAGE_BYTES = 1024

# gRPC rounds up the time that it tells a server a call has, of calls of up to 100
# seconds by as much. When the caller's time is over, the server's is not yet.
_ROUNDING_SECONDS = 0.1


class RequestError(ValueError):
    """A request that the model's own metadata says cannot work. Nothing was sent."""


class ServingError(Exception):
    """An answer other than OK, with its gRPC status code and its message."""

    def __init__(self, code, message):
        self.code = code
        cut = message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
        self.message = cut.decode("utf-8", "ignore")  # No half of a character.
        super().__init__(f"{code.name}: {self.message}")

    def __reduce__(self):
        """Pickles as what it was built from, for pools of processes."""
        return type(self), (self.code, self.message)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_code(number):
    """Returns the gRPC status code of an integer; TensorFlow numbers them alike."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def invalid_argument(message):
    """Returns the error for a request that is wrong whatever the server's state."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message):
    """Returns the error for a model, version or path that is not there."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message):
    """Returns the error for what the server's present state does not allow."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def deadline_exceeded(message="Deadline exceeded before the request was computed"):
    """Returns the error for work nobody waits for any more."""
    return ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, message)


def given_up(deadline=math.inf):
    """Returns the error for a call that its caller ended: at its deadline, or before.

    Args:
        deadline: The `time.monotonic()` that the call had as its deadline.
    """
    if time.monotonic() > deadline - _ROUNDING_SECONDS:
        return deadline_exceeded()
    return ServingError(grpc.StatusCode.CANCELLED, "Cancelled by the caller")
