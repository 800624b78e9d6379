"""Processes that form a cluster on this machine, to test several workers for real."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

from waiting import until

REPOSITORY = pathlib.Path(__file__).parents[2]

#: What TensorFlow says where another program took a port since it was found free.
_PORT_TAKEN = "Could not start gRPC server"


def run_workers(*arguments, count=2, timeout=600):
    """Runs `python ARGUMENTS` in so many processes, each with its `TF_CONFIG`.

    Returns:
        List of what each wrote to standard output.
    """
    for _ in range(3):
        workers, outputs, errors = _run(arguments, count, timeout)
        if not any(_PORT_TAKEN in text for text in errors):
            break
    failed = [
        text for worker, text in zip(workers, errors, strict=True) if worker.returncode
    ]
    assert not failed, failed[0][-2000:]
    return list(outputs)


def _run(arguments, count, timeout):
    """Returns the workers, and what each wrote to its two outputs."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    with contextlib.ExitStack() as stack:
        # Files never fill up, so that no worker waits for somebody to read a pipe.
        written = [
            [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2)]
            for _ in range(count)
        ]
        workers = []
        for index, (output, errors) in enumerate(written):
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            workers.append(
                subprocess.Popen(
                    [sys.executable, *arguments],
                    env={**os.environ, "TF_CONFIG": json.dumps(config)},
                    cwd=REPOSITORY,
                    stdout=output,
                    stderr=errors,
                    text=True,
                )
            )
            stack.callback(workers[-1].kill)
        until(lambda: _over(workers), timeout)
        outputs, errors = zip(*map(_texts, written), strict=True)
    return workers, outputs, errors


def _over(workers):
    """Whether all have ended, or one has failed, for which others would wait."""
    codes = [worker.poll() for worker in workers]
    return None not in codes or any(codes)


def _texts(files):
    for file in files:
        file.seek(0)
    return [file.read() for file in files]


def free_ports(count):
    """Returns ports on which nothing listens, all different."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
