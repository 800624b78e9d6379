"""What stands before the methods of the gRPC server: limits, and what counts calls."""

import threading
import time

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from serving import messages

# A stream holds a thread for as long as its caller likes, even before its message is
# there; so few may be open. By the beginnings of their methods' names.
MAX_STREAMS = {f"/{reflection.SERVICE_NAME}/": 8, f"/{health.SERVICE_NAME}/Watch": 16}

# So does a call until its message is there: such calls are cancelled after a minute,
# as over REST, and sooner where they are so many that others might find no thread.
_MESSAGE_SECONDS = 60.0
_PRESSED_SECONDS, _MAX_WAITING = 10.0, 16

# The beginnings of the methods that are refused when the server stops.
_OURS = tuple(
    f"/{service}/" for service in (messages.PREDICTION_SERVICE, messages.MODEL_SERVICE)
)


class LimitStreams(grpc.ServerInterceptor):
    """Refuses streams beyond `MAX_STREAMS`, at once."""

    def __init__(self):
        self._free = {
            method: threading.BoundedSemaphore(most)
            for method, most in MAX_STREAMS.items()
        }

    def intercept_service(self, continuation, details):
        """Counts a stream for as long as it is open."""
        handler = continuation(details)
        limits = [self._free[m] for m in self._free if details.method.startswith(m)]
        if handler is None or not limits:
            return handler
        (free,) = limits

        def behaviour(requests, context):
            if not free.acquire(blocking=False):
                context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"Too many streams of {details.method} are open",
                )
            try:
                yield from handler.stream_stream(requests, context)
            finally:
                free.release()

        return grpc.stream_stream_rpc_method_handler(
            behaviour, handler.request_deserializer, handler.response_serializer
        )


class MessagesInTime(grpc.ServerInterceptor):
    """Cancels calls whose message does not come, and counts those not over yet.

    Once told to, it refuses those that begin, but for health.

    A call of one message holds a thread until the message is there, however long that
    takes, and gRPC hands out its context only then. So such a call is taken as a stream
    of messages here, which is the same to its caller, and its first one is waited for.
    """

    def __init__(self):
        self._waiting = {}
        self._open = set()
        self._refusing = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="serving-messages", daemon=True
        )

    def intercept_service(self, continuation, details):
        """Takes a call of one message as a stream, whose first it waits for."""
        handler = continuation(details)
        if handler is None or handler.request_streaming:
            return handler

        is_ours = details.method.startswith(_OURS)

        def answer(messages_, context):
            if self._refusing and is_ours:
                context.abort(grpc.StatusCode.UNAVAILABLE, "The server is stopping")
            self._open.add(context)
            if not context.add_callback(lambda: self._open.discard(context)):
                self._open.discard(context)
            return handler.unary_unary(self._first(messages_, context), context)

        def answer_by_stream(messages_, context):
            yield from handler.unary_stream(self._first(messages_, context), context)

        how = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer_by_stream, *how)
        return grpc.stream_unary_rpc_method_handler(answer, *how)

    def _first(self, messages_, context):
        """Returns the message of a call, waiting until it is there."""
        self._waiting[context] = time.monotonic()
        try:
            message = next(messages_, None)
        finally:
            del self._waiting[context]
        if message is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call is empty")
        return message

    def refuse(self):
        """Refuses calls that begin from now on, as one does who stops."""
        self._refusing = True

    @property
    def in_flight(self):
        """How many calls there are whose message, or answer, is on its way."""
        return len(self._open)

    def _watch(self):
        while not self._stopped.wait(_PRESSED_SECONDS / 4):
            waiting = list(self._waiting.items())
            pressed = len(waiting) > _MAX_WAITING
            allowed = _PRESSED_SECONDS if pressed else _MESSAGE_SECONDS
            for context, start in waiting:
                if start < time.monotonic() - allowed:
                    context.cancel()

    def start(self):
        """Begins to watch."""
        self._thread.start()

    def stop(self):
        """Ends the watch."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
