"""Serving of exported models over gRPC: embedded server and client.

Names are imported when first used (PEP 562), so that a program that only asks a
server for pictures never loads TensorFlow.
"""

import importlib

_HOMES = {
    "AsyncClient": "serving.client",
    "Client": "serving.client",
    "RequestError": "serving.errors",
    "ServingError": "serving.errors",
    "Server": "serving.server",
}

__all__ = ["AsyncClient", "Client", "RequestError", "Server", "ServingError"]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'serving' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        raise ImportError(
            f"serving.{name} needs {error.name}, which the client alone does not have; "
            "install gan-zoo instead"
        ) from error
    return getattr(home, name)


def __dir__():
    return sorted([*globals(), *_HOMES])
