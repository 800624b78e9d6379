"""Processes that form a cluster on this machine, to test several workers for real."""

import json
import os
import pathlib
import socket
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).parents[2]


def run_workers(*arguments, count=2, timeout=600):
    """Runs `python ARGUMENTS` in so many processes, each with its `TF_CONFIG`.

    Returns:
        List of what each wrote to standard output.
    """
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(count)]}
    workers = []
    for index in range(count):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [worker.communicate(timeout=timeout) for worker in workers]
    for worker, (_, errors) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, errors[-2000:]
    return [output for output, _ in outputs]


def free_port():
    """Returns a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
