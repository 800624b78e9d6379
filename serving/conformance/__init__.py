"""How TensorFlow Serving answers, as cases that run against any server.

The answers are those that its documentation, its sources or a running one gave. Each
case sends one request, built from what the server itself says about a model, and
compares the code, the first words of a message, and what an OK holds. Where the
embedded server differs on purpose, the case lists both answers, and the report says
which one came.

What a model computes is not known here. But it is to answer a row the same each time,
whatever rows come with it, and over REST the same as over gRPC.
"""

from serving import errors
from serving.conformance import grpc_calls, grpc_cases, rest_calls, rest_cases, subject


def results(client, model, signature=None, label=None, rest=None, timeout=60.0):
    """Asks a server all cases about one of its models; yields the Results.

    Args:
        client: A `serving.Client` of the server.
        model: The model's name.
        signature: The signature to ask; by default `serving_default`, or another.
        label: A version label of the model, to ask by it, too.
        rest: `host:port` of the server's REST API, to ask there, too.
        timeout: Seconds to wait for each answer.
    """
    newest = client.metadata(model)
    older = _older(client, model, newest, signature)
    named = client.metadata(model, version_label=label) if label is not None else None

    def chosen(module):
        found = module.cases(model, newest.version, newest.signatures, signature)
        if older is not None:
            found += module.older_cases(model, *older, signature)
        if named is not None:
            found += module.label_cases(
                label, model, named.version, named.signatures, signature
            )
        return found

    yield from grpc_calls.run(client.channel, chosen(grpc_cases), timeout)
    if rest is not None:
        yield from rest_calls.run(rest, client.channel, chosen(rest_cases), timeout)


def _older(client, model, newest, signature):
    """Returns a version that is served beside the newest, and its signatures, or None.

    What a server answers wrong here, cases find, too.
    """
    try:
        statuses = client.status(model)
    except (errors.ServingError, ValueError):
        return None
    served = [status.version for status in statuses if status.state == "AVAILABLE"]
    older = max((v for v in served if v < newest.version), default=None)
    if older is None:
        return None
    try:
        found = client.metadata(model, version=older).signatures
    except errors.ServingError:
        found = newest.signatures
    keys = subject.usable(found)
    has_subject = keys if signature is None else signature in keys
    return (older, found) if has_subject else None
