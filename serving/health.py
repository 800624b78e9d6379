"""gRPC's health service.

That of grpcio holds a lock while it waits for gRPC to send, and gRPC may be waiting for
this lock to tell of a watch that has ended: then nothing is answered any more. It also
keeps an entry for every name that was ever watched.
"""

import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_Status = health_pb2.HealthCheckResponse.ServingStatus


class Health(health_pb2_grpc.HealthServicer):
    """The health of some services, which serve together or not at all.

    Args:
        services: Names of the services; `""`, the whole server, is one by itself.
    """

    def __init__(self, services):
        self._services = frozenset(("", *services))
        self._status = _Status.NOT_SERVING
        self._changed = threading.Condition()

    def report(self, serving):
        """Says whether the services serve; watchers are told of changes only."""
        with self._changed:
            self._status = _Status.SERVING if serving else _Status.NOT_SERVING
            self._changed.notify_all()

    def Check(self, request, context):
        """Returns the health of a service."""
        if request.service not in self._services:
            context.abort(grpc.StatusCode.NOT_FOUND, "No such service is here")
        return health_pb2.HealthCheckResponse(status=self._status)

    def Watch(self, request, context):
        """Yields the health of a service, at first and whenever it changes.

        It ends at once for a service that there is not.
        """
        if request.service not in self._services:
            yield health_pb2.HealthCheckResponse(status=_Status.SERVICE_UNKNOWN)
            return
        status = None
        alive = context.add_callback(self._wake)
        while alive:
            with self._changed:
                while (alive := context.is_active()) and self._status == status:
                    self._changed.wait()
                status = self._status
            if alive:
                yield health_pb2.HealthCheckResponse(status=status)

    def _wake(self):
        with self._changed:
            self._changed.notify_all()
