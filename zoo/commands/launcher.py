"""Several worker processes on this machine, to try what a cluster would run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import click

#: Seconds that the other workers get to stop by themselves once one has ended.
_GRACE = 30


def launch(workers):
    """Runs this very command in so many processes, each with its `TF_CONFIG`.

    Raises:
        click.ClickException: If a worker fails or is killed; the others are stopped.
        SystemExit: With the workers' status, if they were stopped by a signal.
    """
    hosts = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    # The last --strategy and --workers on a command line win.
    command = [sys.executable, "-m", "zoo", *sys.argv[1:]]
    command += ["--strategy", "multi_worker_mirrored", "--workers", "1"]
    processes, received = [], []

    def pass_on(number, _):
        received.append(number)
        _signal_all(processes, number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    for index in range(workers):
        config = {
            "cluster": {"worker": hosts},
            "task": {"type": "worker", "index": index},
        }
        processes.append(
            subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": json.dumps(config)},
                # One progress bar is enough; errors of all are shown.
                stdout=None if index == 0 else subprocess.DEVNULL,
            )
        )
        click.echo(f"worker {index}: process {processes[-1].pid}", err=True)
        for number in received:  # While it was started, or before.
            _signal_all(processes[-1:], number)
    first = _first_to_fail(processes)
    if first is None:
        return
    _stop(processes)
    status = processes[first].returncode
    if status > 128:
        raise SystemExit(status)
    if status > 0:
        raise click.ClickException(
            f"Worker {first} failed with the error above, so all were stopped."
        )
    raise click.ClickException(
        f"Worker {first} ended with {signal.Signals(-status).name}, so all were "
        "stopped. Run the same command with --resume to go on from the last checkpoint."
    )


def _first_to_fail(processes):
    """Waits; returns the first worker that fails, or None if all end well."""
    while True:
        statuses = [process.poll() for process in processes]
        failed = [(status, index) for index, status in enumerate(statuses) if status]
        if failed:
            # A signal's is below 0: one that was killed takes the others with it.
            return min(failed)[1]
        if all(status == 0 for status in statuses):
            return None
        time.sleep(0.2)


def _stop(processes):
    deadline = time.monotonic() + _GRACE
    for process in processes:
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _signal_all(processes, number):
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
