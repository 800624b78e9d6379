"""Processes that form a cluster on this machine, to test several workers for real."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).parents[2]


def run_workers(*arguments, count=2, timeout=600):
    """Runs `python ARGUMENTS` in so many processes, each with its `TF_CONFIG`.

    Returns:
        List of what each wrote to standard output.
    """
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
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.wait(max(0, deadline - time.monotonic()))
        outputs, errors = zip(*map(_texts, written), strict=True)
    for worker, text in zip(workers, errors, strict=True):
        assert worker.returncode == 0, text[-2000:]
    return list(outputs)


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
